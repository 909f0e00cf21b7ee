"""Parse the PTX of a kernel into functions that change the registers and the memory of a warp."""

from __future__ import annotations

import re

from .arithmetic import ARITHMETIC
from .bitwise import BITWISE
from .form import Form
from .lanes import BETWEEN_LANES
from .machine import Instruction, Program, statements
from .memory import LOADS_AND_STORES
from .numbers import TYPE

_PARSERS = ARITHMETIC | BITWISE | BETWEEN_LANES | LOADS_AND_STORES


def parse(source: str) -> Program:
    """Parse PTX source that contains one kernel.

    Raises:
        NotImplementedError: if an instruction is unknown.
    """
    program = Program()
    program.parameters, body = statements(source)
    for statement in body:
        if statement.endswith(":"):
            program.labels[statement[:-1]] = len(program.instructions)
        elif registers := re.fullmatch(r"\.reg \.(\w+) (%\w+)<(\d+)>", statement):
            program.registers[registers[2]] = (registers[1], int(registers[3]))
        elif not statement.startswith(".pragma"):
            program.instructions.append(_instruction(statement))
    return program


def _instruction(text: str) -> Instruction:
    parts = re.fullmatch(r"(?:@(!?)(%\w+) )?([a-z][\w.:]*) ?(.*)", text)
    if parts is None:
        raise NotImplementedError(text)
    negated, condition, opcode, rest = parts.groups()
    guard = None if condition is None else lambda warp: warp.registers[condition] != bool(negated)
    name, *flags = opcode.replace("::", "_").split(".")
    if opcode in ("bra", "bra.uni"):
        return Instruction(text, guard, label=rest)
    if opcode == "ret":
        return Instruction(text, guard, ends=True)
    if opcode == "bar.sync" and rest == "0":
        return Instruction(text, guard, waits=True)
    if name not in _PARSERS:
        raise NotImplementedError(text)
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,{}\[\]]+", rest)
    kinds = [flag for flag in flags if TYPE.fullmatch(flag)]
    form = Form(text, name, frozenset(flags).difference(kinds), kinds, operands)
    try:
        return Instruction(text, guard, execute=_PARSERS[name](form))
    except (ValueError, LookupError, OverflowError) as error:
        raise NotImplementedError(text) from error
