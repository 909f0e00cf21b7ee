"""The kernels of the backward pass equal the reference up to rounding, on each backend, and compile without spills."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch
from i2e_triton import Surrogate, canonical_shifts, convert, random_shifts, reference
from i2e_triton.kernels import launch_backward
from i2e_triton.kernels.plan import Launch, Layout
from i2e_triton.surrogate import DEFAULT_ALPHAS
from tests.augmented_cases import AugmentedCase, boxes, flips
from tests.cases import Case
from tests.gradient_cases import GradientCase, gradient_case, gradient_cases
from tests.kernels import compiled
from tests.kernels.conftest import GPU, MANY, ONE, Backend
from tests.kernels.test_compile import NVIDIA, code_without_spills
from tests.kernels.test_convert import PHASES, interpreted_or_gpu
from tests.samples import noise

ATAN = Surrogate("atan")
SOME_SLOW = [pytest.param(target, marks=[] if target == "sm_90" else pytest.mark.slow) for target in NVIDIA]


@interpreted_or_gpu
def test_equals_reference(backend: Backend) -> None:
    @settings(max_examples=12, phases=PHASES)
    @given(
        case=gradient_cases(side=12),
        multiprocessors=st.sampled_from([ONE, MANY]),
        offset_dtype=st.sampled_from(["int32", "int64"]),
    )
    def check(case: GradientCase, multiprocessors: int, offset_dtype: str) -> None:
        case.check(*backend.gradients(case, multiprocessors, offset_dtype=offset_dtype))

    check()


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8], ids=str)
def test_every_surrogate(backend: Backend, name: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    if (backend.name, name, dtype) == ("compiled", "sigmoid", torch.float64):
        pytest.skip("the PTX machine does not execute libdevice's exp; the interpreted test covers this")
    images, ratios = noise((2, 3, 9, 11), dtype, generator), torch.tensor([0.1, 0.3])
    case = gradient_case(Case(images, random_shifts(2, generator), ratios), Surrogate(name), generator)
    case.check(*backend.gradients(case, ONE if backend.name == "interpreted" else MANY))


@pytest.mark.parametrize("target", SOME_SLOW)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("backend", ["compiled"], indirect=True)
def test_augmented(backend: Backend, interpolation: str, target: str, generator: torch.Generator) -> None:
    crop, flip = torch.tensor([[-2, 1, 5, 6], [3, -2, 9, 4]]), torch.tensor([True, False])
    images = noise((2, 2, 6, 7), torch.float32, generator)
    augmented = AugmentedCase(images, canonical_shifts(timesteps=3), crop, (9, 5), flip, interpolation)
    case = gradient_case(augmented, ATAN, generator)
    case.check(*backend.gradients(case, target=target))


@interpreted_or_gpu
@pytest.mark.parametrize("interpolation", [None, "nearest", pytest.param("bilinear", marks=pytest.mark.slow)])
def test_several_tiles_and_programs(backend: Backend, interpolation: str | None, generator: torch.Generator) -> None:
    """Two programs share an image of at least three tiles."""
    height, width, tile = 30, 41, 32 * launch_backward._WARPS * launch_backward._PIXELS
    assert height * width > 2 * tile
    images = noise((4, 1, height, width), torch.float32, generator)
    shifts = random_shifts(4, generator, timesteps=3)
    conversion: Case | AugmentedCase = Case(images, shifts, 0.12)
    if interpolation is not None:
        crop, flip = boxes(4, generator), flips(4, generator)
        conversion = AugmentedCase(images, shifts, crop, (width, height), flip, interpolation)
    case = gradient_case(conversion, ATAN, generator)
    case.check(*backend.gradients(case, ONE))


def test_long_vectors(backend: Backend, generator: torch.Generator) -> None:
    shifts = torch.tensor([[0, 0, -3, 2], [100, -100, 1, 0], [5, 5, 5, 5]])
    conversion = Case(noise((1, 2, 6, 7), torch.float32, generator), shifts, 0.12)
    case = gradient_case(conversion, Surrogate("rect"), generator)
    case.check(*backend.gradients(case))


@pytest.mark.parametrize("backend", ["compiled", GPU], indirect=True)
def test_results_do_not_change(backend: Backend, generator: torch.Generator) -> None:
    """The order of the programs and warps, which is random in compiled code, does not change a bit."""
    size = (23, 27) if backend.name == "compiled" else (224, 224)
    conversion = Case(noise((1, 1, *size), torch.float32, generator), canonical_shifts(), 0.12)
    case = gradient_case(conversion, ATAN, generator)
    first, second = (backend.gradients(case, MANY) for _ in range(2))
    assert all(map(torch.equal, first, second))  # type: ignore[arg-type]
    case.check(*first)


@pytest.mark.usefixtures("cuda_implementations")
def test_public_function(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 8, 9, generator=generator, requires_grad=True)
    ratios = torch.tensor([0.1], requires_grad=True)
    with compiled.gpu() as launched:
        convert(images, ratios, surrogate=ATAN).square().sum().backward()
    assert launched == ["convert_kernel", "measure_kernel", "gather_kernel", "write_kernel"]
    wanted = [tensor.detach().clone().requires_grad_() for tensor in (images, ratios)]
    reference.convert(wanted[0], wanted[1], canonical_shifts(), surrogate=ATAN).square().sum().backward()
    for tensor, expected in zip((images, ratios), wanted):
        torch.testing.assert_close(tensor.grad, expected.grad)


def backward_launches(
    image_dtype: torch.dtype, name: str, interpolation: str | None, target: str, size: int = 224
) -> list[Launch]:
    """Return the launches for a batch of images of a size and their augmented versions of 128x128."""
    images = torch.empty(32, 3, size, size, dtype=image_dtype, device="meta")
    event_size = (size, size) if interpolation is None else (128, 128)
    dtype = torch.float64 if image_dtype == torch.float64 else torch.float32
    tensors = {
        "ratio_gradient": torch.empty(32, dtype=dtype, device="meta"),
        "gradient": torch.empty(8, 32, 2, *event_size, device="meta"),
        "images": images,
        "shifts": torch.empty(8, 4, dtype=torch.int32, device="meta"),
        "ratios": torch.empty(32, dtype=dtype, device="meta"),
    }
    if image_dtype != torch.uint8:
        tensors["image_gradient"] = images
    if interpolation is not None:
        tensors["crop"] = torch.empty(32, 4, dtype=torch.int32, device="meta")
        tensors["flip"] = torch.empty(32, dtype=torch.bool, device="meta")
    layouts = {key: Layout.of(tensor) for key, tensor in tensors.items()}
    return launch_backward.backward(layouts, name, 2.0, interpolation == "nearest", 132, TARGETS[target].warp_size)[0]


#: Every surrogate, every dtype and every interpolation, once.
COMPILED = [
    *((torch.float32, name, None) for name in DEFAULT_ALPHAS),
    *((dtype, "atan", None) for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.uint8)),
    *((torch.float32, "atan", interpolation) for interpolation in ("nearest", "bilinear")),
    (torch.float64, "sigmoid", "bilinear"),
]


@pytest.mark.parametrize(("image_dtype", "name", "interpolation"), COMPILED, ids=str)
@pytest.mark.parametrize("target", [*SOME_SLOW, "gfx942"])
def test_no_spill(target: str, image_dtype: torch.dtype, name: str, interpolation: str | None) -> None:
    for launch in backward_launches(image_dtype, name, interpolation, target)[1:]:
        if triton.__version__.startswith("3.6."):  # its ptxas spills up to 112 bytes in some of these kernels
            compile_launch(launch, TARGETS[target])
        else:
            code_without_spills(launch, target)


def test_64_bit_offsets() -> None:
    small = backward_launches(torch.float32, "atan", None, "sm_90")
    large = backward_launches(torch.float32, "atan", None, "sm_90", size=65536)
    offsets = [{launch.arguments["OFFSET_DTYPE"] for launch in each} for each in (small, large)]
    assert offsets == [{tl.int32}, {tl.int64}]
    for launch in large[1:]:
        code_without_spills(launch, "sm_90")
