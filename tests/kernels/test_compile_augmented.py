"""The kernels of augmented conversions compile for GPUs that are not here, into the machine code that they should."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import triton

from benchmarks.roofline.ahead_of_time import (
    TARGETS,
    Launch,
    augmented_launches,
    compile_launch,
    machine_code,
    resources,
)
from tests.cases import IMAGE_DTYPES
from tests.kernels.test_compile import NVIDIA, matching

SPILLED_BY_TRITON_3_6 = ("sm_90", torch.float64, "nearest")


def launches_for(
    target: str, image_dtype: torch.dtype, interpolation: str, channels: int = 3, size: tuple[int, int] = (128, 128)
) -> Iterator[Launch]:
    """What is launched for a batch that fills a device, and for one image; the second phase is tested elsewhere."""
    images = torch.zeros(1, channels, 32, 32, dtype=image_dtype)
    for batch in (images.expand(128, -1, -1, -1), images):
        nearest, warp_size = interpolation == "nearest", TARGETS[target].warp_size
        yield augmented_launches(batch, size, torch.float32, nearest=nearest, warp_size=warp_size)[0]


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("target", NVIDIA)
def test_nvidia(
    target: str, image_dtype: torch.dtype, interpolation: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if triton.__version__.startswith("3.6.") and (target, image_dtype, interpolation) == SPILLED_BY_TRITON_3_6:
        reason = "ptxas keeps 16 bytes of a thread in memory, to fit three programs on a multiprocessor"
        request.applymarker(pytest.mark.xfail(reason=reason, raises=AssertionError, strict=True))
    for launch in launches_for(target, image_dtype, interpolation):
        kernel = compile_launch(launch, TARGETS[target])
        usage = resources(kernel, tmp_path)
        assert usage["LOCAL"] == 0
        assert usage["STACK"] == 0, "registers are spilled"
        assert usage["REG"] * 32 * launch.arguments["num_warps"] <= 65536
        code = machine_code(kernel, tmp_path)
        assert len(code) > 100
        assert not matching(code, r"\b(LDL|STL)\b"), "local memory"
        assert not matching(code, r"\b(FFMA|FFMA2|DFMA)\b"), "a product and a sum in one rounding, or a division"
        if "out" in launch.arguments:
            assert matching(code, r"\bSTG\.E\.128\b"), "the widest stores of events"


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_amd(image_dtype: torch.dtype, interpolation: str) -> None:
    for launch in launches_for("gfx942", image_dtype, interpolation):
        assembly = compile_launch(launch, TARGETS["gfx942"]).asm["amdgcn"]
        assert re.findall(r"\.private_segment_fixed_size: (\d+)", assembly) == ["0"]
        assert re.findall(r"\.vgpr_spill_count: *(\d+)", assembly) == ["0"]
        products = r"^\s+v_(pk_)?(fma|mac|mad|fmac)_(mix_)?f(32|64)(?!.*, -?1\.0, )"
        assert not matching(assembly.splitlines(), products), "a product and a sum in one rounding"


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 64)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_sizes_that_the_launcher_treats_as_constants(target: str, size: tuple[int, int]) -> None:
    """Triton makes an argument that is 1 a constant of the program, as it does what is None."""
    for launch in launches_for(target, torch.uint8, "bilinear", 1, size):
        for absent in ({}, {"crop": None, "flip": None, "image_height": 1, "image_width": 1}):
            changed = Launch(launch.kernel, launch.grid, {**launch.arguments, **absent})
            assert compile_launch(changed, TARGETS[target]).asm


def test_many_channels_make_no_longer_program() -> None:
    programs = [
        [
            compile_launch(one, TARGETS["sm_90"]).asm["cubin"]
            for one in launches_for("sm_90", torch.uint8, "bilinear", n)
        ]
        for n in (5, 64, 1000)
    ]
    assert programs[1] == programs[2], "compiled anew for another number of channels"
    assert [len(program) for program in programs[0]] == [len(program) for program in programs[2]]


@pytest.mark.parametrize("batch", [1, 128])
def test_every_launch_forbids_contraction(batch: int) -> None:
    recorded = augmented_launches(torch.zeros(batch, 3, 32, 32), (128, 128), torch.bool)
    assert [launch.kernel.__name__ for launch in recorded] == (
        ["augment_kernel", "emit_kernel"] if batch == 1 else ["convert_augmented_kernel"]
    )
    assert all(launch.arguments["enable_fp_fusion"] is False for launch in recorded)
    assert recorded[0].arguments["height"] == 128
    assert recorded[0].arguments["image_height"] == 32


def test_nothing_is_launched_for_an_empty_batch() -> None:
    assert augmented_launches(torch.zeros(0, 3, 8, 8), (16, 16), torch.bool) == []
