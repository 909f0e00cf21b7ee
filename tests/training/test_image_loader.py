"""Batches from one tensor: the events of a DataLoader with the same parameters, in an order that can be repeated."""

from __future__ import annotations

import copy
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from i2e_triton import canonical_shifts, convert, row_shifts, unpack
from i2e_triton.augmentation import RandomAugmentation, RandomCropResizeFlip, RandomResizedCropFlip, RandomTimestepDrop
from i2e_triton.training.image_loader import GPUImageLoader, ImageSet
from i2e_triton.training.loaders import seed_of
from tests.samples import assert_same_events, noise, resized_photograph

AUGMENTS: dict[str, RandomAugmentation] = {
    "crop": RandomCropResizeFlip(24, crop=16, padding=2),
    "resized-crop": RandomResizedCropFlip((20, 24)),
}


def numbered(samples: int) -> ImageSet:
    """Images that tell their row: every pixel is its number, as is the label."""
    rows = torch.arange(samples)
    return ImageSet(rows.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous(), rows)


def mixed(generator: torch.Generator, samples: int = 10) -> ImageSet:
    """Noise, and one photograph."""
    images = noise((samples, 3, 16, 16), torch.uint8, generator)
    images[3] = resized_photograph("chelsea", 16)
    return ImageSet(images, torch.arange(samples))


def labels_of(loader: GPUImageLoader) -> list[list[int]]:
    return [batch[1].tolist() for batch in loader]


class Events(Dataset[tuple[Tensor, int]]):
    """The other way: samples one by one, each with the parameters of its row."""

    def __init__(
        self, images: ImageSet, augment: RandomAugmentation, drop: RandomTimestepDrop | None, seed: int, epoch: int
    ):
        self.images, self.augment, self.drop, self.seed, self.epoch = images, augment, drop, seed, epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self.images.images[row]
        drawn = self.augment.for_rows(image, row, self.seed, self.epoch)
        shifts = row_shifts(seed_of(self.seed, 2, self.epoch), row, timesteps=5)
        if self.drop is not None:
            shifts = self.drop.for_rows(shifts, row, self.seed, self.epoch)
        return convert(image, 0.07, shifts=shifts, **drawn), int(self.images.labels[row])


@pytest.mark.parametrize("resident_bytes", [2**30, 0])
@pytest.mark.parametrize("drop", [None, RandomTimestepDrop(0.3)])
@pytest.mark.parametrize("kind", AUGMENTS)
def test_batches_are_those_of_a_data_loader(
    kind: str, drop: RandomTimestepDrop | None, resident_bytes: int, generator: torch.Generator
) -> None:
    images, augment, epoch = mixed(generator), AUGMENTS[kind], 2
    settings: dict[str, Any] = {"ratio": 0.07, "timesteps": 5, "seed": 11, "resident_bytes": resident_bytes}
    loader = GPUImageLoader(images, 4, augment=augment, drop=drop, **settings)
    loader.set_epoch(epoch)
    batches = list(loader)
    order = [labels.tolist() for _, labels in batches]
    samples = DataLoader(Events(images, augment, drop, 11, epoch), batch_sampler=order, num_workers=0)
    assert [len(rows) for rows in order] == [4, 4, 2]
    assert sum(int(events.sum()) for events, _ in batches) > 1000
    for (events, labels), (expected, expected_labels) in zip(batches, samples, strict=True):
        assert_same_events(events.transpose(0, 1), expected)
        assert labels.tolist() == expected_labels.tolist()


def test_packed_events_are_those_of_dense_batches(generator: torch.Generator) -> None:
    settings: dict[str, Any] = {"augment": AUGMENTS["crop"], "ratio": 0.07, "seed": 3}
    images = mixed(generator)
    dense, packed = (GPUImageLoader(images, 3, packed=packed, **settings) for packed in (False, True))
    for (events, labels), (bits, same_labels) in zip(dense, packed, strict=True):
        assert_same_events(unpack(bits), events)
        assert torch.equal(same_labels, labels)


def test_without_augmentation_images_are_resized_and_vectors_canonical(generator: torch.Generator) -> None:
    images = mixed(generator)
    loader = GPUImageLoader(images, 4, size=(32, 32), random=False, shuffle=False, timesteps=3, dtype=torch.uint8)
    events = torch.cat([events for events, _ in loader], 1)
    shifts = canonical_shifts(timesteps=3)
    expected = convert(images.images, size=(32, 32), shifts=shifts, dtype=torch.uint8)
    assert_same_events(events, expected)


def test_canonical_vectors_are_left_out_by_image(generator: torch.Generator) -> None:
    images, drop = mixed(generator), RandomTimestepDrop(0.5)
    loader = GPUImageLoader(images, 4, drop=drop, random=False, shuffle=False, seed=2)
    shifts = drop.for_rows(canonical_shifts().expand(10, -1, -1), range(10), 2)
    assert 20 < int(shifts.any(-1).sum()) < 60
    events = torch.cat([events for events, _ in loader], 1)
    assert_same_events(events, convert(images.images, shifts=shifts))
    assert not bool(events[~shifts.any(-1).T].any())


@pytest.mark.parametrize("settings", [{"augment": AUGMENTS["crop"], "random": False}, {"random": True}], ids=str)
def test_epochs_have_orders_and_draws_of_their_own(settings: dict[str, Any], generator: torch.Generator) -> None:
    images = mixed(generator, 100)
    loader = GPUImageLoader(images, 100, seed=1, packed=True, **settings)
    (events, first), (others, second) = next(iter(loader)), next(iter(loader))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert first.tolist() != list(range(100)) != second.tolist()
    assert first.tolist() != second.tolist()
    assert not torch.equal(events[first.argsort()], others[second.argsort()])
    loader.set_epoch(0)
    assert next(iter(loader))[1].tolist() == first.tolist()
    assert next(iter(GPUImageLoader(images, 100, seed=2)))[1].tolist() != first.tolist()


def test_every_order_is_as_likely() -> None:
    loader = GPUImageLoader(numbered(3), 3)
    orders = [tuple(loader.rows(epoch).tolist()) for epoch in range(1200)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert min(counts) > 140  # of 200 on average; a deviation of 12.9


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_batches_without_overlap(processes: int) -> None:
    whole = labels_of(GPUImageLoader(numbered(50), 12, seed=5))
    shares = [
        labels_of(GPUImageLoader(numbered(50), 12, seed=5, rank=rank, processes=processes)) for rank in range(processes)
    ]
    seen = [row for share in shares for batch in share for row in batch]
    assert len(seen) == len(set(seen)) == 50 - 50 % processes
    assert len({len(share) for share in shares}) == 1
    for step, batch in enumerate(whole[:-1]):
        assert sorted(row for share in shares for row in share[step]) == sorted(batch)


def test_the_last_batch_can_be_left_out() -> None:
    whole = GPUImageLoader(numbered(10), 4)
    cut = GPUImageLoader(numbered(10), 4, drop_last=True)
    assert (len(whole), len(cut)) == (3, 2)
    assert labels_of(whole)[:2] == labels_of(cut)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("resident_bytes", [2**30, 0])
def test_it_goes_on_at_the_batch_where_it_was_cut(step: int, resident_bytes: int, generator: torch.Generator) -> None:
    settings: dict[str, Any] = {"augment": AUGMENTS["crop"], "seed": 9, "resident_bytes": resident_bytes}
    images = mixed(generator)
    straight = GPUImageLoader(images, 4, **settings)
    straight.set_epoch(1)
    expected = [*straight, *straight]
    cut = GPUImageLoader(images, 4, **settings)
    cut.set_epoch(1)
    for _ in zip(range(step), cut):
        pass
    state = copy.deepcopy(cut.state_dict())
    resumed = GPUImageLoader(images, 4, **settings)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    resumed.set_epoch(resumed.epoch)
    rest = [*resumed, *resumed][: len(expected) - step]
    for (events, labels), (other, other_labels) in zip(rest, expected[step:], strict=False):
        assert_same_events(events, other)
        assert labels.tolist() == other_labels.tolist()
    assert len(rest) == len(expected) - step


def test_a_pass_that_is_given_up_starts_anew() -> None:
    loader = GPUImageLoader(numbered(10), 4)
    first = next(iter(loader))[1]
    assert next(iter(loader))[1].tolist() == first.tolist()
    assert loader.state_dict()["step"] == 1


def test_a_state_of_something_else_is_refused() -> None:
    state = GPUImageLoader(numbered(10), 4).state_dict()
    for other, message in (
        (GPUImageLoader(numbered(11), 4), "another samples: 10; this loader's is 11"),
        (GPUImageLoader(numbered(10), 4, seed=1), "another seed: 0; this loader's is 1"),
        (GPUImageLoader(numbered(10), 5), "another batch_size: 4; this loader's is 5"),
        (GPUImageLoader(numbered(10), 4, shuffle=False), "another shuffle: True; this loader's is False"),
    ):
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(state)


def test_a_last_batch_that_is_too_small_for_the_processes_is_left_out() -> None:
    loader = GPUImageLoader(numbered(9), 4)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (0, 2)
    resumed = GPUImageLoader(numbered(9), 4, rank=1, processes=2)
    resumed.load_state_dict(state)
    assert (resumed.state_dict()["epoch"], resumed.state_dict()["step"]) == (1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"size": (0, 3)}, r"size must be 1 to \d+ pixels a side, got \(0, 3\)"),
        ({"batch_size": 11, "drop_last": True}, "10 samples are too few for 1 processes and a batch_size of 11"),
        ({"augment": AUGMENTS["crop"], "size": (8, 8)}, "is given twice"),
        ({"augment": RandomCropResizeFlip(8, crop=32)}, "is larger than images of"),
        ({"ratio": -1.0}, "ratio must"),
        ({"timesteps": 9}, "timesteps must"),
        ({"seed": -1}, "seed must be 0 to"),
    ],
)
def test_unfit_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPUImageLoader(numbered(10), **{"batch_size": 4, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": numbered(10).images}, "images must be an ImageSet, got Tensor"),
        ({"batch_size": 4.0}, "batch_size must be an int, got float 4.0"),
        ({"size": 8}, "size must be two whole numbers, height and width; got 8"),
    ],
)
def test_settings_of_another_type_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        GPUImageLoader(**{"images": numbered(10), "batch_size": 4, **settings})


def test_sets_smaller_than_a_batch() -> None:
    assert labels_of(GPUImageLoader(numbered(1), 1)) == [[0]]
    assert labels_of(GPUImageLoader(numbered(3), 8, shuffle=False)) == [[0, 1, 2]]
    assert labels_of(GPUImageLoader(numbered(3), 4, shuffle=False, rank=1, processes=2)) == [[1]]
    with pytest.raises(ValueError, match="1 samples are too few for 2 processes"):
        GPUImageLoader(numbered(1), 2, processes=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("resident_bytes", [2**30, 0])
def test_a_gpu_gives_the_same_and_nothing_waits_for_it(resident_bytes: int, generator: torch.Generator) -> None:
    settings: dict[str, Any] = {"augment": AUGMENTS["resized-crop"], "drop": RandomTimestepDrop(0.3), "seed": 6}
    images = mixed(generator)
    expected = list(GPUImageLoader(images, 4, **settings))
    loader = GPUImageLoader(images, 4, device="cuda", resident_bytes=resident_bytes, **settings)
    list(loader)  # tables are copied and kernels built once
    loader.set_epoch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(loader)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (events, labels), (there, there_labels) in zip(batches, expected, strict=True):
        assert_same_events(events.cpu(), there)
        assert labels.tolist() == there_labels.tolist()


def test_all_samples_are_read(generator: torch.Generator) -> None:
    pixels = noise((3, 3, 8, 6), torch.uint8, generator)
    images = ImageSet.of([(pixels[0], 4), (pil(pixels[1]), 2), (pixels[2], 0)])  # type: ignore[arg-type]
    assert torch.equal(images.images, pixels)
    assert images.labels.tolist() == [4, 2, 0]
    with pytest.raises(ValueError, match="images in memory must have one size, got"):
        ImageSet.of([(pixels[0], 4), (pixels[1, :, :4], 2)])  # type: ignore[arg-type]


def pil(image: Tensor) -> PIL.Image.Image:
    return PIL.Image.fromarray(image.permute(1, 2, 0).numpy())


def test_image_sets_are_checked() -> None:
    images, labels = numbered(3).images, numbered(3).labels
    with pytest.raises(TypeError, match=r"images must be uint8 and labels int64, got torch\.float32"):
        ImageSet(images.float(), labels)
    for wrong in ((images[0], labels), (images[:0], labels[:0]), (images, labels[:2])):
        with pytest.raises(ValueError, match=r"images must be \[N, C, H, W\] and labels \[N\]"):
            ImageSet(*wrong)
