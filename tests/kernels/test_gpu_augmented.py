"""Augmented conversions on a GPU equal the reference on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import convert, random_shifts
from i2e_triton.augmentation import RandomCropResizeFlip, RandomResizedCropFlip
from tests.augmented_cases import AugmentedCase, augmented_cases, boxes, flips
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, poisoned
from tests.samples import assert_same_events, noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def to_gpu(argument: Any) -> Any:
    return argument.cuda() if isinstance(argument, Tensor) else argument


def convert_on_gpu(case: AugmentedCase, dtype: torch.dtype = torch.bool, *, packed: bool = False) -> Tensor:
    """Convert a case on the GPU into a poisoned output."""
    out = poisoned(case.expected(dtype, packed=packed).to("cuda"))
    augmentation = {name: to_gpu(value) for name, value in case.augmentation.items()}
    images, ratio, shifts = to_gpu(case.images), to_gpu(case.ratio), to_gpu(case.shifts)
    return convert(images, ratio, shifts=shifts, dtype=dtype, packed=packed, out=out, **augmentation)


@settings(max_examples=300, deadline=None)
@given(
    case=augmented_cases(side=70) | augmented_cases(side=12, batch=200),
    dtype=st.sampled_from(EVENT_DTYPES),
    packed=st.booleans(),
)
def test_equals_reference(case: AugmentedCase, dtype: torch.dtype, packed: bool) -> None:
    dtype = torch.uint8 if packed else dtype
    assert_same_events(convert_on_gpu(case, dtype, packed=packed), case.expected(dtype, packed=packed))


@pytest.mark.parametrize("batch", [1, 128])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_cifar_augmented_as_in_training(
    image_dtype: torch.dtype, interpolation: str, batch: int, generator: torch.Generator
) -> None:
    images = noise((batch, 3, 32, 32), image_dtype, generator)
    crop = torch.cat([torch.randint(-4, 5, (batch, 2), generator=generator), torch.full((batch, 2), 32)], dim=1)
    shifts = random_shifts(batch, generator)
    case = AugmentedCase(images, shifts, crop, (128, 128), flips(batch, generator), interpolation)
    for dtype, packed in ((torch.float32, False), (torch.bfloat16, False), (torch.uint8, True)):
        assert_same_events(convert_on_gpu(case, dtype, packed=packed), case.expected(dtype, packed=packed))


def test_large_images_reduced_to_small_ones(generator: torch.Generator) -> None:
    images = noise((3, 3, 500, 375), torch.uint8, generator)
    crop = boxes(3, generator, reach=200, longest=400)
    case = AugmentedCase(images, random_shifts(3, generator), crop, (224, 224), flips(3, generator))
    assert_same_events(convert_on_gpu(case), case.expected())


def test_convert_does_not_synchronize() -> None:
    images = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8, device="cuda")
    rows = torch.arange(128, device="cuda")
    on_gpu = torch.Generator("cuda")
    for augment in (RandomCropResizeFlip(128), RandomResizedCropFlip(128)):
        convert(images, 0.07, **augment(images))  # compiles, and copies tables to the GPU
        torch.cuda.set_sync_debug_mode("error")
        try:
            for augmentation in (augment(images), augment(images, on_gpu), augment.for_rows(images, rows, 1, 2)):
                convert(images, 0.07, **augmentation)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_cpu_and_gpu_draw_the_same_augmentation() -> None:
    images = torch.zeros(5000, 1, 32, 48, dtype=torch.uint8)
    for augment in (RandomCropResizeFlip(128), RandomResizedCropFlip(128)):
        on_cpu = augment(images, torch.Generator().manual_seed(5))
        on_gpu = augment(images.cuda(), torch.Generator().manual_seed(5))
        rows_on_cpu = augment.for_rows(images, torch.arange(5000), 7, 3)
        rows_on_gpu = augment.for_rows(images.cuda(), torch.arange(5000), 7, 3)
        for name in ("crop", "flip"):
            assert torch.equal(on_gpu[name].cpu(), on_cpu[name])
            assert torch.equal(rows_on_gpu[name].cpu(), rows_on_cpu[name])


def test_cuda_graph(generator: torch.Generator) -> None:
    images, crop, flip = noise((128, 3, 32, 32), torch.uint8, generator), boxes(128, generator), flips(128, generator)
    inputs = images.cuda(), crop.cuda(), flip.cuda()
    convert(inputs[0], 0.1, crop=inputs[1], flip=inputs[2], size=(64, 64), packed=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        events = convert(inputs[0], 0.1, crop=inputs[1], flip=inputs[2], size=(64, 64), packed=True)
    for _ in range(2):
        images, crop, flip = images.flip(0), boxes(128, generator), flips(128, generator)
        for on_gpu, fresh in zip(inputs, (images, crop, flip)):
            on_gpu.copy_(fresh)
        graph.replay()
        assert_same_events(events, convert(images, 0.1, crop=crop, flip=flip, size=(64, 64), packed=True))


def test_operator(generator: torch.Generator) -> None:
    images, crop, flip = noise((2, 3, 9, 8), torch.uint8, generator), boxes(2, generator), flips(2, generator)
    given = (images.cuda(), None, None, 0.1, 8, torch.float32, False, crop.cuda(), flip.cuda(), (12, 11), False)
    torch.library.opcheck(torch.ops.i2e_triton.convert.default, given)
