"""The kernels of the backward pass equal the reference, interpreted and compiled, up to rounding."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
import triton.language as tl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, resources
from i2e_triton import Surrogate, canonical_shifts, convert, random_shifts, reference
from i2e_triton.kernels import launch_backward
from i2e_triton.kernels.plan import Launch, Layout
from i2e_triton.surrogate import DEFAULT_ALPHAS
from tests.augmented_cases import AugmentedCase
from tests.cases import Case
from tests.gradient_cases import GradientCase, gradient_case, gradient_cases
from tests.kernels import compiled
from tests.kernels.test_compile import NVIDIA
from tests.samples import noise

#: Multiprocessors of the device: with ONE, a few programs share an image; with MANY, more.
ONE, MANY = 1, 132
ATAN = Surrogate("atan")
SOME_SLOW = [pytest.param(target, marks=[] if target == "sm_90" else pytest.mark.slow) for target in NVIDIA]
PHASES = tuple(phase for phase in Phase if phase != Phase.shrink)


def arguments(case: GradientCase) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of ``launch_backward.gradients_into`` after the results."""
    conversion = case.case
    ratio = conversion.ratio
    ratios, number = (ratio, 0.0) if isinstance(ratio, Tensor) else (None, ratio)
    surrogate = (case.surrogate.name, float(case.surrogate.alpha or 0))
    options: dict[str, Any] = {"crop": None, "flip": None, "nearest": False}
    if isinstance(conversion, AugmentedCase):
        options = {"crop": conversion.crop, "flip": conversion.flip, "nearest": case.nearest}
    return (case.gradient, conversion.images, conversion.shifts, ratios, number, *surrogate), options


def interpreted(
    interpreter: ProcessPoolExecutor, case: GradientCase, multiprocessors: int = ONE, offset_dtype: str = "int32"
) -> tuple[Tensor | None, Tensor]:
    # Only to send the function's name: it runs in the other process.
    from tests.kernels.interpreted import gradients

    positional, options = arguments(case)
    need_images = case.case.images.is_floating_point()
    return interpreter.submit(gradients, positional, need_images, multiprocessors, offset_dtype, **options).result()


@settings(max_examples=12, phases=PHASES)
@given(case=gradient_cases(side=12), multiprocessors=st.sampled_from([ONE, MANY]), wide=st.booleans())
def test_interpreted(interpreter: ProcessPoolExecutor, case: GradientCase, multiprocessors: int, wide: bool) -> None:
    case.check(*interpreted(interpreter, case, multiprocessors, "int64" if wide else "int32"))


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_interpreted_surrogates(
    interpreter: ProcessPoolExecutor, name: str, dtype: torch.dtype, generator: torch.Generator
) -> None:
    images = noise((2, 3, 17, 19), dtype, generator)
    case = gradient_case(Case(images, canonical_shifts(), torch.tensor([0.1, 0.3])), Surrogate(name), generator)
    case.check(*interpreted(interpreter, case))


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8], ids=str)
def test_compiled(name: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    if (name, dtype) == ("sigmoid", torch.float64):
        pytest.skip("the PTX machine does not execute libdevice's exp; the interpreted test covers this")
    images = noise((2, 3, 9, 11), dtype, generator)
    case = gradient_case(
        Case(images, random_shifts(2, generator), torch.tensor([0.1, 0.3])), Surrogate(name), generator
    )
    positional, options = arguments(case)
    case.check(*compiled.gradients(positional, dtype != torch.uint8, MANY, "sm_90", **options))


@pytest.mark.parametrize("target", SOME_SLOW)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_compiled_augmented(interpolation: str, target: str, generator: torch.Generator) -> None:
    crop, flip = torch.tensor([[-2, 1, 5, 6], [3, -2, 9, 4]]), torch.tensor([True, False])
    images = noise((2, 2, 6, 7), torch.float32, generator)
    augmented = AugmentedCase(images, canonical_shifts(timesteps=3), crop, (9, 5), flip, interpolation)
    case = gradient_case(augmented, Surrogate("atan"), generator)
    positional, options = arguments(case)
    case.check(*compiled.gradients(positional, True, ONE, target, **options))


def test_compiled_long_vectors(generator: torch.Generator) -> None:
    shifts = torch.tensor([[0, 0, -3, 2], [100, -100, 1, 0], [5, 5, 5, 5]])
    case = gradient_case(
        Case(noise((1, 2, 6, 7), torch.float32, generator), shifts, 0.12), Surrogate("rect"), generator
    )
    positional, options = arguments(case)
    case.check(*compiled.gradients(positional, True, ONE, "sm_90", **options))


def test_results_do_not_change(generator: torch.Generator) -> None:
    """The order of the programs and warps, which is random in these tests, does not change a bit."""
    case = gradient_case(
        Case(noise((1, 1, 19, 21), torch.float32, generator), canonical_shifts(), 0.12), ATAN, generator
    )
    positional, options = arguments(case)
    first, second = (compiled.gradients(positional, True, MANY, "sm_90", **options) for _ in range(2))
    assert all(map(torch.equal, first, second))  # type: ignore[arg-type]


@pytest.mark.usefixtures("cuda_implementations")
def test_public_function(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 8, 9, generator=generator, requires_grad=True)
    ratios = torch.tensor([0.1], requires_grad=True)
    with compiled.gpu() as launched:
        convert(images, ratios, surrogate=ATAN).square().sum().backward()
    assert launched == ["convert_kernel", "measure_kernel", "sum_kernel", "gather_kernel"]
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
        kernel = compile_launch(launch, TARGETS[target])
        if target in NVIDIA:
            usage = resources(kernel)
            # On sm_80, ptxas spills up to 16 bytes of some transpose kernels, to fit more programs on a multiprocessor.
            allowed = 16 if (launch.kernel.__name__, target) == ("transpose_kernel", "sm_80") else 0
            assert usage["LOCAL"] == 0
            assert usage["STACK"] <= allowed, f"{launch.kernel.__name__} spills"
        else:
            assembly = kernel.asm["amdgcn"]
            assert re.findall(r"\.private_segment_fixed_size: (\d+)", assembly) == ["0"]
            assert re.findall(r"\.vgpr_spill_count: *(\d+)", assembly) == ["0"]


def test_64_bit_offsets() -> None:
    small = backward_launches(torch.float32, "atan", None, "sm_90")
    large = backward_launches(torch.float32, "atan", None, "sm_90", size=65536)
    offsets = [{launch.arguments["OFFSET_DTYPE"] for launch in each} for each in (small, large)]
    assert offsets == [{tl.int32}, {tl.int64}]
    for launch in large[1:]:
        assert resources(compile_launch(launch, TARGETS["sm_90"]))["STACK"] == 0
