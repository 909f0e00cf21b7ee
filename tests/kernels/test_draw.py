"""The kernels draw the same integers as the CPU path, in Triton's interpreter and compiled."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
import torch
from torch import Tensor

from benchmarks.roofline.ahead_of_time import TARGETS, Launch, compile_launch, machine_code, resources
from i2e_triton.kernels import launch
from i2e_triton.kernels.plan import Layout
from tests.draw_cases import DRAWS, with_kernel, with_operator
from tests.kernels import compiled
from tests.kernels.test_compile import matching

#: A seed, and a call number of more than 32 bits.
STATE = (-1234567890123456789, 2**40 + 5)
ROWS = torch.tensor([0, 3, 2**31, 2**32 + 1, 2**63 - 1, -1, 3]).repeat_interleave(2)[::2]  # not contiguous
#: One case per kernel, for tests of the compiler.
KERNELS = ("words", "crop", "resized crop", "shifts")


def assert_same_draw(drawn: tuple[Tensor, ...], name: str, rows: Tensor | None, seed_offset: int, batch: int) -> None:
    """Compare a draw from ``STATE``, and the state after it, with the CPU path."""
    state = torch.tensor(STATE)
    expected = *with_operator(name, state, rows, seed_offset, batch), state
    assert len(drawn) == len(expected)
    for one, other in zip(drawn, expected):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", DRAWS)
def test_interpreted_kernel_equals_cpu_path(name: str, interpreter: ProcessPoolExecutor) -> None:
    for rows, seed_offset, batch in ((None, 0, 300), (ROWS, 2**62 + 3, 7), (None, -1, 1), (None, 0, 0)):
        drawn = interpreter.submit(with_kernel, name, torch.tensor(STATE), rows, seed_offset, batch).result()
        assert_same_draw(drawn, name, rows, seed_offset, batch)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        *(("sm_90", name) for name in KERNELS),
        *(pytest.param(target, name, marks=pytest.mark.slow) for target in ("sm_80", "sm_100") for name in KERNELS),
    ],
)
def test_compiled_kernel_equals_cpu_path(target: str, name: str) -> None:
    for rows, seed_offset, batch in ((None, 7, 260), (ROWS, 2**62 + 3, 7)):
        with compiled.gpu(target):
            drawn = with_kernel(name, torch.tensor(STATE), rows, seed_offset, batch)
        assert_same_draw(drawn, name, rows, seed_offset, batch)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("target", TARGETS)
def test_compiles_without_spills_and_fusion(target: str, name: str) -> None:
    recorded = launch_of(name)
    kernel = compile_launch(recorded, TARGETS[target])
    # A product and a sum that the compiler may fuse would differ from the CPU's in the last bit.
    assert not matching(kernel.asm["llir"].splitlines(), r"\bcontract\b|fmuladd|llvm\.fma")
    if target.startswith("sm_"):
        assert "fma" not in kernel.asm["ptx"]
        usage = resources(kernel)
        assert (usage["STACK"], usage["LOCAL"]) == (0, 0)
        assert usage["REG"] * 32 * recorded.arguments["num_warps"] <= 65536
        assert not matching(machine_code(kernel), r"\b(LDL|STL|FFMA)\b")
    else:
        assert "scratch_" not in kernel.asm["amdgcn"]


def launch_of(name: str) -> Launch:
    """Return the kernel launch of a draw for 128 images."""
    with mock.patch.object(launch, "run") as run:
        with_kernel(name, torch.tensor(STATE), None, 0, 128)
    build, _, tensors, _, *options = run.call_args.args
    layouts = {key: Layout.of(tensor) for key, tensor in tensors.items() if tensor is not None}
    (recorded,), _ = build(layouts, *options, 132, 32)
    return recorded
