"""Tests of the loops that are found in machine code."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches
from benchmarks.roofline.loops import loops, parse_loops
from i2e_triton import canonical_shifts
from i2e_triton.kernels.convert import measure_kernel

SOURCE = """import triton


def helper(x):
    return x + 1


def inner(x):
    for i in range(3):
        x = helper(x)
    return x


def kernel(x):
    return inner(x)
"""


def listing(folder: Path, code: str) -> str:
    """Return a listing in the format of nvdisasm. ``@5<10`` means line 5 of the source file, inlined at line 10."""
    file = folder / "kernel.py"
    file.write_text(SOURCE)
    lines = []
    for number, line in enumerate(code.strip().splitlines()):
        position, _, text = line.strip().partition(" ")
        if re.match(r"@\d", position):
            inlined = position[1:].split("<")
            for at, caller in pairwise(inlined):
                lines.append(f'\t//## File "{file}", line {at} inlined at "{file}", line {caller}')
            lines.append(f'\t//## File "{file}", line {inlined[-1]}')
        elif position.startswith("."):
            lines.append(position)
            continue
        else:
            text = line.strip()
        lines.append(f"        /*{16 * number:04x}*/                   {text} ;")
    return "\n".join(lines)


def test_nested_loops_are_found_and_the_final_branch_is_not_a_loop(tmp_path: Path) -> None:
    code = """
        @15 MOV R1, R2
        .L_x_0:
        @10<15 LDG.E.128 R4, desc[UR4][R2.64]
        .L_x_1:
        @5<10<15 LDG.E.U8 R5, desc[UR4][R2.64]
        @P0 BRA `(.L_x_2)
        STG.E.64 desc[UR4][R2.64], R4
        .L_x_2:
        @9<15 @P1 BRA `(.L_x_1)
        @15 STG.E desc[UR4][R2.64], R4
        @9<15 @!P0 BRA `(.L_x_0)
        @15 EXIT
        .L_x_3:
        BRA `(.L_x_3)
    """
    (outer,) = parse_loops(listing(tmp_path, code))
    (inner,) = outer.inner
    assert [text.split()[0] for text in outer.instructions] == ["LDG.E.128", "STG.E", "@!P0"]
    assert [text.split()[0] for text in inner.instructions] == ["LDG.E.U8", "@P0", "STG.E.64", "@P1"]
    assert (outer.loads, outer.stores, inner.loads, inner.stores) == ([16], [4], [1], [8])
    assert outer.function == inner.function == "inner"


def test_function_of_a_loop_is_the_innermost_inlined_function(tmp_path: Path) -> None:
    code = """
        .L_x_0:
        @9<15 IADD3 R1, R1, 0x1, RZ
        @5<10<15 @P0 BRA `(.L_x_0)
        @15 EXIT
    """
    (loop,) = parse_loops(listing(tmp_path, code))
    assert loop.function == "helper"


def test_loop_with_two_backward_branches_is_one_loop(tmp_path: Path) -> None:
    code = """
        .L_x_0:
        @9<15 IADD3 R1, R1, 0x1, RZ
        @P0 BRA `(.L_x_0)
        LDG.E.U16 R5, desc[UR4][R2.64]
        BRA.U UP0, `(.L_x_0)
        @15 EXIT
        """
    (loop,) = parse_loops(listing(tmp_path, code))
    assert len(loop.instructions) == 4
    assert loop.loads == [2]


def test_source_path_of_another_checkout_is_replaced() -> None:
    line = inspect.getsourcelines(measure_kernel.fn)[1] + 2
    (loop,) = parse_loops(
        f"""	//## File "/removed/kernels/convert.py", line {line}
.L_x_0:
        /*0000*/                   NOP ;
        /*0010*/                   @P0 BRA `(.L_x_0) ;"""
    )
    assert loop.function == "measure_kernel"


def test_source_path_of_a_missing_file_gives_no_function() -> None:
    (loop,) = parse_loops(
        """	//## File "/removed/triton/standard.py", line 1
.L_x_0:
        /*0000*/                   NOP ;
        /*0010*/                   @P0 BRA `(.L_x_0) ;"""
    )
    assert loop.function is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_kernels_load_each_channel_once_and_store_per_timestep(dtype: torch.dtype) -> None:
    images = torch.zeros(1, 3, 224, 224, dtype=dtype).expand(128, -1, -1, -1)
    (launch,) = launches(images, torch.float32)
    found = loops(compile_launch(launch, TARGETS["sm_90"]))
    reading = [loop for loop in found if loop.function == "measure"]
    assert [len(loop.loads) for loop in reading] == [3], "one load for each channel"
    assert any(loop.stores == 16 * [16] for loop in found), "one store for each of 8 timesteps and 2 polarities"


def test_inner_loops_store_once_per_timestep() -> None:
    images = torch.zeros(1, 3, 224, 224).expand(128, -1, -1, -1)
    (launch,) = launches(images, torch.float32, shifts=canonical_shifts())
    found = loops(compile_launch(launch, TARGETS["sm_90"]))
    assert any(inner.stores == [16, 16] for loop in found for inner in loop.inner)
