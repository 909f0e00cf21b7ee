"""The parts of an instruction, and how its operands are read and written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .machine import WARP, Execute, Read
from .numbers import is_float, numbers, register_type, width, write


@dataclass(frozen=True)
class Form:
    """The parts of an instruction, for example of ``add.rn.f32 %r1, %r2, %r3``."""

    text: str  # the whole instruction
    name: str  # "add"
    flags: frozenset[str]  # {"rn"}
    kinds: list[str]  # types: ["f32"]
    operands: list[str]  # ["%r1", "%r2", "%r3"]; the first one is the result

    @property
    def kind(self) -> str:
        """The type of the instruction, which must have exactly one."""
        if len(self.kinds) != 1:
            raise self.unknown()
        return self.kinds[0]

    def allow_flags(self, *flags: str) -> None:
        """Raise an error if the instruction has another flag than these."""
        if not self.flags.issubset(flags):
            raise self.unknown()

    def unknown(self) -> NotImplementedError:
        return NotImplementedError(self.text)

    def source(self, position: int, kind: str | None = None) -> Read:
        return source_of(self.operands[position], kind or self.kind)

    def sources(self) -> list[Read]:
        return [self.source(position) for position in range(1, len(self.operands))]

    def result(self, values: Read, kind: str | None = None) -> Execute:
        """Return a function that executes the instruction: it writes ``values`` to the first operand."""
        name, kind = self.operands[0], kind or self.kind
        return lambda warp, lanes: write(warp.registers[name], values(warp), kind, lanes)


def source_of(text: str, kind: str) -> Read:
    """Return a function that reads a register or a constant as numbers."""
    if text.startswith(("%tid", "%ctaid")):
        return lambda warp: numbers(warp.special[text], kind)
    if text.startswith("%"):
        return lambda warp: numbers(warp.registers[text], kind)
    constant = _constant(text, kind)
    return lambda warp: constant


def _constant(text: str, kind: str) -> np.ndarray:
    if text == "global_smem":  # the start of shared memory
        value = 0
    elif kind == "pred":
        value = int(text) != 0
    elif text[:2] == {32: "0f", 64: "0d"}.get(width(kind)):
        value = int(text[2:], 16)
    elif is_float(kind):
        raise ValueError(text)
    else:
        value = int(text.rstrip("U"), 0) % 2 ** width(kind)
    return numbers(np.full(WARP, value, dtype=register_type(kind)), kind)


def names_of(operand: str) -> list[str]:
    """Return the names of one register, or of several in braces."""
    return operand.strip("{} ").replace(",", " ").split()
