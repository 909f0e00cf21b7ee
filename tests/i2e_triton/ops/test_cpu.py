"""The fast CPU path equals the reference bit for bit, for every kind of argument."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, convert, reference
from i2e_triton.ops import cpu
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, Case, cases, pack, pairs_at, poisoned
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph, poison_for, resized_photograph

SHIFT_DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)
# The small numbers divide even small images into many chunks.
CHUNK_PIXELS = (1, 25, 200, 800, cpu._CHUNK_PIXELS)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(batch=5),
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
    layout=st.sampled_from(["contiguous", "strided"]),
    pixels=st.sampled_from(CHUNK_PIXELS),
    wide=st.sampled_from([1, cpu._WIDE]),
)
def test_equals_the_reference(
    one_thread: None, case: Case, dtype: torch.dtype, packed: bool, layout: str, pixels: int, wide: int
) -> None:
    packed = packed and case.packable
    expected = case.expected(torch.uint8 if packed else dtype, packed=packed)
    out = poisoned(expected, layout)
    before = case.images.clone(), case.shifts.clone()
    with mock.patch.multiple(cpu, _CHUNK_PIXELS=pixels, _WIDE=wide):
        assert convert(case.images, case.ratio, shifts=case.shifts, dtype=dtype, packed=packed, out=out) is out
    assert_same_events(out, expected)
    assert torch.equal(case.images.nan_to_num(42), before[0].nan_to_num(42))
    assert torch.equal(case.shifts, before[1])


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("events", [*EVENT_DTYPES, "packed"], ids=str)
def test_photographs_equal_the_reference(name: str, events: torch.dtype | str, one_thread: None) -> None:
    scaled = reference.scale(photograph(name))
    for image in (photograph(name), scaled.half(), scaled.bfloat16(), scaled, scaled.double()):
        expected = reference.convert(image[None], 0.12, canonical_shifts())[:, 0]
        expected = expected.to(events) if isinstance(events, torch.dtype) else pack(expected)
        out = poison_for(expected)
        convert(image, dtype=expected.dtype, packed=events == "packed", out=out)
        assert_same_events(out, expected)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_and_image_of_several_chunks(dtype: torch.dtype, threads: int, one_thread: None) -> None:
    torch.set_num_threads(threads)
    pixels = 2**14
    batch = torch.stack([resized_photograph(name, 96) for name in PHOTOGRAPHS])
    for images in (batch, photograph("astronaut")[None, :, :, :256]):
        assert images.shape[0] * images[0, 0].numel() > threads * pixels  # more than one chunk
        images = images if dtype == torch.uint8 else reference.scale(images).to(dtype)
        expected = reference.convert(images, 0.12, canonical_shifts())
        out = poison_for(expected)
        with mock.patch.object(cpu, "_CHUNK_PIXELS", pixels):
            convert(images, dtype=torch.bool, out=out)
        assert_same_events(out, expected)


def test_image_of_4096_by_4096(one_thread: None, generator: torch.Generator) -> None:
    image = noise((1, 4096, 4096), torch.uint8, generator)
    image[:, ::64, ::64], image[:, 1::64, ::64] = 0, 255  # so that every part has the range of the whole image
    events = convert(image, packed=True)
    for top, left in ((0, 0), (0, 3996), (3996, 0), (3996, 3996), (2022, 33)):
        part = (..., slice(top, top + 100), slice(left, left + 100))
        expected = pack(reference.convert(image[part][None], 0.12, canonical_shifts()))[0]
        inner = (..., slice(top > 0, 100 - (top < 3996)), slice(left > 0, 100 - (left < 3996)))
        assert_same_events(events[part][inner], expected[inner])


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("shift_dtype", SHIFT_DTYPES, ids=str)
def test_vectors_longer_than_the_image_reach_the_border(
    dtype: torch.dtype, shift_dtype: torch.dtype, generator: torch.Generator
) -> None:
    images = noise((2, 2, 5, 9), dtype, generator)
    limits = torch.iinfo(shift_dtype)
    longest = torch.tensor([[limits.min, 0, limits.max, 1], [0, limits.min, -1, limits.max]], dtype=shift_dtype)
    long = torch.randint(-127, 128, (6, 4), generator=generator).to(shift_dtype)
    shifts = torch.cat([longest, long])
    # Clamping the vectors to the size of the image does not change the events.
    expected = reference.convert(images, 0.1, shifts.to(torch.int64).clamp(-9, 9))
    assert expected.any()
    out = poison_for(expected)
    convert(images, 0.1, shifts=shifts, dtype=torch.bool, out=out)
    assert_same_events(out, expected)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_only_the_image_with_a_non_finite_pixel_has_no_events(
    dtype: torch.dtype, number: float, generator: torch.Generator
) -> None:
    images = noise((3, 3, 8, 9), dtype, generator)
    images[:, 0] = 4  # the maximum of the channels
    images[:, 0, ::2] = 3
    expected = reference.convert(images, 0.12, canonical_shifts())
    assert expected[:, 1].any()
    expected[:, 1] = False
    for channel in range(3):
        changed = images.clone()
        changed[1, channel, 3, 5] = number
        out = poison_for(expected)
        convert(changed, dtype=torch.bool, out=out)
        assert_same_events(out, expected)


def assert_same_right_events(images: Tensor, ratios: Tensor) -> None:
    """Compare the events of the motion vector to the right with the reference."""
    right = torch.tensor([[0, 0, 0, 1]])
    expected = reference.convert(images, ratios, right)
    out = poisoned(expected)
    convert(images, ratios, shifts=right, dtype=torch.bool, out=out)
    assert_same_events(out, expected)


def test_pairs_of_grey_levels_at_every_tie(one_thread: None) -> None:
    level = torch.arange(0, 257)
    on_level = level.double().div(255).float()  # theta is a whole number of levels
    next_to_level = [torch.nextafter(on_level, torch.tensor(towards)) for towards in (-1.0, 2.0)]
    for ratios in (on_level, *next_to_level):
        assert_same_right_events(pairs_at(level), ratios.clamp(0, 1))


@pytest.mark.parametrize("ratio", [0.12, 0.2, "random"])
def test_pairs_of_grey_levels_at_every_range(ratio: float | str, one_thread: None, generator: torch.Generator) -> None:
    ratio = float(torch.rand(1, generator=generator)) if isinstance(ratio, str) else ratio
    spread = torch.arange(256)
    lowest = (torch.rand(256, generator=generator) * (256 - spread)).long()
    bounds = [bound.to(torch.uint8)[:, None, None, None] for bound in (lowest, lowest + spread)]
    images = pairs_at((spread * ratio).round().long()).clamp(*bounds)
    assert_same_right_events(images, torch.tensor(ratio).expand(256))
