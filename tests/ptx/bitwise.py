"""Instructions on bits: logic, shifts, extraction, permutation and moves between registers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arithmetic import elementwise
from .form import Form, names_of, source_of
from .machine import Execute, Warp
from .numbers import number_type, register_type, width, write


def _shift(form: Form) -> Execute:
    """``shl`` and ``shr``; the number of bits to shift by may exceed the width of the type."""
    form.allow_flags()
    value, amount, last = form.source(1), form.source(2, "u32"), width(form.kind) - 1
    move = np.left_shift if form.name == "shl" else np.right_shift

    def values(warp: Warp) -> np.ndarray:
        number, count = value(warp), amount(warp)
        moved = move(number, np.minimum(count, last).astype(number.dtype))
        return np.where(count <= last, moved, -(number < 0).astype(number.dtype))

    return form.result(values)


def _funnel_shift(form: Form) -> Execute:
    """``shf``: shift two words as one of 64 bits; return its upper half (l) or its lower half (r)."""
    if form.flags not in ({"l", "wrap"}, {"r", "wrap"}) or form.kind != "b32":
        raise form.unknown()
    low, high, amount = form.source(1), form.source(2), form.source(3, "u32")

    def values(warp: Warp) -> np.ndarray:
        whole = (high(warp).astype(np.uint64) << np.uint64(32)) | low(warp)
        bits = (amount(warp) & np.uint32(31)).astype(np.uint64)
        shifted = (whole << bits) >> np.uint64(32) if "l" in form.flags else whole >> bits
        return shifted.astype(np.uint32)

    return form.result(values)


def _extract(form: Form) -> Execute:
    """``bfe``: extract bits; for signed types, the highest extracted bit is the sign."""
    form.allow_flags()
    if width(form.kind) != 32:
        raise form.unknown()
    value, start, length = form.source(1, "b32"), int(form.operands[2]), int(form.operands[3])
    if length == 0 or start + length > 32:
        raise form.unknown()
    above = np.uint32(32 - start - length)  # bits above the extracted ones
    return form.result(lambda warp: (value(warp) << above).view(number_type(form.kind)) >> (32 - length))


def _permute(form: Form) -> Execute:
    """``prmt``: each byte of the result is one of eight bytes, or the sign bit of that byte, repeated."""
    form.allow_flags()
    first, second, selector = form.source(1, "b32"), form.source(2, "b32"), form.source(3, "b32")

    def values(warp: Warp) -> np.ndarray:
        eight = np.stack([first(warp), second(warp)], axis=1).view(np.uint8)
        choice = (selector(warp)[:, None] >> (np.uint32(4) * np.arange(4, dtype=np.uint32))) & np.uint32(15)
        chosen = np.take_along_axis(eight, (choice & np.uint32(7)).astype(np.int64), axis=1)
        signs = (chosen.view(np.int8) >> 7).view(np.uint8)
        return np.where(choice >= 8, signs, chosen).view(np.uint32)[:, 0]

    return form.result(values)


def _move(form: Form) -> Execute:
    """``mov``: copy a register, split a wide one into several, or join several into a wide one."""
    form.allow_flags()
    targets, origins = (names_of(operand) for operand in form.operands)
    if len(targets) == len(origins):
        return form.result(form.source(1))
    narrow, wide = f"b{width(form.kind) // max(len(targets), len(origins))}", f"b{width(form.kind)}"
    read_kind, written_kind = (wide, narrow) if len(targets) > 1 else (narrow, wide)
    sources = [source_of(name, read_kind) for name in origins]

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        read = np.stack([source(warp) for source in sources], axis=1)
        written = read.view(register_type(written_kind))
        for index, name in enumerate(targets):
            if name != "_":  # this part is discarded
                write(warp.registers[name], written[:, index], written_kind, lanes)

    return execute


BITWISE: dict[str, Callable[[Form], Execute]] = {
    "and": elementwise(np.bitwise_and),
    "bfe": _extract,
    "mov": _move,
    "not": elementwise(np.invert),
    "or": elementwise(np.bitwise_or),
    "prmt": _permute,
    "shf": _funnel_shift,
    "shl": _shift,
    "shr": _shift,
    "xor": elementwise(np.bitwise_xor),
}
