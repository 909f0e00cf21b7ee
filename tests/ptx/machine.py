"""Execute parsed kernels warp by warp, with diverging lanes and checked memory accesses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .numbers import register_type, width

WARP = 32
#: A warp that executes more instructions than this is assumed to be in an endless loop.
_MAX_STEPS = 10**7
LANES = np.arange(WARP)

#: Return one number per lane of a warp.
Read = Callable[["Warp"], np.ndarray]
#: Execute an instruction for the lanes of a warp in a mask, ``[32]``.
Execute = Callable[["Warp", np.ndarray], None]


class MachineError(Exception):
    """An operation fails or is undefined on a GPU."""


class Memory:
    """Memory as allocated arrays of bytes by address. An access outside of them is an error."""

    def __init__(self, allocations: dict[int, np.ndarray]):
        assert all(base % 16 == 0 for base in allocations)
        self.allocations = allocations

    def access(self, addresses: np.ndarray, kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the elements of the allocation that contains all addresses, and the index of each address.

        Raises:
            MachineError: if an access of ``count`` elements is not aligned to its size, or not within one allocation.
        """
        size = width(kind) // 8
        first, end = int(addresses.min()), int(addresses.max()) + size * count
        if (addresses % np.uint64(size * count)).any():
            raise MachineError(f"an address is not a multiple of the {size * count} bytes accessed")
        for base, data in self.allocations.items():
            if base <= first and end <= base + data.nbytes:
                elements = data[: data.nbytes // size * size].view(register_type(kind))
                return elements, (addresses.astype(np.int64) - base) // size
        raise MachineError(f"bytes {first:#x} to {end:#x} are not within an allocation")


@dataclass(frozen=True)
class Warp:
    """What the threads of a warp can access: registers, special registers, parameters and memories."""

    registers: dict[str, np.ndarray]
    special: dict[str, np.ndarray]
    parameters: dict[str, int | float]
    memories: dict[str, Memory]


@dataclass(frozen=True)
class Instruction:
    """One instruction, which does one of these: execute, branch to a label, wait at a barrier, end the program."""

    text: str
    guard: Read | None = None
    execute: Execute | None = None
    label: str | None = None
    waits: bool = False
    ends: bool = False


@dataclass
class Program:
    """A parsed kernel."""

    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    registers: dict[str, tuple[str, int]] = field(default_factory=dict)  # type and count, by prefix

    def run(self, block: int, threads: int, values: Sequence[int | float], memory: Memory, shared: int) -> None:
        """Run one program of a one-dimensional grid.

        Warps run one after the other, in random order, each up to the next barrier: a missing barrier gives wrong
        results. The lanes of a warp run in lockstep, which a GPU does not guarantee. Registers and shared memory start
        with random bits.

        Args:
            block: index of the program in the grid.
            threads: threads of the program, a multiple of 32.
            values: values of the parameters; missing ones are 0.
            memory: global memory.
            shared: bytes of shared memory.
        """
        random = np.random.default_rng()
        given = [*values, *[0] * (len(self.parameters) - len(values))]
        parameters = dict(zip(self.parameters, given, strict=True))
        on_chip = Memory({0: random.integers(0, 256, shared, dtype=np.uint8)})
        memories = {"global": memory, "shared": on_chip}
        running = [
            self._execute(Warp(self._registers(random), _special(block, first), parameters, memories))
            for first in range(0, threads, WARP)
        ]
        with np.errstate(all="ignore"):
            while running:
                order = [running[i] for i in random.permutation(len(running))]
                waiting = [warp for warp in order if next(warp, None) is not None]
                if waiting and len(waiting) < len(running):
                    raise MachineError("some warps wait at a barrier, and others have ended")
                running = waiting

    def _registers(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        registers: dict[str, np.ndarray] = {}
        for prefix, (kind, count) in self.registers.items():
            dtype = register_type(kind)
            noise = random.integers(0, 2 if kind == "pred" else 256, (count, WARP * dtype.itemsize), dtype=np.uint8)
            registers |= {f"{prefix}{i}": row for i, row in enumerate(noise.view(dtype))}
        return registers

    def _execute(self, warp: Warp) -> Iterator[str]:
        """Execute a warp and yield at each barrier. Of diverged lanes, those with the lowest counter run first."""
        counter, active = 0, np.ones(WARP, dtype=bool)
        waiting: dict[int, np.ndarray] = {}  # masks of diverged lanes, by program counter
        for _ in range(_MAX_STEPS):
            if waiting and counter >= min(waiting):
                waiting[counter] = active | waiting.get(counter, False)
                counter = min(waiting)
                active = waiting.pop(counter)
            instruction = self.instructions[counter]
            counter += 1
            lanes = active if instruction.guard is None else active & instruction.guard(warp)
            if not lanes.any():
                continue
            if instruction.waits or instruction.ends:
                if not lanes.all():
                    raise MachineError(f"{instruction.text}: not all lanes of a warp reach this together")
                if instruction.ends:
                    return
                yield instruction.text
            elif instruction.label is not None:
                rest = active & ~lanes
                if rest.any():
                    waiting[counter] = rest | waiting.get(counter, False)
                counter, active = self.labels[instruction.label], lanes
            else:
                assert instruction.execute is not None
                try:
                    instruction.execute(warp, lanes)
                except MachineError as error:
                    raise MachineError(f"{instruction.text}: {error}") from None
        raise MachineError(f"a warp does not end after {_MAX_STEPS} instructions")


def _special(block: int, first_thread: int) -> dict[str, np.ndarray]:
    def same(value: int) -> np.ndarray:
        return np.full(WARP, value, dtype=np.uint32)

    threads = (first_thread + LANES).astype(np.uint32)
    return {"%tid.x": threads, "%ctaid.x": same(block), "%ctaid.y": same(0), "%ctaid.z": same(0)}


def statements(source: str) -> tuple[list[str], list[str]]:
    """Return the parameters of a kernel, and its statements: labels (with their colon), declarations, instructions."""
    found = re.search(r"\.entry \w+\((.*?)\).*?^\{(.*?)^\}", source, re.DOTALL | re.MULTILINE)
    assert found, "no kernel"
    head, body = found.groups()
    parameters = re.findall(r"(\w+_param_\d+)", head)
    body = re.sub(r"//.*|^\s*\.loc\s.*", "", body, flags=re.MULTILINE)
    body = re.sub(r"^\s*(\$\w+:)", r"\1;", body, flags=re.MULTILINE)
    return parameters, [" ".join(statement.split()) for statement in body.split(";") if statement.strip()]
