"""Random augmentations have the distributions of torchvision's transforms and are reproducible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton import canonical_shifts, convert, random_shifts, unpack
from i2e_triton.augmentation import (
    Augmentation,
    RandomAugmentation,
    RandomCropResizeFlip,
    RandomResizedCropFlip,
    RandomTimestepDrop,
)

AUGMENTATIONS: dict[str, RandomAugmentation] = {
    "crop": RandomCropResizeFlip(64, crop=(30, 28), padding=3),
    "resized crop": RandomResizedCropFlip((64, 48)),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(batch: int, height: int = 32, width: int = 32) -> Tensor:
    """Return images of zeros; augmentations read only their shape."""
    return torch.zeros(1, dtype=torch.uint8).expand(batch, 3, height, width)


def same(one: Augmentation, other: Augmentation) -> bool:
    return torch.equal(one["crop"], other["crop"]) and torch.equal(one["flip"], other["flip"])


def chi_square(counts: Tensor, expected: Tensor) -> float:
    """Return chi-square divided by its degrees of freedom. The mean is 1 if the distributions are equal."""
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / (len(expected) - 1))


def test_boxes_of_fixed_size_are_uniform() -> None:
    draw = RandomCropResizeFlip(128, crop=32, padding=4, seed=1)(images_of(90_000))
    assert draw["size"] == (128, 128)
    assert draw["crop"].dtype == torch.int32
    assert bool((draw["crop"][:, 2:] == 32).all())
    offset = draw["crop"][:, :2].long() + 4
    assert int(offset.min()) == 0
    assert int(offset.max()) == 8
    joint = torch.bincount((offset[:, 0] * 9 + offset[:, 1]) * 2 + draw["flip"], minlength=162).double()
    assert chi_square(joint, torch.full_like(joint, 90_000 / 162)) < 1.7  # 6 standard deviations


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (12, 12, (0.08, 1.0), (3 / 4, 4 / 3)),
        (9, 16, (0.3, 1.0), (0.5, 2.0)),
        (4, 30, (0.9, 1.0), (3 / 4, 4 / 3)),  # no box fits, so the central box is used
        (30, 5, (0.5, 1.2), (0.4, 0.6)),
    ],
)
def test_boxes_of_random_size_have_the_distribution_of_torchvision(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    ours = RandomResizedCropFlip(8, scale, ratio, seed=1)(images_of(200_000, height, width))["crop"]
    transform, image = v2.RandomResizedCrop(8, scale, ratio), torch.zeros(1, height, width)
    torch.manual_seed(1)
    drawn = [transform.make_params([image]) for _ in range(5000)]
    theirs = torch.tensor([[box[name] for name in ("top", "left", "height", "width")] for box in drawn])
    assert bool((ours[:, :2] >= 0).all())
    assert bool((ours[:, :2] + ours[:, 2:] <= torch.tensor([height, width])).all())
    for columns in ([0], [1], [2, 3]):  # top, left, and the joint distribution of height and width
        our_bins = sum(32**i * ours[:, c].long() for i, c in enumerate(columns))
        their_bins = sum(32**i * theirs[:, c] for i, c in enumerate(columns))
        expected = torch.bincount(our_bins, minlength=1024).double() * (5000 / 200_000)
        counts = torch.bincount(their_bins, minlength=1024).double()
        common = expected >= 5  # the other bins are compared as one
        if int(common.sum()) > 1:
            assert chi_square(counts[common], expected[common]) < 1 + 6 * (2 / (int(common.sum()) - 1)) ** 0.5
        assert (
            abs(float(counts[~common].sum() - expected[~common].sum())) < 6 * float(expected[~common].sum() + 1) ** 0.5
        )


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_draw_of_a_row_depends_only_on_seed_epoch_and_row_number(kind: str, generator: torch.Generator) -> None:
    augment = AUGMENTATIONS[kind]
    rows = torch.randperm(1000, generator=generator)
    whole = augment.for_rows(images_of(1000), range(1000), 5, 2)
    shuffled = augment.for_rows(images_of(1000), rows, 5, 2)
    assert torch.equal(shuffled["crop"], whole["crop"][rows])
    assert torch.equal(shuffled["flip"], whole["flip"][rows])
    one = augment.for_rows(images_of(1)[0], 17, 5, 2)
    assert torch.equal(one["crop"], whole["crop"][17])
    assert torch.equal(one["flip"], whole["flip"][17])
    for other in (
        augment.for_rows(images_of(1000), range(1000), 6, 2),
        augment.for_rows(images_of(1000), range(1000), 5),
    ):
        assert not same(whole, other)
        assert 400 < int((whole["flip"] == other["flip"]).sum()) < 600, (
            "flips of different seeds or epochs are correlated"
        )


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_flip_probability(flip: float) -> None:
    share = float(RandomCropResizeFlip(8, flip=flip, seed=1)(images_of(10_000))["flip"].float().mean())
    assert abs(share - flip) <= 6 * (flip * (1 - flip) / 10_000) ** 0.5


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_convert_accepts_the_augmentation(kind: str, generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator)
    augmentation = AUGMENTATIONS[kind](images, seeded(4))
    events = convert(images, 0.07, **augmentation)
    assert events.shape == (8, 5, 2, *AUGMENTATIONS[kind].size)
    assert convert(images[0], 0.07, **AUGMENTATIONS[kind](images[0])).shape == (8, 2, *AUGMENTATIONS[kind].size)


def test_drop_probability() -> None:
    shifts = random_shifts(10_000, seeded(1))
    for drop in (0.0, 0.25, 1.0):
        drawn = RandomTimestepDrop(drop, seed=1)(shifts)
        assert drawn.dtype == shifts.dtype
        dropped = ~drawn.any(-1)
        assert torch.equal(drawn, shifts * ~dropped[..., None])
        deviation = (drop * (1 - drop)) ** 0.5
        assert bool(((dropped.double().mean(0) - drop).abs() <= 6 * deviation / 100).all())
        # Timesteps are uncorrelated.
        pairs = (dropped.double() - drop).T @ (dropped.double() - drop) / 10_000
        assert bool(((pairs - pairs.diag().diag()).abs() <= 6 * deviation**2 / 100).all())


def test_dropped_timestep_has_no_events_and_does_not_change_the_others(generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator)
    images[0] = 77
    whole = random_shifts(40, generator)
    shifts = RandomTimestepDrop(0.5)(whole, generator)
    kept = shifts.any(-1).T[:, :, None, None, None]
    assert 80 < int(kept.sum()) < 240
    for ratio in (0.0, 0.12):
        assert torch.equal(convert(images, ratio, shifts=shifts), convert(images, ratio, shifts=whole) * kept)
        packed = convert(images, ratio, shifts=shifts, packed=True)
        assert torch.equal(unpack(packed), convert(images, ratio, shifts=shifts))


def test_dropped_timesteps_of_a_row_depend_only_on_seed_epoch_and_row_number(generator: torch.Generator) -> None:
    drop, shifts = RandomTimestepDrop(0.5), canonical_shifts().expand(1000, -1, -1)
    whole = drop.for_rows(shifts, range(1000), 5, 2)
    rows = torch.randperm(1000, generator=generator)
    assert torch.equal(drop.for_rows(shifts, rows, 5, 2), whole[rows])
    assert torch.equal(drop.for_rows(shifts[0], 17, 5, 2), whole[17])
    assert torch.equal(drop.for_rows(shifts[:, :3], range(1000), 5, 2), whole[:, :3])
    for others in (drop.for_rows(shifts, range(1000), 6, 2), drop.for_rows(shifts, range(1000), 5)):
        assert 3700 < int((others.any(-1) == whole.any(-1)).sum()) < 4300
    flips = AUGMENTATIONS["crop"].for_rows(images_of(1000), range(1000), 5, 2)["flip"]
    assert 3700 < int((flips[:, None] == whole.any(-1)).sum()) < 4300, "dropped timesteps and flips are correlated"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RandomCropResizeFlip(0), ValueError, r"size must be at least 1 pixel.*got \(0, 0\)"),
        (lambda: RandomCropResizeFlip(8.5), TypeError, "size must be an integer, or two.*got 8.5"),  # type: ignore[arg-type]
        (lambda: RandomCropResizeFlip((8, 8, 8)), TypeError, "size must be an integer, or two"),
        (lambda: RandomCropResizeFlip(8, crop=(4, -1)), ValueError, r"crop must be at least 1 pixel.*got \(4, -1\)"),
        (lambda: RandomCropResizeFlip(8, padding=-1), ValueError, "padding must be at least 0, got -1"),
        (lambda: RandomCropResizeFlip(8, flip=1.5), ValueError, "probability from 0 to 1, got 1.5"),
        (lambda: RandomCropResizeFlip(8, padding=2.5), TypeError, "padding must be an int, got float 2.5"),  # type: ignore[arg-type]
        (lambda: RandomCropResizeFlip(8, flip="x"), TypeError, "flip must be a probability.*got 'x'"),  # type: ignore[arg-type]
        (lambda: RandomResizedCropFlip(8, scale=0.5), TypeError, "scale must be two numbers.*got 0.5"),  # type: ignore[arg-type]
        (lambda: AUGMENTATIONS["crop"]([1, 2]), TypeError, "images must be a tensor, got list"),  # type: ignore[arg-type]
        (lambda: AUGMENTATIONS["crop"](images_of(2), 5), TypeError, "generator must be a torch.Generator, got 5"),  # type: ignore[arg-type]
        (lambda: RandomResizedCropFlip(8, scale=(0, 1)), ValueError, "scale must be two numbers above 0"),
        (
            lambda: RandomResizedCropFlip(8, ratio=(2, 1)),
            ValueError,
            r"ratio must be .* smaller one first; got \(2, 1\)",
        ),
        (
            lambda: RandomCropResizeFlip(8, crop=41)(images_of(2)),
            ValueError,
            r"crop \(41, 41\) is larger.*\(32, 32\).*4",
        ),
        (
            lambda: AUGMENTATIONS["crop"](images_of(2)[0, 0]),
            ValueError,
            r"images must be \[C, H, W\].*got shape \[32, 32\]",
        ),
        (lambda: RandomTimestepDrop(-0.1), ValueError, "drop must be a probability from 0 to 1, got -0.1"),
        (
            lambda: RandomTimestepDrop(0.1)(torch.zeros(3)),
            ValueError,
            r"shifts must be \[T, 4\] or \[B, T, 4\], got shape \[3\]",
        ),
        (
            lambda: RandomTimestepDrop(0.1).for_rows(canonical_shifts(), [1, 2], 0),
            ValueError,
            r"rows must be one number per image: shape \[\], got \[2\]",
        ),
        (lambda: AUGMENTATIONS["crop"].for_rows(images_of(2), [1], 0), ValueError, r"shape \[2\], got \[1\]"),
        (lambda: AUGMENTATIONS["crop"].for_rows(images_of(2), [1, 2], -1), ValueError, "seed must be 0 to"),
        (
            lambda: AUGMENTATIONS["crop"].for_rows(images_of(2), [1, 2], 0, -1),
            ValueError,
            "epoch must be at least 0, got -1",
        ),
        (lambda: AUGMENTATIONS["crop"].for_rows(images_of(2), [1, 0.5], 0), TypeError, "rows must be an int"),  # type: ignore[list-item]
    ],
)
def test_wrong_arguments_raise_error(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
