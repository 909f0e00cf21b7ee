"""Convert between the bits in registers and numbers of PTX types. All arrays have one element per lane of a warp."""

from __future__ import annotations

import re

import numpy as np

TYPE = re.compile(r"([bus](8|16|32|64)|f(16|32|64)|bf16)(x2)?|pred")
_UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
_FLOAT = {"f16": np.float16, "bf16": np.float32, "f32": np.float32, "f64": np.float64}


def width(kind: str) -> int:
    """Return the number of bits of a type, for example 32 for ``f32`` and for ``f16x2``."""
    digits = re.match(r"\D+(\d+)(x2)?", kind)
    assert digits, f"{kind} has no width"
    return int(digits[1]) * (2 if digits[2] else 1)


def is_float(kind: str) -> bool:
    """Return whether a type is floating-point."""
    return kind.removesuffix("x2") in _FLOAT


def register_type(kind: str) -> np.dtype:
    """Return the NumPy dtype that holds the bits of a register."""
    return np.dtype(bool if kind == "pred" else _UNSIGNED[width(kind)])


def number_type(kind: str) -> np.dtype:
    """Return the NumPy dtype for arithmetic with a type. bf16 is computed as float32."""
    if kind == "pred":
        return np.dtype(bool)
    kind = kind.removesuffix("x2")
    if kind in _FLOAT:
        return np.dtype(_FLOAT[kind])
    return np.dtype((_SIGNED if kind[0] == "s" else _UNSIGNED)[width(kind)])


def numbers(bits: np.ndarray, kind: str) -> np.ndarray:
    """Return the low bits of registers as numbers ``[32]``, or ``[32, 2]`` for pairs (x2)."""
    bits = bits.astype(register_type(kind), copy=False)
    if kind.endswith("x2"):
        single = kind.removesuffix("x2")
        return numbers(np.ascontiguousarray(bits).view(register_type(single)).reshape(-1, 2), single)
    if kind == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(number_type(kind))


def bits(values: np.ndarray, kind: str) -> np.ndarray:
    """Return the bits of numbers; for bf16, float32 numbers are rounded."""
    if kind.endswith("x2"):
        return np.ascontiguousarray(bits(values, kind.removesuffix("x2"))).view(register_type(kind))[:, 0]
    values = values.astype(number_type(kind), copy=False)
    if kind == "bf16":
        raw = values.view(np.uint32)
        rounded = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)
    return values.view(register_type(kind))


def write(register: np.ndarray, values: np.ndarray, kind: str, lanes: np.ndarray) -> None:
    """Write numbers to some lanes of a register. Signed numbers are sign-extended to a wider register."""
    if kind[0] == "s" and not kind.endswith("x2"):
        extended = values.astype(number_type(kind)).astype(_SIGNED[8 * register.itemsize]).view(register.dtype)
    else:
        extended = bits(values, kind)
    np.copyto(register, extended, where=lanes, casting="safe")
