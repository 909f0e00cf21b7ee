"""The kernels of augmented conversions equal the specification bit for bit, in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, random_shifts
from tests.augmented_cases import AugmentedCase, augmented_cases, boxes, flips
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, LAYOUTS, arrange, poisoned
from tests.samples import assert_same_events, noise, photograph

#: One program converts a whole image; or several share it.
ONE, MANY = 1, 132
Augment = Callable[..., Tensor]


@pytest.fixture(scope="session")
def interpret_augmented(interpreter: ProcessPoolExecutor) -> Augment:
    """Convert a case with the interpreted kernels, into a poisoned output."""

    def run(
        case: AugmentedCase,
        dtype: torch.dtype = torch.bool,
        *,
        packed: bool = False,
        multiprocessors: int = ONE,
        layout: str = "contiguous",
    ) -> Tensor:
        from tests.kernels.interpreted import convert_augmented_into  # named here, run there

        out = poisoned(case.expected(dtype, packed=packed), layout)
        ratios, ratio = (case.ratio, 0.0) if isinstance(case.ratio, Tensor) else (None, case.ratio)
        nearest = case.interpolation == "nearest"
        given = (out, case.images, case.crop, case.flip, case.shifts, ratios, ratio, nearest, packed, multiprocessors)
        return interpreter.submit(convert_augmented_into, *given).result()

    return run


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=augmented_cases(batch=2),
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
    multiprocessors=st.sampled_from([ONE, MANY]),
    layout=st.sampled_from(["contiguous", "strided"]),
)
def test_equals_specification(
    interpret_augmented: Augment,
    case: AugmentedCase,
    dtype: torch.dtype,
    packed: bool,
    multiprocessors: int,
    layout: str,
) -> None:
    dtype = torch.uint8 if packed else dtype
    events = interpret_augmented(case, dtype, packed=packed, multiprocessors=multiprocessors, layout=layout)
    assert_same_events(events, case.expected(dtype, packed=packed))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_image_type(
    interpret_augmented: Augment, image_dtype: torch.dtype, interpolation: str, generator: torch.Generator
) -> None:
    """Up in one direction and down in the other, each from another part of the image and beyond it."""
    crop = torch.tensor([[-3, 5, 20, 60], [17, -9, 26, 50]])
    flip = torch.tensor([True, False])
    images = noise((2, 3, 33, 47), image_dtype, generator)
    case = AugmentedCase(images, random_shifts(2, generator), crop, (35, 36), flip, interpolation)
    for multiprocessors in (ONE, MANY):
        assert_same_events(interpret_augmented(case, multiprocessors=multiprocessors), case.expected())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(interpret_augmented: Augment, layout: str, generator: torch.Generator) -> None:
    images = arrange(noise((2, 3, 21, 18), torch.uint8, generator), layout)
    case = AugmentedCase(images, canonical_shifts(), boxes(2, generator), (33, 20), flips(2, generator))
    assert_same_events(interpret_augmented(case), case.expected())


@pytest.mark.parametrize("channels", [1, 4, 5, 16])
def test_every_number_of_channels(interpret_augmented: Augment, channels: int, generator: torch.Generator) -> None:
    images = noise((1, channels, 10, 9), torch.float32, generator)
    case = AugmentedCase(images, canonical_shifts(), None, (21, 34))
    assert_same_events(interpret_augmented(case), case.expected())
    images[0, -1, 3, 5] = -torch.inf  # below every other channel, if there is one
    assert not interpret_augmented(case).any()


def test_a_photograph_as_training_augments_it(interpret_augmented: Augment, generator: torch.Generator) -> None:
    image = photograph("astronaut")[None, :, 40:72, 200:232]
    crop = torch.tensor([[-3, 2, 32, 32]])
    case = AugmentedCase(image, random_shifts(1, generator), crop, (128, 128), torch.tensor([True]), ratio=0.07)
    expected = case.expected()
    assert 0.01 < expected.float().mean() < 0.3
    assert_same_events(interpret_augmented(case), expected)


@pytest.mark.parametrize("integer", [torch.int8, torch.int64])
def test_no_box_reads_beyond_an_image(
    interpret_augmented: Augment, integer: torch.dtype, generator: torch.Generator
) -> None:
    """A GPU checks no values: boxes are clamped, so that any are safe, and those without area have one pixel."""
    least, largest = torch.iinfo(integer).min, torch.iinfo(integer).max
    images = noise((3, 1, 9, 11), torch.uint8, generator)
    wild = torch.tensor([[least, largest, least, largest], [2, 3, 0, -1], [largest, least, largest, 0]], dtype=integer)
    tame = wild.long()
    tame[:, :2] = tame[:, :2].clamp(-100, 100)
    tame[:, 2:] = tame[:, 2:].clamp(1, 2**24)
    safe = AugmentedCase(images, canonical_shifts(), tame, (12, 8))
    unsafe = AugmentedCase(images, canonical_shifts(), wild, (12, 8))
    unsafe.expected = safe.expected  # type: ignore[method-assign]
    assert_same_events(interpret_augmented(unsafe), safe.expected())
