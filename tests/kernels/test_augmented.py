"""Augmented conversions by the kernels equal the reference bit for bit, on each backend."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from i2e_triton import canonical_shifts, random_shifts
from i2e_triton.reference import augment
from tests.augmented_cases import AugmentedCase, augmented_cases, boxes, flips
from tests.cases import IMAGE_DTYPES, LAYOUTS, arrange
from tests.kernels import launching
from tests.kernels.conftest import GPU, MANY, ONE, Backend
from tests.kernels.test_convert import OPTIONS, PHASES, interpreted_or_gpu
from tests.samples import assert_same_events, noise, photograph

EXAMPLES = {
    "interpreted": (25, augmented_cases(batch=2)),
    "compiled": (8, augmented_cases(batch=2)),
    "gpu": (300, augmented_cases(side=70) | augmented_cases(side=12, batch=200)),
}


@pytest.mark.parametrize(
    "backend", [pytest.param("interpreted", marks=pytest.mark.slow), "compiled", GPU], indirect=True
)
def test_equals_reference(backend: Backend) -> None:
    number, strategy = EXAMPLES[backend.name]

    @settings(max_examples=number, phases=PHASES)
    @given(case=strategy, **OPTIONS)
    def check(case: AugmentedCase, dtype: torch.dtype, packed: bool, **options: int | str) -> None:
        dtype = torch.uint8 if packed else dtype
        events = backend.convert(case, dtype, packed=packed, **options)  # type: ignore[arg-type]
        assert_same_events(events, case.expected(dtype, packed=packed))

    check()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_image_dtype(
    backend: Backend, image_dtype: torch.dtype, interpolation: str, generator: torch.Generator
) -> None:
    """Images are enlarged in one direction and reduced in the other; each box is partly outside of its image."""
    crop, flip = torch.tensor([[-3, 5, 20, 60], [2, 9, 50, 20]]), torch.tensor([True, False])
    images = noise((2, 3, 33, 37), image_dtype, generator)
    case = AugmentedCase(images, random_shifts(2, generator), crop, (33, 36), flip, interpolation)
    for multiprocessors in (ONE, MANY):
        assert_same_events(backend.convert(case, multiprocessors=multiprocessors), case.expected())


@interpreted_or_gpu
@pytest.mark.parametrize("image_dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
def test_equal_values_stay_equal_to_the_last_bit(
    backend: Backend, image_dtype: torch.dtype, generator: torch.Generator
) -> None:
    """With a ratio of 0, every difference gives an event."""
    levels = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    levels = (255 * levels if image_dtype == torch.uint8 else levels).to(image_dtype)
    images = levels[torch.randint(3, (2, 2, 12, 14), generator=generator)]
    images[0] = levels[1]  # all pixels are equal
    crop = torch.tensor([[0, 0, 5, 9], [-2, -1, 13, 17]])
    case = AugmentedCase(images, canonical_shifts(), crop, (37, 40), ratio=0.0)
    expected = case.expected()
    assert not expected[:, 0].any()
    assert_same_events(backend.convert(case), expected)


@pytest.mark.parametrize("multiprocessors", [ONE, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_planes_equal_the_augmented_images(
    interpreter: ProcessPoolExecutor, image_dtype: torch.dtype, multiprocessors: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, 2, 30, 700, generator=generator)
    images = (images * 255 if image_dtype == torch.uint8 else images).to(image_dtype)
    crop, flip = torch.tensor([[-3, 5, 20, 690], [0, -40, 29, 300]]), torch.tensor([True, False])
    arguments = (images, crop, flip, (25, 333), multiprocessors)
    planes = interpreter.submit(launching.augmented_planes, *arguments).result()
    value = augment(images, crop, (25, 333), flip).amax(1)
    padded = F.pad(value[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    assert planes.dtype == padded.dtype
    assert torch.equal(planes, padded)


@interpreted_or_gpu
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(backend: Backend, layout: str, generator: torch.Generator) -> None:
    images = arrange(noise((2, 3, 21, 18), torch.uint8, generator), layout)
    case = AugmentedCase(images, canonical_shifts(), boxes(2, generator), (33, 20), flips(2, generator))
    assert_same_events(backend.convert(case), case.expected())


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_every_number_of_channels(backend: Backend, channels: int, generator: torch.Generator) -> None:
    images = noise((1, channels, 10, 9), torch.float32, generator)
    case = AugmentedCase(images, canonical_shifts(), None, (21, 34))
    assert_same_events(backend.convert(case), case.expected())
    images[0, -1, 3, 5] = -torch.inf  # not in the value channel if there are other channels
    assert not backend.convert(case).any()


@interpreted_or_gpu
def test_photograph_augmented_as_in_training(backend: Backend, generator: torch.Generator) -> None:
    image = photograph("astronaut")[None, :, 40:72, 200:232]
    crop = torch.tensor([[-3, 2, 32, 32]])
    case = AugmentedCase(image, random_shifts(1, generator), crop, (128, 128), torch.tensor([True]), ratio=0.07)
    expected = case.expected()
    assert 0.01 < expected.float().mean() < 0.3
    assert_same_events(backend.convert(case), expected)


@pytest.mark.parametrize("box_dtype", [torch.int8, torch.int64])
def test_no_box_reads_outside_of_an_image(backend: Backend, box_dtype: torch.dtype, generator: torch.Generator) -> None:
    """On a GPU, invalid boxes are clamped instead of rejected; a height or width below 1 becomes 1."""
    least, largest = torch.iinfo(box_dtype).min, torch.iinfo(box_dtype).max
    images = noise((3, 1, 9, 11), torch.uint8, generator)
    invalid = torch.tensor([[least, largest, least, largest], [2, 3, 0, 8], [3, 1, 5, least]], dtype=box_dtype)
    clamped = invalid.long()
    clamped[:, :2] = clamped[:, :2].clamp(-100, 100)
    clamped[:, 2:] = clamped[:, 2:].clamp(1, 2**24)
    clamped_case = AugmentedCase(images, canonical_shifts(), clamped, (12, 8))
    invalid_case = AugmentedCase(images, canonical_shifts(), invalid, (12, 8))
    invalid_case.expected = clamped_case.expected  # type: ignore[method-assign]
    expected = clamped_case.expected()
    assert expected[:, 1:].flatten(2).any(2).any(0).all(), "a box has no events"
    assert_same_events(backend.convert(invalid_case), expected)
