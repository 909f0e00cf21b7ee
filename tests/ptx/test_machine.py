"""The simulator detects errors, including some that a GPU does not report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from tests.kernels.compiled import gpu
from tests.ptx.machine import WARP, MachineError
from tests.ptx.test_instructions import run


@triton.jit
def _roll(numbers_ptr, out_ptr, waits: tl.constexpr, block: tl.constexpr):
    position = tl.arange(0, block)
    tl.store(out_ptr + position, tl.load(numbers_ptr + position))
    if waits:
        tl.debug_barrier()
    moved = tl.load(out_ptr + (position + 32) % block)
    tl.debug_barrier()
    tl.store(out_ptr + position, moved)


@triton.jit
def _copy(numbers_ptr, out_ptr, length, block: tl.constexpr):
    position = tl.program_id(0) * block + tl.arange(0, block)
    inside = position < length
    tl.store(out_ptr + position, tl.load(numbers_ptr + position, mask=inside), mask=inside)


@triton.jit
def _clear(numbers_ptr, out_ptr):
    tl.store(numbers_ptr, tl.load(out_ptr))


@triton.jit
def _greatest(numbers_ptr, out_ptr, block: tl.constexpr):
    tl.store(out_ptr, tl.max(tl.load(numbers_ptr + tl.arange(0, block)), axis=0))


def rolled(waits: bool) -> tuple[Tensor, Tensor]:
    """Return the result of the kernel ``_roll`` with or without its barrier, and the expected result."""
    numbers = torch.arange(1, 129, dtype=torch.int32)
    out = torch.zeros_like(numbers)
    with gpu():
        _roll[(1,)](numbers, out, waits=waits, block=128, num_warps=4)
    return out, numbers.roll(-32)


def test_warps_wait_at_a_barrier() -> None:
    found, expected = rolled(waits=True)
    assert torch.equal(found, expected)


def test_missing_barrier_is_detected() -> None:
    found, expected = rolled(waits=False)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_maximum_over_all_threads(target: str, generator: torch.Generator) -> None:
    numbers = torch.randint(-999, 999, (1024,), generator=generator, dtype=torch.int32)
    out = torch.zeros(1, dtype=torch.int32)
    with gpu(target):
        _greatest[(1,)](numbers, out, block=1024, num_warps=8)
    assert out == numbers.max()


def copied(length: int, claimed: int) -> Tensor:
    """Copy ``length`` numbers with a kernel that is told to copy ``claimed`` numbers."""
    numbers = torch.arange(1, length + 1, dtype=torch.int32)
    out = torch.zeros_like(numbers)
    with gpu():
        _copy[(triton.cdiv(claimed, 128),)](numbers, out, claimed, block=128, num_warps=4)
    return out


@pytest.mark.parametrize("length", [1, 127, 128, 300])
def test_masks(length: int) -> None:
    assert copied(length, length).tolist() == list(range(1, length + 1))
    assert copied(length + 5, length).tolist() == [*range(1, length + 1), 0, 0, 0, 0, 0]


@pytest.mark.parametrize("excess", [1, 200])
def test_access_outside_of_an_allocation_is_detected(excess: int) -> None:
    with pytest.raises(MachineError, match=r"ld\.global.*not within an allocation"):
        copied(100, 100 + excess)


def test_write_to_an_input_is_detected() -> None:
    numbers, out = torch.ones(2, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    with gpu(), pytest.raises(ValueError, match="read-only"):
        _clear[(1,)](numbers, out)
    assert numbers.tolist() == [1, 1]


def test_unaligned_access_is_detected() -> None:
    with pytest.raises(MachineError, match="not a multiple of the 8 bytes"):
        run("ld.global.v2.b32 {%r1, %r2}, [ %rd1 + 4 ];", np.zeros(WARP, dtype=np.int32))


def test_lanes_diverge_and_converge() -> None:
    """Every third lane runs a loop, as many times as its index plus 1; the others skip it. Then all lanes shuffle."""
    out = np.zeros(WARP, dtype=np.int32)
    run(
        """
        mov.b32 %r1, 0;
        mov.b32 %r2, 0;
        rem.s32 %r3, %r0, 3;
        setp.ne.b32 %p1, %r3, 0;
        @%p1 bra $after;
        $loop:
        add.s32 %r1, %r1, 10;
        add.s32 %r2, %r2, 1;
        setp.le.s32 %p2, %r2, %r0;
        @%p2 bra $loop;
        $after:
        shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;
        mad.wide.u32 %rd10, %r0, 4, %rd1;
        st.global.b32 [ %rd10 + 0 ], { %r4 };
        """,
        out,
    )
    counted = [10 * (lane + 1) if lane % 3 == 0 else 0 for lane in range(WARP)]
    assert out.tolist() == [counted[lane ^ 1] for lane in range(WARP)]


@pytest.mark.parametrize(
    "instruction", ["@%p1 bar.sync 0", "@%p1 redux.sync.max.s32 %r1, %r0, -1", "redux.sync.max.s32 %r1, %r0, 255"]
)
def test_instructions_that_need_all_lanes(instruction: str) -> None:
    with pytest.raises(MachineError, match="not all lanes"):
        run(f"setp.lt.s32 %p1, %r0, 7;\n{instruction};", np.zeros(WARP, dtype=np.int32))


def test_barrier_that_some_warps_skip_is_detected() -> None:
    body = "setp.lt.s32 %p1, %r0, 32;\n@%p1 bra $end;\nbar.sync 0;\n$end:\nmov.b32 %r1, 0;"
    with pytest.raises(MachineError, match="others have ended"):
        run(body, np.zeros(WARP, dtype=np.int32), threads=2 * WARP)


def test_registers_start_with_random_bits() -> None:
    seen = [np.zeros(WARP, dtype=np.int32) for _ in range(2)]
    for out in seen:
        run("mad.wide.u32 %rd10, %r0, 4, %rd1;\nst.global.b32 [ %rd10 + 0 ], { %r50 };", out)
    assert (seen[0] != seen[1]).any()
