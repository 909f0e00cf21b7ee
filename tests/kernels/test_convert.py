"""The kernels, run in Triton's interpreter, equal the reference bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2e_triton import canonical_shifts, random_shifts
from tests.cases import CONTENTS, EVENT_DTYPES, IMAGE_DTYPES, LAYOUTS, Case, arrange, cases, filled, poisoned
from tests.kernels.conftest import Interpreter
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph

#: Multiprocessors of the device. With ONE, one program converts a whole image; with MANY, several programs share it.
ONE, MANY = 1, 132


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(),
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
    multiprocessors=st.sampled_from([ONE, MANY]),
    layout=st.sampled_from(["contiguous", "strided"]),
    constant=st.booleans(),
)
def test_equals_reference(
    interpret: Interpreter,
    case: Case,
    dtype: torch.dtype,
    packed: bool,
    multiprocessors: int,
    layout: str,
    constant: bool,
) -> None:
    packed = packed and case.packable
    dtype = torch.uint8 if packed else dtype
    events = interpret(case, dtype, packed=packed, multiprocessors=multiprocessors, layout=layout, constant=constant)
    assert_same_events(events, case.expected(dtype, packed=packed))


@pytest.mark.parametrize("dtype", EVENT_DTYPES)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES)
def test_every_dtype(
    interpret: Interpreter, image_dtype: torch.dtype, dtype: torch.dtype, generator: torch.Generator
) -> None:
    case = Case(noise((1, 2, 33, 34), image_dtype, generator), canonical_shifts(), 0.12)
    for multiprocessors in (ONE, MANY):
        assert_same_events(interpret(case, dtype, multiprocessors=multiprocessors), case.expected(dtype))


@pytest.mark.parametrize(
    ("multiprocessors", "shape"),
    [
        *((ONE, shape) for shape in [(1, 1, 1, 1), (1, 1, 1, 97), (2, 1, 41, 1), (1, 2, 37, 41), (1, 1, 67, 131)]),
        *((MANY, shape) for shape in [(1, 2, 37, 41), (1, 1, 35, 67)]),  # one program converts each smaller image
    ],
)
def test_every_shape(
    interpret: Interpreter, shape: tuple[int, ...], multiprocessors: int, generator: torch.Generator
) -> None:
    for dtype in (torch.uint8, torch.float32):
        case = Case(noise(shape, dtype, generator), canonical_shifts(), 0.07)
        events = interpret(case, torch.uint8, packed=True, multiprocessors=multiprocessors)
        assert_same_events(events, case.expected(packed=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
def test_every_layout(interpret: Interpreter, layout: str, multiprocessors: int, generator: torch.Generator) -> None:
    images = arrange(noise((2, 3, 35, 33), torch.float32, generator), layout)
    case = Case(images, random_shifts(2, generator), torch.tensor([0.1, 0.3]))
    assert_same_events(interpret(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
def test_every_content(
    interpret: Interpreter, content: str, dtype: torch.dtype, multiprocessors: int, generator: torch.Generator
) -> None:
    case = Case(filled((2, 3, 34, 40), dtype, content, generator), canonical_shifts(), 0.12)
    assert_same_events(interpret(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_only_the_image_with_a_non_finite_pixel_has_no_events(
    interpret: Interpreter, value: float, multiprocessors: int, generator: torch.Generator
) -> None:
    images = noise((2, 3, 40, 40), torch.float32, generator)
    images[0, 0, 0, 0] = 5
    images[0, 2, 39, 17] = value
    case = Case(images, canonical_shifts(), 0.12)
    events = interpret(case, multiprocessors=multiprocessors)
    assert not events[:, 0].any()
    assert events[:, 1].any()
    assert_same_events(events, case.expected())


@pytest.mark.parametrize("channels", [4, 5, 64])
@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
def test_many_channels(interpret: Interpreter, channels: int, multiprocessors: int, generator: torch.Generator) -> None:
    images = torch.randn((1, channels, 33, 32), generator=generator)
    assert not torch.equal(images.amax(1), images[:, :-1].amax(1)), "the last channel is never the maximum"
    for variant in (images.mul(40).clamp(0, 255).to(torch.uint8), arrange(images, "channels_last")):
        case = Case(variant, canonical_shifts(), 0.12)
        assert_same_events(interpret(case, multiprocessors=multiprocessors), case.expected())
    images[0, -1, 3, 5] = -torch.inf  # not in the value channel
    events = interpret(Case(images, canonical_shifts(), 0.12), multiprocessors=multiprocessors)
    assert not events.any()


def pairs_of_levels() -> torch.Tensor:
    """Return an image ``[1, 1, 256, 512]`` in which every ordered pair of grey levels is adjacent."""
    levels = torch.arange(256, dtype=torch.uint8)
    return torch.stack([levels[:, None].expand(256, 256), levels.expand(256, 256)], dim=2).reshape(1, 1, 256, 512)


@pytest.mark.parametrize("ratio", [k / 51 for k in range(0, 52, 3)])
def test_ties_on_whole_grey_levels(interpret: Interpreter, ratio: float) -> None:
    case = Case(pairs_of_levels(), torch.tensor([[0, 0, 0, 1]]), ratio)
    assert_same_events(interpret(case), case.expected())


@pytest.mark.parametrize("ratio", [30.1 / 255, 30.4 / 255, 30.6 / 255, 30.9 / 255, 0.3 / 255, 254.7 / 255, 255.3 / 255])
def test_thresholds_between_grey_levels(interpret: Interpreter, ratio: float) -> None:
    case = Case(pairs_of_levels(), torch.tensor([[0, 0, 0, 1]]), ratio)
    assert_same_events(interpret(case), case.expected())


@pytest.mark.parametrize("ratio", [0.125, 0.25, 0.5, 1.0])
def test_ties_of_floats(interpret: Interpreter, ratio: float, generator: torch.Generator) -> None:
    """Pixels are multiples of 1/256 and their range is 1: many differences equal the threshold exactly, and fire."""
    images = torch.randint(0, 257, (1, 1, 30, 50), generator=generator) / 256
    images[..., 0, :2] = torch.tensor([0.0, 1.0])
    case = Case(images, canonical_shifts(), ratio)
    expected = case.expected()
    stricter = Case(images, canonical_shifts(), ratio + 1e-6).expected()
    assert expected[:, :, 0].sum() > stricter[:, :, 0].sum()
    assert expected[:, :, 1].sum() > stricter[:, :, 1].sum()
    assert_same_events(interpret(case), expected)


@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
@pytest.mark.parametrize("packed", [False, True])
def test_ties_of_every_vector(
    interpret: Interpreter, packed: bool, multiprocessors: int, generator: torch.Generator
) -> None:
    """With a range of 250 levels and ratio 0.12, theta is 30 levels, and float32 rounding decides which pairs fire."""
    images = torch.randint(0, 251, (2, 1, 40, 44), dtype=torch.uint8, generator=generator)
    images[..., 0, 0], images[..., 0, 1] = 0, 250
    case = Case(images, random_shifts(2, generator), 0.12)
    tied = images.long().diff(dim=-1).abs() == 30
    fired = Case(images, torch.tensor([[0, 0, 0, 1]]), 0.12).expected()[0].any(1, keepdim=True)[..., :-1]
    assert 0 < int((tied & fired).sum()) < int(tied.sum()), "all tied pairs fire, or none does: use another seed"
    events = interpret(case, torch.uint8, packed=packed, multiprocessors=multiprocessors)
    assert_same_events(events, case.expected(torch.uint8, packed=packed))


@pytest.mark.parametrize("out_offset", [0, 1, 4])
def test_out_at_any_address(interpret: Interpreter, out_offset: int, generator: torch.Generator) -> None:
    """Four events can be written at once only if they are aligned to 4 bytes."""
    case = Case(noise((1, 3, 12, 16), torch.uint8, generator), canonical_shifts(), 0.12)
    expected = case.expected(torch.uint8)
    memory = torch.full((expected.numel() + out_offset,), 77, dtype=torch.uint8)
    events = interpret(case, out=memory[out_offset:].view(expected.shape))
    assert_same_events(events, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
def test_ratios_of_any_strides(
    interpret: Interpreter, multiprocessors: int, dtype: torch.dtype, generator: torch.Generator
) -> None:
    images = noise((3, 1, 36, 40), dtype, generator)
    for ratios in (torch.tensor([0.1, 0.9, 0.3, 0.9, 0.6, 0.9])[::2], torch.tensor([0.3]).expand(3)):
        case = Case(images, canonical_shifts(), ratios)
        assert_same_events(interpret(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(interpret: Interpreter, name: str) -> None:
    image = photograph(name)[None, :, 100:212, 100:260]
    for images in (image, image.float() / 255):
        case = Case(images, canonical_shifts(), 0.12)
        expected = case.expected()
        assert 0.003 < expected.float().mean() < 0.3
        assert_same_events(interpret(case), expected)


@pytest.mark.parametrize("shift_dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_longest_vectors_of_every_dtype(
    interpret: Interpreter, shift_dtype: torch.dtype, generator: torch.Generator
) -> None:
    least, largest = torch.iinfo(shift_dtype).min, torch.iinfo(shift_dtype).max
    shifts = torch.tensor([[least, largest, largest, least], [0, 0, least, 0], [0, largest, 0, 0]], dtype=shift_dtype)
    images = noise((1, 2, 9, 11), torch.uint8, generator)
    expected = Case(images, shifts.long().clamp(-20, 20), 0.2).expected()
    events = interpret(Case(images, shifts, 0.2), out=poisoned(expected))
    assert_same_events(events, expected)
