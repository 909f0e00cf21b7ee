"""Augmented conversions on the CPU: equality with the reference, the operator, and argument errors."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import convert, random_shifts, reference
from i2e_triton.ops import cpu_augmented, operator
from tests.augmented_cases import AugmentedCase, augmented_cases, boxes, flips
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, poisoned
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph

IMAGES = torch.zeros(2, 3, 4, 5)
BOX = torch.tensor([[0, 0, 4, 5], [1, 1, 2, 2]])
FLIP = torch.tensor([True, False])


def events_of(case: AugmentedCase, **more: Any) -> Tensor:
    return convert(case.images, case.ratio, shifts=case.shifts, **case.augmentation, **more)


@settings(max_examples=80, deadline=None)
@given(
    case=augmented_cases(),
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
    layout=st.sampled_from(["contiguous", "strided"]),
    values=st.sampled_from([1, 700, 2**20]),
)
def test_equals_reference(case: AugmentedCase, dtype: torch.dtype, packed: bool, layout: str, values: int) -> None:
    expected = case.expected(torch.uint8 if packed else dtype, packed=packed)
    out = poisoned(expected, layout)
    with mock.patch.object(cpu_augmented, "_CHUNK_VALUES", values):
        assert events_of(case, dtype=dtype, packed=packed, out=out) is out
    assert_same_events(out, expected)


@settings(max_examples=80)
@given(case=augmented_cases())
def test_value_channels_equal_the_reference(case: AugmentedCase) -> None:
    """The value channels are compared, because a different rounding of them rarely changes an event."""
    images, crop, size, flip = case.images, case.crop, case.size, case.flip
    augmented = reference.augment(images, crop, size, flip, case.interpolation)
    expected = augmented.amax(dim=1)
    assert size is not None
    rows, columns = cpu_augmented.sources(images, crop, flip, size, expected.dtype, case.nearest)
    value = cpu_augmented._value(images, rows, columns, case.nearest)[:, 0]
    value = reference.scale(value) if case.nearest else value
    finite = augmented.isfinite().all(dim=3).all(dim=2).all(dim=1)[:, None, None]
    assert torch.equal(value.where(finite, 0), expected.where(finite, 0))


@pytest.mark.parametrize("crop", [None, torch.zeros(0, 4, dtype=torch.int64)])
def test_empty_batch(crop: Tensor | None) -> None:
    events = convert(torch.zeros(0, 3, 8, 8), crop=crop, size=(32, 32), flip=torch.zeros(0, dtype=torch.bool))
    assert events.shape == (8, 0, 2, 32, 32)


@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_photographs_enlarged_and_reduced(
    interpolation: str, image_dtype: torch.dtype, generator: torch.Generator
) -> None:
    for name in PHOTOGRAPHS:
        image = photograph(name)[None, :, :300, :300]
        image = image if image_dtype == torch.uint8 else (image.double() / 255).to(image_dtype)
        images = image.expand(3, -1, -1, -1)
        crop = torch.tensor([[-10, 20, 320, 200], [100, 100, 30, 41], [0, 0, 300, 300]])
        case = AugmentedCase(images, random_shifts(3, generator), crop, (64, 96), flips(3, generator), interpolation)
        expected = case.expected()
        assert 0.003 < expected.float().mean() < 0.4
        assert_same_events(events_of(case, dtype=torch.bool), expected)


def test_single_image_equals_the_same_image_in_a_batch(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 8), torch.uint8, generator)
    crop, flip = boxes(2, generator), flips(2, generator)
    batch = convert(images, 0.1, crop=crop, size=(12, 13), flip=flip)
    for i in range(2):
        one = convert(images[i], 0.1, crop=crop[i], size=(12, 13), flip=flip[i])
        assert one.shape == (8, 2, 12, 13)
        assert torch.equal(one, batch[:, i])


def test_crop_size_or_flip_alone(generator: torch.Generator) -> None:
    images = noise((4, 3, 9, 8), torch.uint8, generator)
    plain = convert(images, 0.1, shifts=torch.tensor([[0, 0, 1, 0]]))
    flipped = convert(images, 0.1, shifts=torch.tensor([[0, 0, 1, 0]]), flip=torch.ones(4, dtype=torch.bool))
    assert torch.equal(flipped, plain.flip(-1))
    assert torch.equal(convert(images, 0.1, size=(9, 8)), convert(images, 0.1))
    whole = torch.tensor([0, 0, 9, 8]).expand(4, 4)
    assert torch.equal(convert(images, 0.1, crop=whole), convert(images, 0.1))
    box = torch.tensor([2, 1, 5, 6]).expand(4, 4)
    assert torch.equal(convert(images, 0.1, crop=box, size=(5, 6)), convert(images[:, :, 2:7, 1:7], 0.1))


def test_threshold_uses_the_range_of_the_box(generator: torch.Generator) -> None:
    image = noise((1, 1, 20, 20), torch.uint8, generator) // 8
    image[..., 0, 0] = 255  # outside of the box
    crop = torch.tensor([[5, 5, 10, 10]])
    assert convert(image, 0.5, crop=crop, size=(10, 10)).any()
    assert not convert(image, 0.5)[..., 5:15, 5:15].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_boxes_with_a_non_finite_pixel_have_no_events(
    value: float, interpolation: str, generator: torch.Generator
) -> None:
    images = noise((2, 3, 20, 20), torch.float32, generator)
    images[:, 1, 4, 4] = value
    crop = torch.tensor([[0, 0, 10, 10], [5, 5, 10, 10]])
    events = convert(images, 0.1, crop=crop, size=(20, 20), interpolation=interpolation)
    assert not events[:, 0].any()
    assert events[:, 1].any()


def test_timestep_with_a_motion_vector_of_zeros_has_no_events(generator: torch.Generator) -> None:
    images = noise((3, 3, 16, 16), torch.uint8, generator)
    kept = torch.rand(3, 8, generator=generator) < 0.5
    shifts = random_shifts(3, generator)
    events = convert(images, 0.1, shifts=shifts * kept[..., None], size=(24, 24), dtype=torch.bool)
    whole = convert(images, 0.1, shifts=shifts, size=(24, 24), dtype=torch.bool)
    assert torch.equal(events, whole & kept.T[:, :, None, None, None])


#: Arguments that replace those of ``convert(IMAGES, crop=BOX, size=(8, 8), flip=FLIP)``, the error, and its message.
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "list of boxes": ({"crop": [[0, 0, 4, 5]] * 2}, TypeError, r"tensor of boxes \(top.*got list; use torch.tensor"),
    "float boxes": ({"crop": BOX.float()}, TypeError, r"signed integer.*got torch\.float32"),
    "uint8 boxes": ({"crop": BOX.to(torch.uint8)}, TypeError, r"signed integer.*got torch\.uint8"),
    "one box": ({"crop": BOX[0]}, ValueError, r"\[2, 4\] of boxes.*got shape \[4\]; .*crop\.expand\(2, 4\)"),
    "too many boxes": ({"crop": BOX[[0, 0, 0]]}, ValueError, r"\[2, 4\].*got shape \[3, 4\]"),
    "boxes of 2 columns": ({"crop": BOX[:, :2]}, ValueError, r"\[2, 4\].*got shape \[2, 2\]"),
    "boxes on another device": ({"crop": BOX.to("meta")}, ValueError, "crop must be on.*cpu, got meta.*to"),
    "box of height 0": ({"crop": BOX * torch.tensor([1, 1, 0, 1])}, ValueError, r"1 to.*\(0, 0, 0, 5\) for image 0"),
    "box of negative width": (
        {"crop": torch.tensor([[0, 0, 4, 5], [1, 1, 2, -3]])},
        ValueError,
        r"2, -3\) for image 1",
    ),
    "box that is too large": ({"crop": BOX * 2**23}, ValueError, r"1 to 16777216 .* for image 0"),
    "box too far from the image": (
        {"crop": BOX - torch.tensor([0, 2**31, 0, 0])},
        ValueError,
        "at most 1073741824 from the image",
    ),
    "height 0": ({"size": (0, 8)}, ValueError, r"size must be 1 to 16777216 .*got \(0, 8\)"),
    "negative width": ({"size": (8, -1)}, ValueError, r"got \(8, -1\)"),
    "size of one number": ({"size": 8}, TypeError, "two whole numbers, height and width; got 8"),
    "size of three numbers": ({"size": (3, 8, 8)}, TypeError, r"two whole numbers.*got \(3, 8, 8\)"),
    "float size": ({"size": (8.0, 8)}, TypeError, r"two whole numbers.*got \(8\.0, 8\)"),
    "list of flips": ({"flip": [True, False]}, TypeError, "bool tensor, got list; use torch.tensor"),
    "integer flips": ({"flip": FLIP.int()}, TypeError, r"bool tensor, got torch\.int32; .*\.bool\(\)"),
    "one flip": ({"flip": FLIP[0]}, ValueError, r"\[2\] that says.*got shape \[\]; .*flip\.expand\(2,\)"),
    "flips on another device": ({"flip": FLIP.to("meta")}, ValueError, "flip must be on.*cpu, got meta"),
    "bicubic interpolation": (
        {"interpolation": "bicubic"},
        ValueError,
        "'bilinear' or 'nearest', got 'bicubic'; .*resize before",
    ),
    "out with the size of the images": ({"out": torch.empty(8, 2, 2, 4, 5)}, ValueError, r"\[8, 2, 2, 8, 8\].*got"),
    "negative ratio": ({"ratio": torch.tensor([0.1, -0.5])}, ValueError, "for image 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_rejected_before_any_work(name: str) -> None:
    given, error, words = WRONG[name]
    arguments: dict[str, Any] = {"images": IMAGES, "crop": BOX, "size": (8, 8), "flip": FLIP}
    with (
        mock.patch.object(operator.cpu_augmented, "convert_into") as convert_into,
        mock.patch("torch.empty") as empty,
        pytest.raises(error, match=words),
    ):
        convert(**{**arguments, **given})
    assert not convert_into.called
    assert not empty.called, "memory was allocated"


def test_unknown_interpolation_is_rejected_even_if_nothing_is_resized() -> None:
    with pytest.raises(ValueError, match="interpolation must be"):
        convert(IMAGES, interpolation="bicubic")


def test_out_must_not_share_memory_with_boxes() -> None:
    memory = torch.zeros(8 * 2 * 2 * 4 * 5 + 8, dtype=torch.uint8)
    out = memory[8:].view(8, 2, 2, 4, 5)
    beside = memory[:8].view(2, 4).view(torch.int8).copy_(BOX)
    assert convert(IMAGES, crop=beside, dtype=torch.uint8, out=out) is out
    inside = memory[16:24].view(2, 4).view(torch.int8).copy_(BOX)
    with pytest.raises(ValueError, match="out must not share memory with crop"):
        convert(IMAGES, crop=inside, dtype=torch.uint8, out=out)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiles_as_one_graph(dynamic: bool | None, generator: torch.Generator) -> None:
    def call(images: Tensor, crop: Tensor, flip: Tensor) -> Tensor:
        size = (2 * images.shape[2], 2 * images.shape[3])
        return convert(images, 0.1, crop=crop, size=size, flip=flip) * 2

    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((2, 3, 9, 8), (3, 3, 12, 6)):
        images = noise(shape, torch.uint8, generator)
        crop, flip = boxes(shape[0], generator), flips(shape[0], generator)
        assert_same_events(compiled(images, crop, flip), call(images, crop, flip))
