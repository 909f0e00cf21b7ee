"""Gradients on a GPU equal those of the reference, do not change between runs, and work in a CUDA graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2e_triton import Surrogate, canonical_shifts, convert, random_shifts
from i2e_triton.surrogate import DEFAULT_ALPHAS
from tests.augmented_cases import AugmentedCase
from tests.cases import Case
from tests.gradient_cases import GradientCase, gradient_case
from tests.samples import noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ATAN = Surrogate("atan", 20)


def gradients(case: GradientCase) -> tuple[Tensor, Tensor]:
    """Return the gradients of a case for the images and for the ratios, computed on the GPU."""
    given = case.case
    crop, flip = (given.crop, given.flip) if isinstance(given, AugmentedCase) else (None, None)
    on_gpu = [None if tensor is None else tensor.cuda() for tensor in (given.shifts, case.ratios(), crop, flip)]
    shifts, ratios, crop, flip = on_gpu
    options = (crop, flip, case.nearest, case.surrogate.name, case.surrogate.alpha, True)
    images, gradient = given.images.cuda(), case.gradient.cuda()
    result = torch.ops.i2e_triton.convert_backward(gradient, images, shifts, ratios, 0.0, *options)
    return result[0].cpu(), result[1].cpu()


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_equals_reference(name: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    for batch, size in ((3, 64), (1, 224)):
        conversion = Case(noise((batch, 3, size, size), dtype, generator), random_shifts(batch, generator), 0.12)
        case = gradient_case(conversion, Surrogate(name), generator)
        case.check(*gradients(case))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_augmented_equals_reference(interpolation: str, generator: torch.Generator) -> None:
    crop, flip = torch.tensor([[-3, 5, 20, 60], [2, 9, 50, 20]]), torch.tensor([True, False])
    images = noise((2, 3, 33, 37), torch.float32, generator)
    conversion = AugmentedCase(images, canonical_shifts(), crop, (64, 48), flip, interpolation)
    case = gradient_case(conversion, ATAN, generator)
    case.check(*gradients(case))


def test_results_do_not_change(generator: torch.Generator) -> None:
    conversion = Case(noise((2, 3, 224, 224), torch.float32, generator), canonical_shifts(), 0.12)
    case = gradient_case(conversion, ATAN, generator)
    first = gradients(case)
    for _ in range(5):
        assert all(map(torch.equal, gradients(case), first))


def test_cuda_graph(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 32, 32, generator=generator).cuda().requires_grad_()
    weight = torch.rand(8, 4, 2, 32, 32, generator=generator).cuda()

    def step() -> Tensor:
        return torch.autograd.grad((convert(images, surrogate=ATAN) * weight).sum(), images)[0]

    step()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    images.data.copy_(torch.rand(4, 3, 32, 32, generator=generator))
    graph.replay()
    assert torch.equal(captured, step())
