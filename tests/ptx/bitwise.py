"""Instructions on bits: logic, shifts, extraction, permutation and moves between registers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arithmetic import of_one_type
from .form import Form, names_of, source_of
from .machine import Execute, Warp
from .numbers import number_type, register_type, width, write


def _shift(form: Form) -> Execute:
    """``shl`` and ``shr``; the shift may be as long as the number, or longer."""
    form.knows()
    value, amount, last = form.source(1), form.source(2, "u32"), width(form.kind) - 1
    move = np.left_shift if form.name == "shl" else np.right_shift

    def values(warp: Warp) -> np.ndarray:
        number, by = value(warp), amount(warp)
        moved = move(number, np.minimum(by, last).astype(number.dtype))
        return np.where(by <= last, moved, -(number < 0).astype(number.dtype))

    return form.result(values)


def _extract(form: Form) -> Execute:
    """``bfe``: extract bits; for signed types the highest one is the sign."""
    form.knows()
    if width(form.kind) != 32:
        raise form.unknown()
    value, start, length = form.source(1, "b32"), int(form.operands[2]), int(form.operands[3])
    if length == 0 or start + length > 32:
        raise form.unknown()
    highest = np.uint32(32 - start - length)
    return form.result(lambda warp: (value(warp) << highest).view(number_type(form.kind)) >> (32 - length))


def _permute(form: Form) -> Execute:
    """``prmt``: each byte of the result is one of eight bytes, or its sign in every bit."""
    form.knows()
    first, second, selector = form.source(1, "b32"), form.source(2, "b32"), form.source(3, "b32")

    def values(warp: Warp) -> np.ndarray:
        eight = np.stack([first(warp), second(warp)], axis=1).view(np.uint8)
        choice = (selector(warp)[:, None] >> (np.uint32(4) * np.arange(4, dtype=np.uint32))) & np.uint32(15)
        chosen = np.take_along_axis(eight, (choice & np.uint32(7)).astype(np.int64), axis=1)
        signs = (chosen.view(np.int8) >> 7).view(np.uint8)
        return np.where(choice >= 8, signs, chosen).view(np.uint32)[:, 0]

    return form.result(values)


def _move(form: Form) -> Execute:
    """``mov``: copy one register, or split one to several narrow ones, or join several to one."""
    form.knows()
    to, of = (names_of(operand) for operand in form.operands)
    if len(to) == len(of):
        return form.result(form.source(1))
    narrow, wide = f"b{width(form.kind) // max(len(to), len(of))}", f"b{width(form.kind)}"
    sources = [source_of(name, narrow if len(of) > 1 else wide) for name in of]

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        read = np.stack([source(warp) for source in sources], axis=1)
        written = read.view(register_type(narrow if len(to) > 1 else wide))
        for index, name in enumerate(to):
            if name != "_":  # discarded
                write(warp.registers[name], written[:, index], narrow if len(to) > 1 else wide, lanes)

    return execute


BITWISE: dict[str, Callable[[Form], Execute]] = {
    "and": of_one_type(np.bitwise_and),
    "bfe": _extract,
    "mov": _move,
    "not": of_one_type(np.invert),
    "or": of_one_type(np.bitwise_or),
    "prmt": _permute,
    "shl": _shift,
    "shr": _shift,
    "xor": of_one_type(np.bitwise_xor),
}
