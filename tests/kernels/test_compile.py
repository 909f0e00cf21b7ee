"""The kernels compile to the expected machine code for several GPUs. No GPU is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from benchmarks.roofline.ahead_of_time import (
    TARGETS,
    Launch,
    compile_launch,
    launches,
    machine_code,
    resources,
    unpack_launches,
)
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES

NVIDIA = [name for name in TARGETS if name.startswith("sm_")]
# bool and uint8 events use the same kernel (test_bool_and_uint8_events_use_the_same_kernel).
FORMATS = [dtype for dtype in EVENT_DTYPES if dtype != torch.bool] + ["packed"]
INTERPOLATIONS = ["bilinear", "nearest"]
#: The suffix of the load instruction, by bytes read per thread.
READS = {4: r"(?!\.)", 8: r"\.64", 16: r"\.128"}


def launches_for(target: str, image_dtype: torch.dtype, events: torch.dtype | str, size: int = 224) -> Iterator[Launch]:
    """Yield the launches for a batch that fills the device, and for one image."""
    dtype = events if isinstance(events, torch.dtype) else torch.uint8
    images = torch.zeros(1, 3, size, size, dtype=image_dtype)
    warp_size = TARGETS[target].warp_size
    for batch in (images.expand(128, -1, -1, -1), images):
        yield from launches(batch, dtype, packed=events == "packed", warp_size=warp_size)


def augmented_launches_for(
    target: str, image_dtype: torch.dtype, interpolation: str, channels: int = 3, size: tuple[int, int] = (128, 128)
) -> Iterator[Launch]:
    """Yield the first launch for a batch that fills the device, and for one image.

    The second launch does not depend on the augmentation: other tests compile it.
    """
    images = torch.zeros(1, channels, 32, 32, dtype=image_dtype)
    nearest, warp_size = interpolation == "nearest", TARGETS[target].warp_size
    for batch in (images.expand(128, -1, -1, -1), images):
        yield launches(batch, torch.float32, size=size, nearest=nearest, warp_size=warp_size)[0]


def code_without_spills(launch: Launch, target: str) -> list[str]:
    """Compile a kernel, check that it spills no registers, and return its machine code.

    For an AMD GPU, the result is the assembly.
    """
    kernel = compile_launch(launch, TARGETS[target])
    if target not in NVIDIA:
        assembly = kernel.asm["amdgcn"]
        assert re.findall(r"\.private_segment_fixed_size: (\d+)", assembly) == ["0"]
        assert re.findall(r"\.vgpr_spill_count: *(\d+)", assembly) == ["0"]
        return assembly.splitlines()
    usage = resources(kernel)
    assert usage["STACK"] + usage["LOCAL"] == 0, f"{launch.kernel.__name__} spills registers"
    assert usage["REG"] * 32 * launch.arguments["num_warps"] <= 65536
    return machine_code(kernel)


def code_without_fusion(launch: Launch, target: str) -> list[str]:
    """Compile a kernel, check that it spills no registers and fuses no product and sum, and return its code."""
    code = code_without_spills(launch, target)
    if target not in NVIDIA:
        # Fused operations with a factor of 1 are exact: they convert float16 to float32.
        assert not matching(code, r"^\s+v_(pk_)?(fma|mac|mad|fmac)_(mix_)?f(32|64)(?!.*, -?1\.0, )")
        return code
    assert len(code) > 100
    assert not matching(code, r"\b(LDL|STL)\b"), "local memory is used"
    assert not matching(code, r"\b(FFMA|FFMA2|DFMA)\b"), "a product and a sum are fused, or there is a division"
    return code


def assert_wide_stores(code: list[str], target: str) -> None:
    widest = r"\bSTG\.E\.128\b" if target in NVIDIA else r"^\s+(global|buffer|flat)_store_dwordx4"
    assert matching(code, widest), "events are not written with the widest stores"


def test_bool_and_uint8_events_use_the_same_kernel() -> None:
    for as_bool, as_uint8 in zip(
        launches_for("sm_90", torch.uint8, torch.bool), launches_for("sm_90", torch.uint8, torch.uint8)
    ):
        assert constants_and_dtypes(as_bool.arguments) == constants_and_dtypes(as_uint8.arguments)


def constants_and_dtypes(value: Any) -> Any:
    """Replace the tensors in launch arguments by their dtypes."""
    if isinstance(value, dict):
        return {name: constants_and_dtypes(argument) for name, argument in value.items()}
    if isinstance(value, tuple):
        return tuple(map(constants_and_dtypes, value))
    return value.dtype if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("events", FORMATS, ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("sm_80", "sm_100"))) for name in TARGETS]
)
def test_convert(target: str, image_dtype: torch.dtype, events: torch.dtype | str) -> None:
    for launch in launches_for(target, image_dtype, events):
        code = code_without_fusion(launch, target)
        if events == torch.float32 and "events" in launch.arguments:
            assert_wide_stores(code, target)
            # Planes are written, too, with the dtype of the images.
            narrow = matching(code, r"\bSTG\.E\b(?!\.)")
            assert len(narrow) <= (1 if image_dtype == torch.float32 and "images" in launch.arguments else 0)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_augmented(target: str, image_dtype: torch.dtype, interpolation: str) -> None:
    for launch in augmented_launches_for(target, image_dtype, interpolation):
        code = code_without_fusion(launch, target)
        if "events" in launch.arguments:
            assert_wide_stores(code, target)


@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize("target", TARGETS)
def test_sizes_that_triton_specialises(target: str, size: int) -> None:
    """Triton replaces an argument of value 1 by a constant."""
    images = torch.zeros(1, 1, size, 64, dtype=torch.float16)
    for launch in (*launches_for(target, torch.uint8, "packed", size), *launches(images, torch.float32, timesteps=1)):
        assert compile_launch(launch, TARGETS[target]).asm


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 64)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_augmented_sizes_that_triton_specialises(target: str, size: tuple[int, int]) -> None:
    """Triton replaces arguments that are 1 or None by constants."""
    for launch in augmented_launches_for(target, torch.uint8, "bilinear", 1, size):
        assert compile_launch(launch, TARGETS[target]).asm
        images, augmentation = launch.arguments["images"], launch.arguments["augmentation"]
        arguments = {
            **launch.arguments,
            "images": images._replace(height=1, width=1),
            "augmentation": augmentation._replace(crop_ptr=None, flip_ptr=None),
        }
        assert compile_launch(Launch(launch.kernel, launch.grid, arguments), TARGETS[target]).asm


@pytest.mark.parametrize(
    ("target", "image_dtype"),
    [("sm_90", torch.float32), *((target, torch.uint8) for target in TARGETS)],
    ids=str,
)
def test_kernels_for_many_channels_are_compiled_once(target: str, image_dtype: torch.dtype) -> None:
    """A kernel that grows with the number of channels would take minutes to compile for a few hundred of them."""
    binaries: list[list[bytes]] = []
    for channels in (5, 64, 1000):
        images = torch.zeros(1, channels, 64, 64, dtype=image_dtype)
        binaries.append([])
        for batch in (images.expand(128, -1, -1, -1), images):
            for launch in launches(batch, torch.float32, warp_size=TARGETS[target].warp_size):
                code_without_fusion(launch, target)
                kernel = compile_launch(launch, TARGETS[target])
                binaries[-1].append(kernel.asm["cubin" if target in NVIDIA else "hsaco"])
    assert [len(binary) for binary in binaries[0]] == [len(binary) for binary in binaries[2]]
    assert binaries[1] == binaries[2], "compiled again for another number of channels"


def test_augmented_kernels_for_many_channels_are_compiled_once() -> None:
    binaries = [
        [
            compile_launch(launch, TARGETS["sm_90"]).asm["cubin"]
            for launch in augmented_launches_for("sm_90", torch.uint8, "bilinear", channels)
        ]
        for channels in (5, 64, 1000)
    ]
    assert binaries[1] == binaries[2], "compiled again for another number of channels"
    assert [len(binary) for binary in binaries[0]] == [len(binary) for binary in binaries[2]]


@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_64_bit_offsets(image_dtype: torch.dtype) -> None:
    images = torch.zeros(1, 3, 1, 1, dtype=image_dtype).expand(1, 3, 16384, 16384)
    for launch in launches(images, torch.float32):
        code_without_spills(launch, "sm_90")


def packed_events(layout: str) -> torch.Tensor:
    """Return packed events of a batch: contiguous with an odd width, or with gaps between the rows."""
    if layout == "contiguous":
        return torch.zeros(16, 2, 225, 225, dtype=torch.uint8)
    return torch.zeros(16, 2, 224, 256, dtype=torch.uint8)[..., :224]


@pytest.mark.parametrize("layout", ["contiguous", "gaps"])
@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("target", NVIDIA)
def test_unpacking_on_nvidia(target: str, dtype: torch.dtype, layout: str) -> None:
    (launch,) = unpack_launches(packed_events(layout), dtype)
    kernel = compile_launch(launch, TARGETS[target])
    usage = resources(kernel)
    assert usage["LOCAL"] == usage["STACK"] == usage["SHARED"] == 0
    assert usage["REG"] <= 32, "too many registers for full occupancy"
    code = machine_code(kernel)
    width = 16 // dtype.itemsize
    assert len(matching(code, r"\bLDG\.E")) == 1, "a byte is read more than once"
    assert len(matching(code, rf"\bLDG\.E{READS[width]}\b")) == 1
    stores = matching(code, r"\bSTG\b")
    assert stores
    assert stores == matching(code, r"\bSTG\.E\.128\b"), "events are not written with the widest stores"


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_unpacking_on_amd(dtype: torch.dtype) -> None:
    (launch,) = unpack_launches(packed_events("contiguous"), dtype, warp_size=64)
    stores = matching(code_without_spills(launch, "gfx942"), r"^\s+(global|buffer|flat)_store_")
    assert stores
    assert stores == matching(stores, "_store_dwordx4")


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (3, 2, 1, 17), (2, 2, 37, 41), (1, 2, 2**16, 2**16)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_unpacking_of_other_sizes(target: str, shape: tuple[int, ...]) -> None:
    """Sizes of 1, which Triton replaces by constants, odd sizes, and sizes that need 64-bit offsets."""
    packed = torch.empty(shape, dtype=torch.uint8, device="meta")
    for layout in (packed, packed.transpose(2, 3)):
        for timesteps in (1, 8):
            (launch,) = unpack_launches(layout, torch.float32, timesteps=timesteps)
            assert compile_launch(launch, TARGETS[target]).asm


@triton.jit
def _product_and_difference(a_ptr, b_ptr, c_ptr):
    tl.store(c_ptr, tl.load(a_ptr) * (1 / 255) - tl.load(b_ptr))


def test_fusion_is_detected_if_allowed() -> None:
    """Without enable_fp_fusion=False the compiler fuses operations: the assertions above can fail."""
    number = torch.zeros(1)
    arguments = {"a_ptr": number, "b_ptr": number, "c_ptr": number}
    found = []
    for fusion in (False, True):
        launch = Launch(_product_and_difference, (1, 1, 1), {**arguments, "enable_fp_fusion": fusion})
        code = machine_code(compile_launch(launch, TARGETS["sm_90"]))
        found.append(bool(matching(code, r"\bFFMA\b")))
    assert found == [False, True]


def matching(lines: list[str], pattern: str) -> list[str]:
    """Return the lines that match a pattern."""
    return [line for line in lines if re.search(pattern, line)]
