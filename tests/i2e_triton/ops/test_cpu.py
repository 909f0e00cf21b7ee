"""The fast CPU path equals the reference bit for bit, for every kind of argument."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, convert, random_shifts, reference
from i2e_triton.ops import cpu
from i2e_triton.shifts import ORDERS
from tests.cases import pack
from tests.samples import PHOTOGRAPHS, assert_same_events, extremes, noise, photograph, poison_for, resized_photograph

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
EVENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)
SHIFT_DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)
LAYOUTS = (
    "contiguous",
    "channels_last",
    "every other pixel",
    "expanded batch",
    "expanded channels",
    "expanded rows",
    "flipped",
    "transposed",
)
# The small numbers divide even small images into many chunks.
CHUNK_PIXELS = (1, 25, 200, 800, cpu._CHUNK_PIXELS)


def with_layout(images: Tensor, layout: str) -> Tensor:
    """Return the images in another memory layout. The expanded layouts also change the pixels."""
    shape = images.shape
    if layout == "channels_last":
        return images.contiguous(memory_format=torch.channels_last)
    if layout == "every other pixel":
        spread = images.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(3, 2).repeat_interleave(2, 3)
        return spread[::2, 1::2, 2::3, ::2]
    if layout == "expanded batch":
        return images[:1].expand(shape)
    if layout == "expanded channels":
        return images[:, :1].expand(shape)
    if layout == "expanded rows":
        return images[:, :, :1].expand(shape)
    if layout == "flipped":
        # Tensors have no negative strides, so flip copies. The slice makes a view with an offset.
        return torch.nn.functional.pad(images.flip(-1), (3, 2, 1, 1))[:, :, 1:-1, 3:-2]
    if layout == "transposed":
        return images.transpose(2, 3).contiguous().transpose(2, 3)
    return images


def output_like(expected: Tensor, *, strided: bool) -> Tensor:
    """Return a poisoned output for the events, with gaps between its elements if strided."""
    if not strided:
        return poison_for(expected).contiguous()  # the reference's events are not contiguous
    gaps = torch.ones([size + 1 for size in expected.shape], dtype=expected.dtype).repeat_interleave(2, -1)
    view = gaps.transpose(-1, -2).contiguous().transpose(-1, -2)[tuple(slice(size) for size in expected.shape)]
    return view.copy_(poison_for(expected))


def ratio_on_a_tie(images: Tensor, generator: torch.Generator) -> float:
    """Return a ratio for which theta is, except for rounding, a difference of two pixels of the first image."""
    value = reference.scale(images[:1]).amax(1).flatten().double()
    spread = float(value.max() - value.min())
    first, second = value[torch.randint(len(value), (2,), generator=generator)].tolist()
    ratio = abs(first - second) / spread if 0 < spread < torch.inf else 0.5
    return ratio if ratio == ratio else 0.5


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    size = st.sampled_from((1, 2, 3, 7, 13, 16, 31, 37))
    height, width = draw(size), draw(size)
    # convert rejects more than 4 channels if the width is 3 or 4, because then the last dimension looks like channels.
    return draw(st.integers(0, 5)), draw(st.integers(1, 4 if width in (3, 4) else 5)), height, width


def draw_images(data: st.DataObject, generator: torch.Generator) -> Tensor:
    shape = data.draw(shapes(), label="shape")
    dtype = data.draw(st.sampled_from(IMAGE_DTYPES), label="dtype")
    content = data.draw(st.sampled_from(("noise", "few levels", "extremes", "photograph")), label="content")
    if content == "photograph" and shape[1] <= 3:
        name = data.draw(st.sampled_from(PHOTOGRAPHS), label="name")
        patch = photograph(name)[: shape[1], 100 : 100 + shape[2], 200 : 200 + shape[3]]
        images = (patch if dtype == torch.uint8 else reference.scale(patch).to(dtype)).expand(shape).clone()
    elif content == "extremes" and dtype != torch.uint8:
        images = extremes(shape, dtype, generator)
    elif content == "few levels":
        images = noise((6,), dtype, generator)[torch.randint(6, shape, generator=generator)]
    else:
        images = noise(shape, dtype, generator)
    if dtype != torch.uint8 and images.numel() and data.draw(st.integers(0, 4), label="non-finite if 0") == 0:
        number = data.draw(st.sampled_from((torch.nan, torch.inf, -torch.inf)), label="number")
        images.view(-1)[torch.randint(images.numel(), (1,), generator=generator)] = number
    return with_layout(images, data.draw(st.sampled_from(LAYOUTS), label="layout"))


def draw_shifts(data: st.DataObject, images: Tensor, generator: torch.Generator) -> Tensor:
    kinds = ("canonical", "random", "random per sample", "any", "any per sample")
    kind = data.draw(st.sampled_from(kinds), label="vectors")
    order = data.draw(st.sampled_from(sorted(ORDERS)), label="order")
    if kind == "canonical":
        shifts = canonical_shifts(order, data.draw(st.integers(1, 8), label="timesteps"))
    elif kind == "random":
        shifts = random_shifts(None, generator, order=order)
    elif kind == "random per sample":
        shifts = random_shifts(len(images), generator, order=order)
    else:
        reach = data.draw(st.sampled_from((0, 1, 2, 5, 12)), label="reach")
        timesteps = data.draw(st.sampled_from((1, 2, 3, 8, 9, 20)), label="timesteps")
        size = (timesteps, 4) if kind == "any" else (len(images), timesteps, 4)
        shifts = torch.randint(-reach, reach + 1, size, generator=generator)
    return shifts.to(data.draw(st.sampled_from(SHIFT_DTYPES), label="dtype of the vectors"))


def draw_ratio(data: st.DataObject, images: Tensor, generator: torch.Generator) -> float | Tensor:
    kind = data.draw(st.sampled_from(("fixed", "any", "tie", "per image")), label="ratio")
    if kind == "fixed":
        return data.draw(st.sampled_from((0, 1e-30, 1e-3, 0.07, 0.12, 0.2, 0.6, 0.9999, 1)))
    if kind == "any":
        return data.draw(st.floats(0, 1))
    if kind == "tie" and images.numel():
        return ratio_on_a_tie(images, generator)
    ratios = torch.rand(len(images), generator=generator, dtype=torch.float64)
    ratios = torch.where(torch.rand(len(images), generator=generator) < 0.5, (ratios * 255).round() / 255, ratios)
    return ratios.to(data.draw(st.sampled_from((torch.float32, torch.float64, torch.float16))))


def expected_events(images: Tensor, ratio: float | Tensor, shifts: Tensor) -> Tensor:
    if len(images) == 0:
        return torch.zeros(shifts.shape[-2], 0, 2, *images.shape[2:], dtype=torch.bool)
    return reference.convert(images, ratio, shifts)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_equals_the_reference(one_thread: None, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32), label="seed"))
    images = draw_images(data, generator)
    shifts = draw_shifts(data, images, generator)
    ratio = draw_ratio(data, images, generator)
    expected = expected_events(images, ratio, shifts)
    packed = len(expected) <= 8 and data.draw(st.booleans(), label="packed")
    expected = pack(expected) if packed else expected.to(data.draw(st.sampled_from(EVENT_DTYPES), label="events"))
    out = output_like(expected, strided=data.draw(st.booleans(), label="strided output"))
    before = images.clone(), shifts.clone()
    pixels = data.draw(st.sampled_from(CHUNK_PIXELS), label="pixels of a chunk")
    wide = data.draw(st.sampled_from((1, cpu._WIDE)), label="width of wide images")
    with mock.patch.multiple(cpu, _CHUNK_PIXELS=pixels, _WIDE=wide):
        result = convert(images, ratio, shifts=shifts, dtype=expected.dtype, packed=packed, out=out)
    assert result is out
    assert_same_events(out, expected)
    assert torch.equal(torch.nan_to_num(images.double(), 42), torch.nan_to_num(before[0].double(), 42))
    assert torch.equal(shifts, before[1])


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
    batch = torch.stack([resized_photograph(name, 224) for name in PHOTOGRAPHS for _ in range(6)])
    tall = photograph("astronaut").repeat(1, 5, 2)
    for images in (batch, tall[None]):
        assert images.shape[0] * images[0, 0].numel() > threads * cpu._CHUNK_PIXELS  # more than one chunk
        images = images if dtype == torch.uint8 else reference.scale(images).to(dtype)
        expected = reference.convert(images, 0.12, canonical_shifts())
        out = poison_for(expected)
        convert(images, dtype=torch.bool, out=out)
        assert_same_events(out, expected)


def test_image_of_8192_by_8192(one_thread: None, generator: torch.Generator) -> None:
    image = noise((1, 8192, 8192), torch.uint8, generator)
    image[:, ::64, ::64], image[:, 1::64, ::64] = 0, 255  # so that every part has the range of the whole image
    events = convert(image, packed=True)
    for top, left in ((0, 0), (0, 8092), (8092, 0), (8092, 8092), (4070, 33)):
        part = (..., slice(top, top + 100), slice(left, left + 100))
        expected = pack(reference.convert(image[part][None], 0.12, canonical_shifts()))[0]
        inner = (..., slice(top > 0, 100 - (top < 8092)), slice(left > 0, 100 - (left < 8092)))
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
@pytest.mark.parametrize("dtype", IMAGE_DTYPES[1:], ids=str)
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


def grey_level_pairs() -> Tensor:
    """Return an image of one row in which every ordered pair of grey levels is adjacent, ``[1, 1, 1, 65537]``."""
    row = [level for a in range(256) for level in (a, *(either for b in range(a + 1, 256) for either in (a, b)))]
    pairs = torch.tensor([*row, 0], dtype=torch.uint8)
    assert len({*zip(pairs[:-1].tolist(), pairs[1:].tolist())}) == 256 * 256
    return pairs[None, None, None]


RIGHT = torch.tensor([[0, 0, 0, 1]])


def test_every_pair_of_grey_levels_at_every_tie(one_thread: None) -> None:
    pairs = grey_level_pairs()
    on_level = torch.arange(0, 257, dtype=torch.float64).div(255).float()  # theta is a whole number of levels
    next_to_level = [torch.nextafter(on_level, torch.tensor(towards)) for towards in (-1.0, 2.0)]
    for ratios in torch.cat([on_level, *next_to_level]).clamp(0, 1).split(100):
        images = pairs.expand(len(ratios), -1, -1, -1)
        expected = reference.convert(images, ratios, RIGHT)
        out = poison_for(expected)
        convert(images, ratios, shifts=RIGHT, dtype=torch.bool, out=out)
        assert_same_events(out, expected)


@pytest.mark.parametrize("ratio", [0.12, 0.2, "random"])
def test_every_pair_of_grey_levels_at_every_range(
    ratio: float | str, one_thread: None, generator: torch.Generator
) -> None:
    ratio = float(torch.rand(1, generator=generator)) if isinstance(ratio, str) else ratio
    pairs, spread = grey_level_pairs(), torch.arange(256)
    lowest = (torch.rand(256, generator=generator) * (256 - spread)).long()
    for low, high in zip(lowest.split(32), (lowest + spread).split(32)):
        bounds = [bound.to(torch.uint8)[:, None, None, None] for bound in (low, high)]
        images = pairs.clamp(*bounds)
        expected = reference.convert(images, ratio, RIGHT)
        out = poison_for(expected)
        convert(images, ratio, shifts=RIGHT, dtype=torch.bool, out=out)
        assert_same_events(out, expected)
