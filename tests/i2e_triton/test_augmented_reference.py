"""The augmentation of the reference equals that of PyTorch and torchvision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton import canonical_shifts, reference
from i2e_triton.reference import augment, crop_box, lerp, source_pixels
from tests.samples import PHOTOGRAPHS, noise, resized_photograph


def augment_with_torchvision(
    image: Tensor, box: list[int], size: tuple[int, int], flip: bool, interpolation: str
) -> Tensor:
    """Augment ``[C, H, W]`` with torchvision: pad, crop, resize, flip."""
    top, left, height, width = box
    rows, columns = image.shape[1:]
    padding = [max(0, -left), max(0, -top), max(0, left + width - columns), max(0, top + height - rows)]
    padded = v2.functional.pad(reference.scale(image), padding, padding_mode="edge")
    cropped = v2.functional.crop(padded, top + padding[1], left + padding[0], height, width)
    mode = {"bilinear": v2.InterpolationMode.BILINEAR, "nearest": v2.InterpolationMode.NEAREST}[interpolation]
    resized = v2.functional.resize(cropped, list(size), interpolation=mode, antialias=False)
    return v2.functional.horizontal_flip(resized) if flip else resized


def photographs(size: int = 32) -> Tensor:
    return torch.stack([resized_photograph(name, size) for name in PHOTOGRAPHS])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(128, 128), (17, 40), (32, 32), (100, 64)], ids=str)
@pytest.mark.parametrize("image_dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
def test_augmented_images_equal_torchvision(
    image_dtype: torch.dtype, size: tuple[int, int], interpolation: str, generator: torch.Generator
) -> None:
    images = noise((30, 3, 32, 48), image_dtype, generator)
    crop = torch.cat(
        [
            torch.randint(-9, 20, (30, 2), generator=generator),
            torch.randint(1, 40, (30, 2), generator=generator),
        ],
        dim=1,
    )
    flip = torch.rand(30, generator=generator) < 0.5
    augmented = augment(images, crop, size, flip, interpolation)
    for image, box, flipped, result in zip(images, crop.tolist(), flip.tolist(), augmented):
        expected = augment_with_torchvision(image, box, size, flipped, interpolation)
        assert result.dtype == expected.dtype
        if interpolation == "nearest":
            assert torch.equal(result, expected)
        else:
            assert float((result - expected).abs().max()) <= 1e-6


@pytest.mark.parametrize("size", [128, 96])
def test_events_of_photographs_equal_torchvision(size: int, generator: torch.Generator) -> None:
    images = photographs().repeat(25, 1, 1, 1)
    crop = torch.cat([torch.randint(-4, 5, (100, 2), generator=generator), torch.full((100, 2), 32)], dim=1)
    flip = torch.rand(100, generator=generator) < 0.5
    shifts = canonical_shifts()
    events = reference.convert(images, 0.07, shifts, crop=crop, size=(size, size), flip=flip)
    expected_images = [
        augment_with_torchvision(image, box, (size, size), flipped, "bilinear")
        for image, box, flipped in zip(images, crop.tolist(), flip.tolist())
    ]
    expected = reference.convert(torch.stack(expected_images), 0.07, shifts)
    assert 0.01 < float(expected.float().mean()) < 0.3
    assert int((events != expected).sum()) <= events.numel() / 100_000


@pytest.mark.parametrize("size", [7, 32, 97, 128, 224])
def test_source_pixels_equal_pytorch(size: int) -> None:
    """PyTorch's weights of the source pixels are measured by resizing unit vectors.

    They are bit-identical if PyTorch is compiled with fused multiply-adds. Otherwise the rounding of the coordinate may
    differ.
    """
    for length in (*range(1, 60), 101, 199, 333, 500):
        lo, hi, weight = source_pixels(length, size, torch.float32, "bilinear")
        weights = torch.zeros(length, size)
        weights[lo, torch.arange(size)] += 1 - weight
        weights[hi, torch.arange(size)] += weight
        rows = torch.eye(length)[None, :, None, :].expand(1, length, 2, length).contiguous()
        theirs = F.interpolate(rows, size=(2, size), mode="bilinear", align_corners=False)[0, :, 0]
        assert float((weights - theirs).abs().max()) <= length * 2.0**-23


def test_scale_equals_the_quotient_rounded_to_float32(generator: torch.Generator) -> None:
    """The product with 1 / size in float64 rounds to the same float32 as the quotient."""
    length = torch.randint(1, 2**24, (100_000,), generator=generator, dtype=torch.float64)
    size = torch.randint(1, 2**24, (100_000,), generator=generator, dtype=torch.float64)
    assert torch.equal((length * (1 / size)).float(), length.float() / size.float())
    small = torch.arange(1, 1200, dtype=torch.float64)
    assert torch.equal((small[:, None] * (1 / small)).float(), small[:, None].float() / small.float())


def test_box_outside_of_the_image_repeats_its_border() -> None:
    image = torch.arange(6).reshape(1, 2, 3)
    assert crop_box(image, -1, 1, 4, 4)[0].tolist() == [[1, 2, 2, 2], [1, 2, 2, 2], [4, 5, 5, 5], [4, 5, 5, 5]]
    assert crop_box(image, 50, -50, 2, 1)[0].tolist() == [[3], [3]]


def test_flat_image_stays_flat(generator: torch.Generator) -> None:
    """PyTorch's formula may interpolate equal pixels to another value, so that a flat image would have events."""
    value = torch.rand(200, generator=generator)
    weight = torch.rand(200, generator=generator)
    assert torch.equal(lerp(value, value, weight), value)
    images = value[:, None, None, None].expand(200, 1, 5, 6)
    assert not reference.convert(images, 0.1, canonical_shifts(), size=(17, 13)).any()


def test_flip_is_applied_after_resizing() -> None:
    image = torch.tensor([[0.0, 1.0, 4.0]])[None, None]
    assert augment(image, size=(1, 6), flip=torch.tensor([True])).flatten().tolist() == [
        4.0, 3.25, 1.75, 0.75, 0.25, 0.0
    ]  # fmt: skip
