"""Instructions that exchange numbers between the lanes of a warp."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from .arithmetic import choice
from .form import Form, names_of
from .machine import LANES, WARP, Execute, MachineError, Warp
from .memory import address_of
from .numbers import write


def _reduce(form: Form) -> Execute:
    """``redux``: give every lane the minimum, the maximum or (of integers) the sum of all lanes."""
    kinds = ("s32", "u32") if "add" in form.flags else ("s32", "u32", "f32")
    if form.flags not in ({"sync", "min"}, {"sync", "max"}, {"sync", "add"}) or form.kind not in kinds:
        raise form.unknown()
    choose = np.add if "add" in form.flags else choice(form)
    value, members = form.source(1), form.source(2, "s32")

    def values(warp: Warp) -> np.ndarray:
        if (members(warp) != -1).any():
            raise MachineError("not all lanes of a warp are in the mask")
        lanes = value(warp)
        return np.full(WARP, reduce(choose, lanes), dtype=lanes.dtype)

    return by_all_lanes(form.result(values))


def _shuffle(form: Form) -> Execute:
    """``shfl``: read the value of the lane with a given index (idx), or with the reader's index XOR a mask (bfly)."""
    if form.flags not in ({"sync", "bfly"}, {"sync", "idx"}) or form.operands[3:] != ["31", "-1"]:
        raise form.unknown()
    value, lane = form.source(1), form.source(2, "u32")
    own = LANES if "bfly" in form.flags else np.zeros(WARP, dtype=np.int64)
    return by_all_lanes(form.result(lambda warp: value(warp)[own ^ (lane(warp) & np.uint32(31))]))


def by_all_lanes(execute: Execute) -> Execute:
    """Return ``execute`` with a check that all lanes of the warp take part."""

    def checked(warp: Warp, lanes: np.ndarray) -> None:
        if not lanes.all():
            raise MachineError("not all lanes of a warp take part")
        execute(warp, lanes)

    return checked


def _matrices(form: Form) -> Execute:
    """``ldmatrix`` and ``stmatrix``: load and store matrices of 8 by 8 numbers of 16 bits in shared memory.

    Each lane passes the address of one row. Its registers hold two adjacent numbers of a row (with trans, of a column)
    of each matrix.
    """
    loads = form.name == "ldmatrix"
    names, address = names_of(form.operands[not loads]), address_of(form.operands[loads])
    if form.flags.difference(("trans",)) != {"sync", "aligned", "m8n8", f"x{len(names)}", "shared"}:
        raise form.unknown()
    row, column = LANES[:, None] // 4, LANES[:, None] % 4 * 2 + np.arange(2)
    if "trans" in form.flags:
        row, column = column, row

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, rows = warp.memories["shared"].access(address(warp)[: 8 * len(names)], "b16", 8)
        for matrix, name in enumerate(names):
            index = rows[8 * matrix + row] + column
            if loads:
                write(warp.registers[name], elements[index].view(np.uint32)[:, 0], "b32", lanes)
            else:
                elements[index] = warp.registers[name][:, None].view(np.uint16)

    return by_all_lanes(execute)


BETWEEN_LANES: dict[str, Callable[[Form], Execute]] = {
    "ldmatrix": _matrices,
    "redux": _reduce,
    "shfl": _shuffle,
    "stmatrix": _matrices,
}
