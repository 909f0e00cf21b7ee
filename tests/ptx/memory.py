"""Instructions that load and store."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .form import Form, names_of, source_of
from .machine import WARP, Execute, MachineError, Read, Warp
from .numbers import bits, numbers, width, write


def address_of(operand: str) -> Read:
    """Return a function that reads an address: a register or a symbol, plus an offset in bytes."""
    base, *offset = re.split(r"\s*\+\s*", operand.strip("[] "))
    value, offset_bytes = source_of(base, "b64"), np.uint64(int(*offset or ["0"]))
    return lambda warp: value(warp) + offset_bytes


def _vector(form: Form, operand: int) -> list[str]:
    """Return the registers of a load or store: one, or as many as the flag v2 or v4 says."""
    names = names_of(form.operands[operand])
    if form.flags.intersection(("v2", "v4")) != ({f"v{len(names)}"} if len(names) > 1 else set()):
        raise form.unknown()
    return names


def _load(form: Form) -> Execute:
    (space,) = form.flags.difference(("v2", "v4"))
    names, kind = _vector(form, 0), form.kind
    if space == "param" and len(names) == 1:
        return _load_parameter(names[0], form.operands[1].strip("[] "), kind)
    if space not in ("global", "shared"):
        raise form.unknown()
    address = address_of(form.operands[1])

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, index = warp.memories[space].access(address(warp)[lanes], kind, len(names))
        loaded = np.zeros((len(names), WARP), dtype=elements.dtype)
        loaded[:, lanes] = elements[index + np.arange(len(names))[:, None]]
        for name, row in zip(names, loaded):
            write(warp.registers[name], numbers(row, kind), kind, lanes)

    return execute


def _load_parameter(register: str, name: str, kind: str) -> Execute:
    def execute(warp: Warp, lanes: np.ndarray) -> None:
        value = warp.parameters[name]
        if isinstance(value, float) and width(kind) != 32:
            raise MachineError(f"{value} is passed as float32 and loaded as {kind}")
        raw = np.float32(value).view(np.uint32) if isinstance(value, float) else np.int64(value).view(np.uint64)
        write(warp.registers[register], numbers(np.full(WARP, raw), kind), kind, lanes)

    return execute


def _store(form: Form) -> Execute:
    (space,) = form.flags.difference(("v2", "v4", "L1_evict_first"))  # eviction does not change values
    if space not in ("global", "shared_cta", "shared"):
        raise form.unknown()
    address, kind, memory = address_of(form.operands[0]), form.kind, space.removesuffix("_cta")
    sources = [source_of(name, kind) for name in _vector(form, 1)]

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, index = warp.memories[memory].access(address(warp)[lanes], kind, len(sources))
        for offset, source in enumerate(sources):
            elements[index + offset] = bits(source(warp), kind)[lanes]

    return execute


LOADS_AND_STORES: dict[str, Callable[[Form], Execute]] = {"ld": _load, "st": _store}
