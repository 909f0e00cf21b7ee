"""The machine notices what a GPU would, and what a GPU would not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from tests.kernels.compiled import gpu
from tests.ptx import test_instructions as by_hand
from tests.ptx.machine import WARP, MachineError


@triton.jit
def _roll(numbers, out, waits: tl.constexpr, block: tl.constexpr):
    place = tl.arange(0, block)
    tl.store(out + place, tl.load(numbers + place))
    if waits:
        tl.debug_barrier()
    moved = tl.load(out + (place + 32) % block)
    tl.debug_barrier()
    tl.store(out + place, moved)


@triton.jit
def _copy(numbers, out, length, block: tl.constexpr):
    place = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(out + place, tl.load(numbers + place, mask=place < length), mask=place < length)


@triton.jit
def _clear(numbers, out):
    tl.store(numbers, tl.load(out))


@triton.jit
def _greatest(numbers, out, block: tl.constexpr):
    tl.store(out, tl.max(tl.load(numbers + tl.arange(0, block)), axis=0))


def rolled(waits: bool) -> tuple[Tensor, Tensor]:
    """What a kernel with a barrier or without one makes of numbers, and what it should make of them."""
    numbers = torch.arange(1, 129, dtype=torch.int32)
    out = torch.zeros_like(numbers)
    with gpu():
        _roll[(1,)](numbers, out, waits=waits, block=128, num_warps=4)
    return out, numbers.roll(-32)


def test_a_barrier_is_waited_for() -> None:
    found, expected = rolled(waits=True)
    assert torch.equal(found, expected)


def test_a_missing_barrier_is_noticed() -> None:
    found, expected = rolled(waits=False)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_the_greatest_number_of_all_threads(target: str, generator: torch.Generator) -> None:
    numbers = torch.randint(-999, 999, (1024,), generator=generator, dtype=torch.int32)
    out = torch.zeros(1, dtype=torch.int32)
    with gpu(target):
        _greatest[(1,)](numbers, out, block=1024, num_warps=8)
    assert out == numbers.max()


def copied(length: int, claimed: int) -> Tensor:
    """Copy numbers with a kernel that believes them to be more or fewer than they are."""
    numbers = torch.arange(1, length + 1, dtype=torch.int32)
    out = torch.zeros_like(numbers)
    with gpu():
        _copy[(triton.cdiv(claimed, 128),)](numbers, out, claimed, block=128, num_warps=4)
    return out


@pytest.mark.parametrize("length", [1, 127, 128, 300])
def test_masks(length: int) -> None:
    assert copied(length, length).tolist() == list(range(1, length + 1))
    assert copied(length + 5, length).tolist() == [*range(1, length + 1), 0, 0, 0, 0, 0]


@pytest.mark.parametrize("beyond", [1, 200])
def test_an_access_beyond_an_allocation_is_noticed(beyond: int) -> None:
    with pytest.raises(MachineError, match=r"ld\.global.*not within an allocation"):
        copied(100, 100 + beyond)


def test_an_input_that_is_written_is_noticed() -> None:
    numbers, out = torch.ones(2, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    with gpu(), pytest.raises(ValueError, match="read-only"):
        _clear[(1,)](numbers, out)
    assert numbers.tolist() == [1, 1]


def test_an_access_that_is_not_aligned_is_noticed() -> None:
    with pytest.raises(MachineError, match="not a multiple of the 8 bytes"):
        by_hand.run("ld.global.v2.b32 {%r1, %r2}, [ %rd1 + 4 ];", np.zeros(WARP, dtype=np.int32))


def test_a_warp_may_part_and_meet_again() -> None:
    """Every third lane counts in a loop as often as its number says, the others skip it; then all shuffle."""
    out = np.zeros(WARP, dtype=np.int32)
    by_hand.run(
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
def test_what_a_warp_must_do_together(instruction: str) -> None:
    with pytest.raises(MachineError, match="not all lanes"):
        by_hand.run(f"setp.lt.s32 %p1, %r0, 7;\n{instruction};", np.zeros(WARP, dtype=np.int32))


def test_a_barrier_that_some_warps_do_not_come_to() -> None:
    body = "setp.lt.s32 %p1, %r0, 32;\n@%p1 bra $end;\nbar.sync 0;\n$end:\nmov.b32 %r1, 0;"
    with pytest.raises(MachineError, match="others have ended"):
        by_hand.run(body, np.zeros(WARP, dtype=np.int32), threads=2 * WARP)


def test_registers_begin_with_anything() -> None:
    seen = [np.zeros(WARP, dtype=np.int32) for _ in range(2)]
    for out in seen:
        by_hand.run("mad.wide.u32 %rd10, %r0, 4, %rd1;\nst.global.b32 [ %rd10 + 0 ], { %r50 };", out)
    assert (seen[0] != seen[1]).any()
