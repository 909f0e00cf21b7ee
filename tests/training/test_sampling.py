"""What comes when, and augmented how, depends on seed, epoch and step alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from i2e_triton.training.images import Digits, FakeImages, split_each_class
from i2e_triton.training.sampling import Augmented, TrainingBatches, ValidationBatches, seed_of


def numbers(batches: Iterable[list[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(batches))


def epoch_of(batches: TrainingBatches, epoch: int, first_step: int = 0) -> list[list[int]]:
    batches.epoch, batches.first_step = epoch, first_step
    assert len(batches) == len(list(batches))
    return list(batches)


def test_an_epoch_is_every_sample_once_in_a_new_order() -> None:
    batches = TrainingBatches(50, 8, seed=1)
    first, second = epoch_of(batches, 0), epoch_of(batches, 1)
    assert [len(batch) for batch in first] == [8] * 6 + [2]
    assert sorted(numbers(first)) == list(range(50))
    assert sorted(numbers(second)) == list(range(50, 100))
    assert [number - 50 for number in numbers(second)] != numbers(first)
    assert epoch_of(TrainingBatches(50, 8, seed=2), 0) != first
    assert epoch_of(batches, 1, first_step=3) == second[3:]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_batch_of_one_process(processes: int) -> None:
    whole = epoch_of(TrainingBatches(50, 6, seed=1), 4)
    shares = [epoch_of(TrainingBatches(50, 6, 1, rank, processes), 4) for rank in range(processes)]
    for step, batch in enumerate(zip(*shares)):
        assert len({len(share) for share in batch}) == 1
        kept = whole[step][: len(whole[step]) - len(whole[step]) % processes]
        assert sorted(numbers(batch)) == sorted(kept)


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a batch of 8 cannot be shared by 3 processes .* multiple of 3"):
        TrainingBatches(50, 8, 1, 0, 3)
    with pytest.raises(ValueError, match="2 training samples are too few for 4 processes"):
        TrainingBatches(2, 8, 1, 0, 4)


def test_processes_validate_every_sample_once() -> None:
    shares = [list(ValidationBatches(11, 4, rank, 2)) for rank in range(2)]
    assert sorted(numbers(numbers(shares))) == list(range(11))
    assert [len(share) for share in shares] == [len(ValidationBatches(11, 4, rank, 2)) for rank in range(2)]
    assert max(map(len, shares[0])) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_that_of_the_sample_and_the_epoch(workers: int) -> None:
    data = Augmented(FakeImages(8, 2, 16, seed=3), v2.RandomCrop(16, padding=4), seed=5)
    first = torch.stack([data[number][0] for number in range(16)])
    assert not torch.equal(first[:8], first[8:])  # another epoch, another crop
    before = torch.get_rng_state()
    loader = DataLoader(data, batch_sampler=[[9, 2], [14, 0, 5]], num_workers=workers, generator=torch.Generator())
    (one, labels), (two, _) = loader
    assert torch.equal(torch.cat([one, two]), first[[9, 2, 14, 0, 5]])
    assert labels.tolist() == [1, 0]
    assert torch.equal(torch.get_rng_state(), before)
    other = Augmented(FakeImages(8, 2, 16, seed=3), v2.RandomCrop(16, padding=4), seed=6)
    assert not torch.equal(torch.stack([other[number][0] for number in range(16)]), first)


def test_seeds_differ_in_the_32_bits_that_are_used() -> None:
    seeds = {seed_of(seed, stream, number) for seed in range(5) for stream in range(2) for number in range(100)}
    assert len(seeds) == 1000
    assert max(seeds) < 2**32


def test_fake_images_tell_their_class() -> None:
    images = FakeImages(64, 4, 16, seed=1)
    assert len(images) == 64
    image, label = images[5]
    assert (label, image.shape, image.dtype) == (1, (3, 16, 16), torch.uint8)
    assert torch.equal(images[5][0], image)
    # Gratings of class 0 vary along x only, those of the last class along y only.
    means = [[images[index][0].float().mean((0, dim)).std() for dim in (1, 2)] for index in (0, 3)]
    assert means[0][0] > 3 * means[0][1]
    assert means[1][1] > 3 * means[1][0]


def test_digits_are_split_without_overlap() -> None:
    train, validation = Digits(validation=False), Digits(validation=True)
    assert (len(train), len(validation)) == (1437, 360)
    assert {label for _, label in (train[index] for index in range(100))} == set(range(10))
    image, label = validation[0]
    assert (image.dtype, image.shape, label) == (torch.uint8, (1, 8, 8), 0)
    assert int(torch.stack([train[index][0] for index in range(50)]).max()) == 255


def test_each_class_is_split_as_spikingjelly_splits_it(generator: torch.Generator) -> None:
    from spikingjelly.datasets import split_to_train_test_set

    labels = torch.randint(0, 4, (77,), generator=generator).tolist()
    train, validation = split_to_train_test_set(0.9, [(None, label) for label in labels], 4)
    assert split_each_class(labels) == (list(train.indices), list(validation.indices))
