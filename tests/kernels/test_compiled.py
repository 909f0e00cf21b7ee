"""The compiled kernels equal the reference bit for bit. Their PTX is executed on the CPU, in NumPy.

Unlike Triton's interpreter, this covers the compiler: dtypes, rounding, alignment, reductions over threads, barriers.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from i2e_triton import I2E, canonical_shifts, convert, random_shifts, unpack
from tests.augmented_cases import AugmentedCase, augmented_cases
from tests.cases import CONTENTS, EVENT_DTYPES, IMAGE_DTYPES, LAYOUTS, Case, arrange, cases, filled, poisoned, unpacked
from tests.kernels import compiled
from tests.kernels.test_compile import FORMATS, NVIDIA
from tests.samples import assert_same_events, noise, photograph

#: Multiprocessors of the device. With ONE, one program converts a whole image; with MANY, several programs share it.
ONE, MANY = 1, 132
TARGETS = st.sampled_from(NVIDIA)
#: All phases of Hypothesis except shrinking, which would take minutes.
PHASES = tuple(phase for phase in Phase if phase != Phase.shrink)


@settings(max_examples=15, phases=PHASES)
@given(
    case=cases(batch=2),
    target=TARGETS,
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
    multiprocessors=st.sampled_from([ONE, MANY]),
    layout=st.sampled_from(["contiguous", "strided"]),
    constant=st.booleans(),
)
def test_equals_reference(
    case: Case, target: str, dtype: torch.dtype, packed: bool, multiprocessors: int, layout: str, constant: bool
) -> None:
    packed = packed and case.packable
    dtype = torch.uint8 if packed else dtype
    events = compiled.convert(
        case, dtype, packed=packed, multiprocessors=multiprocessors, layout=layout, target=target, constant=constant
    )
    assert_same_events(events, case.expected(dtype, packed=packed))


@pytest.mark.parametrize("events", FORMATS, ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_dtype(image_dtype: torch.dtype, events: torch.dtype | str, generator: torch.Generator) -> None:
    packed = events == "packed"
    dtype = events if isinstance(events, torch.dtype) else torch.uint8
    case = Case(noise((1, 3, 33, 36), image_dtype, generator), canonical_shifts(), 0.12)
    assert_same_events(compiled.convert(case, dtype, packed=packed), case.expected(dtype, packed=packed))


@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_image_dtype_with_several_programs(image_dtype: torch.dtype, generator: torch.Generator) -> None:
    case = Case(noise((2, 3, 33, 36), image_dtype, generator), random_shifts(2, generator), torch.tensor([0.1, 0.3]))
    assert_same_events(compiled.convert(case, multiprocessors=MANY), case.expected())


@pytest.mark.parametrize("multiprocessors", [ONE, MANY])
def test_every_content(multiprocessors: int, generator: torch.Generator) -> None:
    for dtype, content in [*((torch.float32, content) for content in CONTENTS), (torch.float64, "flat")]:
        case = Case(filled((1, 2, 33, 36), dtype, content, generator), canonical_shifts(), 0.12)
        assert_same_events(compiled.convert(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("image_dtype", [torch.uint8, torch.float32], ids=str)
def test_more_channels_than_unrolled(image_dtype: torch.dtype, generator: torch.Generator) -> None:
    case = Case(noise((2, 6, 19, 20), image_dtype, generator), canonical_shifts(), 0.12)
    assert not torch.equal(case.images.amax(1), case.images[:, :-1].amax(1)), "the last channel is never the maximum"
    assert_same_events(compiled.convert(case), case.expected())


@pytest.mark.parametrize("image_dtype", [torch.uint8, torch.float32], ids=str)
def test_last_of_many_vectors_is_long(image_dtype: torch.dtype, generator: torch.Generator) -> None:
    shifts = torch.tensor([[0, 0, 0, 1]] * 9 + [[0, 0, -7, 5]])
    case = Case(noise((1, 1, 12, 16), image_dtype, generator), shifts, 0.12)
    assert_same_events(compiled.convert(case), case.expected())


@pytest.mark.parametrize("target", NVIDIA)
def test_photograph_by_all_warps_of_a_program(target: str) -> None:
    """Warps read what other warps wrote to the plane (and, for a tie, to the tie-break plane) before a barrier."""
    for ratio in (0.12, 0.2):
        case = Case(photograph("astronaut")[None, :, 96:168, 180:252], canonical_shifts(), ratio)
        events = compiled.convert(case, torch.uint8, packed=True, target=target)
        assert_same_events(events, case.expected(packed=True))


@pytest.mark.parametrize("ratio", [6 / 51, 30.4 / 255])
def test_every_pair_of_grey_levels(ratio: float) -> None:
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)
    pairs = torch.stack(torch.meshgrid(levels, levels, indexing="ij"), dim=2).reshape(1, 1, len(levels), -1)
    case = Case(pairs, torch.tensor([[0, 0, 0, 1]]), ratio)
    for multiprocessors in (ONE, MANY):
        assert_same_events(compiled.convert(case, multiprocessors=multiprocessors), case.expected())


@settings(max_examples=8, phases=PHASES)
@given(
    case=augmented_cases(batch=2),
    target=TARGETS,
    dtype=st.sampled_from(EVENT_DTYPES),
    multiprocessors=st.sampled_from([ONE, MANY]),
)
def test_augmented_equals_reference(case: AugmentedCase, target: str, dtype: torch.dtype, multiprocessors: int) -> None:
    events = compiled.convert(case, dtype, multiprocessors=multiprocessors, target=target)
    assert_same_events(events, case.expected(dtype))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_augmented_dtype(image_dtype: torch.dtype, interpolation: str, generator: torch.Generator) -> None:
    crop, flip = torch.tensor([[-3, 5, 20, 60], [2, 9, 50, 20]]), torch.tensor([True, False])
    images = noise((2, 3, 33, 37), image_dtype, generator)
    case = AugmentedCase(images, random_shifts(2, generator), crop, (33, 36), flip, interpolation)
    for multiprocessors in (ONE, MANY):
        assert_same_events(compiled.convert(case, multiprocessors=multiprocessors), case.expected())


@settings(max_examples=8, phases=PHASES)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 2), st.just(2), st.integers(1, 40), st.integers(1, 40)),
    timesteps=st.integers(1, 8),
    dtype=st.sampled_from(EVENT_DTYPES),
    layout=st.sampled_from(LAYOUTS),
    target=TARGETS,
)
def test_unpack_equals_the_bits(
    seed: int, shape: tuple[int, ...], timesteps: int, dtype: torch.dtype, layout: str, target: str
) -> None:
    packed = arrange(noise(shape, torch.uint8, torch.Generator().manual_seed(seed)), layout)
    expected = unpacked(packed, timesteps, dtype)
    assert_same_events(compiled.unpack_into(poisoned(expected), packed, target), expected)


@pytest.mark.parametrize("layout", ["contiguous", "sliced"])
@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_unpack(dtype: torch.dtype, layout: str, generator: torch.Generator) -> None:
    packed = arrange(noise((2, 2, 19, 23), torch.uint8, generator), layout)
    expected = unpacked(packed, 7, dtype)
    assert_same_events(compiled.unpack_into(poisoned(expected), packed), expected)


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
