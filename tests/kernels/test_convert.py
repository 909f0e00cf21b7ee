"""Conversions by the kernels equal the reference bit for bit, on each backend.

The interpreter shows errors of the kernels. Compiled code covers the compiler as well: dtypes, rounding, alignment,
reductions over threads, barriers.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from i2e_triton import I2E, canonical_shifts, convert, random_shifts, unpack
from tests.augmented_cases import AugmentedCase
from tests.cases import CONTENTS, EVENT_DTYPES, IMAGE_DTYPES, LAYOUTS, Case, arrange, cases, filled, pairs_at, poisoned
from tests.kernels import compiled
from tests.kernels.conftest import GPU, MANY, ONE, Backend
from tests.kernels.test_compile import FORMATS, NVIDIA
from tests.samples import assert_same_events, noise, photograph

EXAMPLES = {
    "interpreted": (60, cases()),
    "compiled": (15, cases(batch=2)),
    "gpu": (300, cases(side=70) | cases(side=12, batch=200)),
}
#: All phases of Hypothesis except shrinking, which would take minutes for compiled code.
PHASES = tuple(phase for phase in Phase if phase != Phase.shrink)
#: Options of a conversion on a backend that random tests draw.
OPTIONS: dict[str, Any] = {
    "dtype": st.sampled_from(EVENT_DTYPES),
    "packed": st.booleans(),
    "multiprocessors": st.sampled_from([ONE, MANY]),
    "layout": st.sampled_from(["contiguous", "strided"]),
    "target": st.sampled_from(NVIDIA),
}
RIGHT = torch.tensor([[0, 0, 0, 1]])

both = pytest.mark.parametrize("multiprocessors", [ONE, MANY])
#: Not compiled, where this would take long: ``test_equals_reference`` covers it.
interpreted_or_gpu = pytest.mark.parametrize("backend", ["interpreted", GPU], indirect=True)


def test_equals_reference(backend: Backend) -> None:
    number, strategy = EXAMPLES[backend.name]

    @settings(max_examples=number, phases=PHASES)
    @given(
        case=strategy,
        constant=st.booleans(),
        **OPTIONS,
    )
    def check(case: Case, dtype: torch.dtype, packed: bool, **options: int | str | bool) -> None:
        packed = packed and case.packable
        dtype = torch.uint8 if packed else dtype
        events = backend.convert(case, dtype, packed=packed, **options)  # type: ignore[arg-type]
        assert_same_events(events, case.expected(dtype, packed=packed))

    check()


@pytest.mark.parametrize("events", FORMATS, ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_dtype(
    backend: Backend, image_dtype: torch.dtype, events: torch.dtype | str, generator: torch.Generator
) -> None:
    packed = events == "packed"
    dtype = events if isinstance(events, torch.dtype) else torch.uint8
    case = Case(noise((1, 3, 33, 36), image_dtype, generator), canonical_shifts(), 0.12)
    assert_same_events(backend.convert(case, dtype, packed=packed), case.expected(dtype, packed=packed))


@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_vectors_and_ratios_of_each_image(
    backend: Backend, image_dtype: torch.dtype, generator: torch.Generator
) -> None:
    images, shifts = noise((2, 3, 33, 36), image_dtype, generator), random_shifts(2, generator)
    case = Case(images, shifts, torch.tensor([0.1, 0.9, 0.3, 0.9])[::2])
    assert_same_events(backend.convert(case, multiprocessors=MANY), case.expected())


@interpreted_or_gpu
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 97), (2, 1, 41, 1), (1, 2, 37, 41), (1, 1, 35, 67)])
@both
def test_every_shape(
    backend: Backend, shape: tuple[int, ...], multiprocessors: int, generator: torch.Generator
) -> None:
    for dtype in (torch.uint8, torch.float32):
        case = Case(noise(shape, dtype, generator), canonical_shifts(), 0.07)
        events = backend.convert(case, torch.uint8, packed=True, multiprocessors=multiprocessors)
        assert_same_events(events, case.expected(packed=True))


@interpreted_or_gpu
@pytest.mark.parametrize("layout", LAYOUTS)
@both
def test_every_layout(backend: Backend, layout: str, multiprocessors: int, generator: torch.Generator) -> None:
    images = arrange(noise((2, 3, 35, 33), torch.float32, generator), layout)
    case = Case(images, random_shifts(2, generator), 0.1)
    assert_same_events(backend.convert(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize(
    ("dtype", "content"),
    [
        *((torch.float32, content) for content in CONTENTS),
        *((torch.float64, content) for content in ("flat", "nan")),
        *((dtype, "extremes") for dtype in (torch.float16, torch.bfloat16)),
    ],
    ids=str,
)
@both
def test_every_content(
    backend: Backend, dtype: torch.dtype, content: str, multiprocessors: int, generator: torch.Generator
) -> None:
    """An image with a pixel that is not finite has no events; the other image has."""
    case = Case(filled((2, 2, 33, 36), dtype, content, generator), canonical_shifts(), 0.12)
    assert_same_events(backend.convert(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("channels", [4, 6])
def test_many_channels(backend: Backend, channels: int, generator: torch.Generator) -> None:
    images = torch.randn((1, channels, 19, 20), generator=generator)
    assert not torch.equal(images.amax(1), images[:, :-1].amax(1)), "the last channel is never the maximum"
    for variant in (images.mul(40).clamp(0, 255).to(torch.uint8), arrange(images, "channels_last")):
        case = Case(variant, canonical_shifts(), 0.12)
        assert_same_events(backend.convert(case), case.expected())
    images[0, -1, 3, 5] = -torch.inf  # not in the value channel
    assert not backend.convert(Case(images, canonical_shifts(), 0.12)).any()


def test_thresholds_on_and_between_grey_levels(backend: Backend) -> None:
    """On a whole number of levels, float32 rounding decides which of the pairs at that distance fire."""
    thresholds = torch.tensor([*range(0, 256, 15), 30.1, 30.4, 30.6, 30.9, 0.3, 254.7, 254.9], dtype=torch.float64)
    thresholds = thresholds[::4] if backend.name == "compiled" else thresholds
    case = Case(pairs_at(thresholds.round().long()), RIGHT, thresholds / 255)
    assert_same_events(backend.convert(case), case.expected())


def test_ties_of_floats(backend: Backend, generator: torch.Generator) -> None:
    """Pixels are multiples of 1/256 and their range is 1: many differences equal the threshold exactly, and fire."""
    images = torch.randint(0, 257, (4, 1, 30, 50), generator=generator) / 256
    images[..., 0, :2] = torch.tensor([0.0, 1.0])
    case = Case(images, canonical_shifts(), torch.tensor([0.125, 0.25, 0.5, 1.0]))
    expected = case.expected()
    stricter = Case(images, canonical_shifts(), torch.tensor([0.125, 0.25, 0.5, 1.0]) + 1e-6).expected()
    assert bool((expected.sum((0, 3, 4)) > stricter.sum((0, 3, 4))).all())
    assert_same_events(backend.convert(case), expected)


@pytest.mark.parametrize("packed", [False, True])
@both
def test_ties_of_every_vector(backend: Backend, packed: bool, multiprocessors: int, generator: torch.Generator) -> None:
    """With a range of 250 levels and ratio 0.12, theta is 30 levels, and float32 rounding decides which pairs fire."""
    images = torch.randint(0, 251, (2, 1, 40, 44), dtype=torch.uint8, generator=generator)
    images[..., 0, 0], images[..., 0, 1] = 0, 250
    case = Case(images, random_shifts(2, generator), 0.12)
    tied = images.long().diff(dim=-1).abs() == 30
    fired = Case(images, RIGHT, 0.12).expected()[0].any(1, keepdim=True)[..., :-1]
    assert 0 < int((tied & fired).sum()) < int(tied.sum()), "all tied pairs fire, or none does: use another seed"
    events = backend.convert(case, torch.uint8, packed=packed, multiprocessors=multiprocessors)
    assert_same_events(events, case.expected(torch.uint8, packed=packed))


@pytest.mark.parametrize("out_offset", [0, 1, 4])
def test_out_at_any_address(backend: Backend, out_offset: int, generator: torch.Generator) -> None:
    """Four events can be written at once only if they are aligned to 4 bytes."""
    case = Case(noise((1, 3, 12, 16), torch.uint8, generator), canonical_shifts(), 0.12)
    expected = case.expected(torch.uint8)
    memory = torch.full((expected.numel() + out_offset,), 77, dtype=torch.uint8)
    events = backend.convert(case, out=memory[out_offset:].view(expected.shape))
    assert_same_events(events, expected)


@pytest.mark.parametrize(
    ("image_dtype", "shift_dtype"),
    [
        *((torch.uint8, dtype) for dtype in (torch.int8, torch.int32)),
        *((torch.float32, dtype) for dtype in (torch.int16, torch.int64)),
    ],
    ids=str,
)
def test_longest_vectors(
    backend: Backend, image_dtype: torch.dtype, shift_dtype: torch.dtype, generator: torch.Generator
) -> None:
    """Vectors longer than the image reach its border."""
    least, largest = torch.iinfo(shift_dtype).min, torch.iinfo(shift_dtype).max
    long = [[0, 0, -7, 5], [least, largest, largest, least], [0, 0, least, 0], [0, largest, 0, 0]]
    shifts = torch.tensor([[0, 0, 0, 1], *long], dtype=shift_dtype)
    images = noise((1, 2, 9, 12), image_dtype, generator)
    expected = Case(images, shifts.long().clamp(-20, 20), 0.2).expected()
    assert_same_events(backend.convert(Case(images, shifts, 0.2), out=poisoned(expected)), expected)


@interpreted_or_gpu
@pytest.mark.parametrize("name", ["coffee", "rocket"])
def test_photographs(backend: Backend, name: str) -> None:
    image = photograph(name)[None, :, 100:212, 100:260]
    for images in (image, image.float() / 255):
        case = Case(images, canonical_shifts(), 0.12)
        expected = case.expected()
        assert 0.003 < expected.float().mean() < 0.3
        assert_same_events(backend.convert(case), expected)


@pytest.mark.parametrize("backend", ["compiled"], indirect=True)
@pytest.mark.parametrize("target", NVIDIA)
def test_photograph_by_all_warps_of_a_program(backend: Backend, target: str) -> None:
    """Warps read what other warps wrote to the plane (and, for a tie, to the tie-break plane) before a barrier."""
    image = photograph("astronaut")[None, :, 96:168, 180:252]
    case = Case(image.expand(2, -1, -1, -1), canonical_shifts(), torch.tensor([0.12, 0.2]))
    events = backend.convert(case, torch.uint8, packed=True, target=target)
    assert_same_events(events, case.expected(packed=True))


@pytest.mark.usefixtures("cuda_implementations")
@pytest.mark.parametrize("multiprocessors", [ONE, pytest.param(MANY, marks=pytest.mark.slow)])
def test_public_functions(multiprocessors: int, generator: torch.Generator) -> None:
    images, size = noise((2, 3, 33, 36), torch.uint8, generator), (34, 40)
    dense = torch.full((8, 2, 2, 33, 36), torch.nan)
    ratios, shifts = torch.tensor([0.1, 0.3]), random_shifts(generator=generator)
    crop, flip = torch.tensor([[-2, 3, 20, 30], [5, 4, 9, 11]]), torch.tensor([True, False])
    with compiled.gpu(multiprocessors=multiprocessors) as launched:
        packed = convert(images, packed=True)
        unpacked_events = unpack(packed, 8, torch.float16)
        convert(images, ratios, shifts=shifts, out=dense)
        from_module = I2E(0.07).eval()(images.float() / 255)
        augmented = convert(images, crop=crop, size=size, flip=flip)
        resized = convert(images, size=size, packed=True)
    phases = ["convert_kernel"] if multiprocessors == ONE else ["measure_kernel", "emit_kernel"]
    assert launched == [*phases, "unpack_kernel", *phases, *phases, *phases, *phases]
    default = Case(images, canonical_shifts(), 0.12)
    assert_same_events(packed, default.expected(packed=True))
    assert_same_events(unpacked_events, default.expected(torch.float16))
    assert_same_events(dense, Case(images, shifts, ratios).expected(torch.float32))
    assert_same_events(from_module, Case(images.float() / 255, canonical_shifts(), 0.07).expected(torch.float32))
    cropped = AugmentedCase(images, canonical_shifts(), crop, size, flip)
    assert_same_events(augmented, cropped.expected(torch.float32))
    assert_same_events(resized, AugmentedCase(images, canonical_shifts(), size=size).expected(packed=True))
