"""The kernels compile for GPUs that are not here, into the machine code that they should become."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

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
# bool events are written as uint8: the same kernel, as test_bool_is_uint8 shows.
FORMATS = [dtype for dtype in EVENT_DTYPES if dtype != torch.bool] + ["packed"]


def launches_for(target: str, image_dtype: torch.dtype, events: torch.dtype | str, size: int = 224) -> Iterator[Launch]:
    """What is launched for a batch that fills a device, and for one image."""
    dtype = events if isinstance(events, torch.dtype) else torch.uint8
    images = torch.zeros(1, 3, size, size, dtype=image_dtype)
    warp_size = TARGETS[target].warp_size
    for batch in (images.expand(128, -1, -1, -1), images):
        yield from launches(batch, dtype, packed=events == "packed", warp_size=warp_size)


def test_bool_is_uint8() -> None:
    for as_bool, as_uint8 in zip(
        launches_for("sm_90", torch.uint8, torch.bool), launches_for("sm_90", torch.uint8, torch.uint8)
    ):
        if "out" in as_bool.arguments:
            assert as_bool.arguments.pop("out").dtype == as_uint8.arguments.pop("out").dtype
        tensors = {name for name, value in as_bool.arguments.items() if isinstance(value, torch.Tensor)}
        assert {k: v for k, v in as_bool.arguments.items() if k not in tensors} == {
            k: v for k, v in as_uint8.arguments.items() if k not in tensors
        }


@pytest.mark.parametrize("events", FORMATS, ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("target", NVIDIA)
def test_nvidia(target: str, image_dtype: torch.dtype, events: torch.dtype | str, tmp_path: Path) -> None:
    for launch in launches_for(target, image_dtype, events):
        kernel = compile_launch(launch, TARGETS[target])
        usage = resources(kernel, tmp_path)
        assert usage["LOCAL"] == 0
        assert usage["STACK"] == 0, "registers are spilled"
        assert usage["REG"] * 32 * launch.arguments["num_warps"] <= 65536
        code = machine_code(kernel, tmp_path)
        assert len(code) > 100
        assert not matching(code, r"\b(LDL|STL)\b"), "local memory"
        assert not matching(code, r"\b(FFMA|FFMA2|DFMA)\b"), "a product and a difference in one rounding"
        if events == torch.float32 and "out" in launch.arguments:
            # Besides the stores of events there are those of planes, in the images' type.
            assert matching(code, r"\bSTG\.E\.128\b"), "the widest stores of events"
            narrow = matching(code, r"\bSTG\.E\b(?!\.)")
            assert len(narrow) <= (1 if image_dtype == torch.float32 and "images" in launch.arguments else 0)


@pytest.mark.parametrize("events", FORMATS, ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_amd(image_dtype: torch.dtype, events: torch.dtype | str) -> None:
    for launch in launches_for("gfx942", image_dtype, events):
        assembly = compile_launch(launch, TARGETS["gfx942"]).asm["amdgcn"]
        assert re.findall(r"\.private_segment_fixed_size: (\d+)", assembly) == ["0"]
        assert re.findall(r"\.vgpr_spill_count: *(\d+)", assembly) == ["0"]
        lines = assembly.splitlines()
        # A product with 1 is exact, and how a half becomes a float.
        products = matching(lines, r"^\s+v_(pk_)?(fma|mac|mad|fmac)_(mix_)?f(32|64)(?!.*, -?1\.0, )")
        assert not products, "a product and a difference in one rounding"
        if events == torch.float32 and "out" in launch.arguments:
            assert matching(lines, r"^\s+(global|buffer|flat)_store_dwordx4")


@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize("target", TARGETS)
def test_sizes_that_the_launcher_treats_as_constants(target: str, size: int) -> None:
    """Triton makes an argument that is 1 a constant of the program."""
    images = torch.zeros(1, 1, size, 64, dtype=torch.float16)
    for launch in (*launches_for(target, torch.uint8, "packed", size), *launches(images, torch.float32, timesteps=1)):
        assert compile_launch(launch, TARGETS[target]).asm


@pytest.mark.parametrize(
    ("target", "image_dtype"),
    [("sm_90", torch.float32), *((target, torch.uint8) for target in TARGETS)],
    ids=str,
)
def test_many_channels_make_no_longer_program(target: str, image_dtype: torch.dtype, tmp_path: Path) -> None:
    """A program that grows with the channels takes minutes to compile for a few hundred of them."""
    programs: list[list[bytes]] = []
    for channels in (5, 64, 1000):
        images = torch.zeros(1, channels, 64, 64, dtype=image_dtype)
        programs.append([])
        for batch in (images.expand(128, -1, -1, -1), images):
            for launch in launches(batch, torch.float32, warp_size=TARGETS[target].warp_size):
                kernel = compile_launch(launch, TARGETS[target])
                if target in NVIDIA:
                    usage = resources(kernel, tmp_path)
                    assert usage["LOCAL"] == usage["STACK"] == 0
                    assert not matching(machine_code(kernel, tmp_path), r"\b(FFMA|FFMA2|DFMA)\b")
                programs[-1].append(kernel.asm["cubin" if target in NVIDIA else "hsaco"])
    assert [len(program) for program in programs[0]] == [len(program) for program in programs[2]]
    assert programs[1] == programs[2], "compiled anew for another number of channels"


@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_64_bit_offsets(image_dtype: torch.dtype, tmp_path: Path) -> None:
    images = torch.zeros(1, 3, 1, 1, dtype=image_dtype).expand(1, 3, 16384, 16384)
    for launch in launches(images, torch.float32):
        usage = resources(compile_launch(launch, TARGETS["sm_90"]), tmp_path)
        assert usage["STACK"] == usage["LOCAL"] == 0


def packed_events(layout: str) -> torch.Tensor:
    """Packed events of a batch, all together in memory with rows of odd length, or each row apart from the next."""
    if layout == "contiguous":
        return torch.zeros(16, 2, 225, 225, dtype=torch.uint8)
    return torch.zeros(16, 2, 224, 256, dtype=torch.uint8)[..., :224]


@pytest.mark.parametrize("layout", ["contiguous", "rows apart"])
@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("target", NVIDIA)
def test_unpacking_on_nvidia(target: str, dtype: torch.dtype, layout: str, tmp_path: Path) -> None:
    (launch,) = unpack_launches(packed_events(layout), dtype)
    kernel = compile_launch(launch, TARGETS[target])
    usage = resources(kernel, tmp_path)
    assert usage["LOCAL"] == usage["STACK"] == usage["SHARED"] == 0
    assert usage["REG"] <= 32, "fewer warps than a multiprocessor holds"
    code = machine_code(kernel, tmp_path)
    width = 16 // dtype.itemsize
    assert len(matching(code, r"\bLDG\.E")) == 1, "every byte is read once"
    assert len(matching(code, rf"\bLDG\.E{READS[width]}\b")) == 1
    stores = matching(code, r"\bSTG\b")
    assert stores
    assert stores == matching(code, r"\bSTG\.E\.128\b"), "the widest stores"


READS = {4: r"(?!\.)", 8: r"\.64", 16: r"\.128"}


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_unpacking_on_amd(dtype: torch.dtype) -> None:
    (launch,) = unpack_launches(packed_events("contiguous"), dtype, warp_size=64)
    assembly = compile_launch(launch, TARGETS["gfx942"]).asm["amdgcn"]
    assert re.findall(r"\.private_segment_fixed_size: (\d+)", assembly) == ["0"]
    assert re.findall(r"\.vgpr_spill_count: *(\d+)", assembly) == ["0"]
    stores = matching(assembly.splitlines(), r"^\s+(global|buffer|flat)_store_")
    assert stores
    assert stores == matching(stores, "_store_dwordx4")


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (3, 2, 1, 17), (2, 2, 37, 41), (1, 2, 2**16, 2**16)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_unpacking_of_other_sizes(target: str, shape: tuple[int, ...]) -> None:
    """Sizes that Triton makes constants of the program, odd ones, and offsets of 64 bits."""
    packed = torch.empty(shape, dtype=torch.uint8, device="meta")
    for layout in (packed, packed.transpose(2, 3)):
        for timesteps in (1, 8):
            (launch,) = unpack_launches(layout, torch.float32, timesteps=timesteps)
            assert compile_launch(launch, TARGETS[target]).asm


@triton.jit
def _product_and_difference(a, b, c):
    tl.store(c, tl.load(a) * (1 / 255) - tl.load(b))


def test_contraction_would_be_seen(tmp_path: Path) -> None:
    """Without the promise the compiler does contract, so that its absence above means something."""
    number = torch.zeros(1)
    arguments = {"a": number, "b": number, "c": number}
    found = []
    for promise in (True, False):
        launch = Launch(_product_and_difference, (1,), {**arguments, "enable_fp_fusion": not promise})
        code = machine_code(compile_launch(launch, TARGETS["sm_90"]), tmp_path)
        found.append(bool(matching(code, r"\bFFMA\b")))
    assert found == [False, True]


def matching(lines: list[str], pattern: str) -> list[str]:
    """Lines that hold a pattern."""
    return [line for line in lines if re.search(pattern, line)]
