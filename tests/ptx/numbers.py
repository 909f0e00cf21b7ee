"""Convert between the bits in registers and numbers of PTX types. All arrays have one element per lane of a warp."""

from __future__ import annotations

import re

import numpy as np

TYPE = re.compile(r"([bus](8|16|32|64)|f(16|32|64)|bf16)(x2)?|pred")
_UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
_FLOAT = {"f16": np.float16, "bf16": np.float32, "f32": np.float32, "f64": np.float64}


def width(ptx_type: str) -> int:
    """Return the number of bits of a PTX type, for example 32 for ``f32`` and for ``f16x2``."""
    digits = re.match(r"\D+(\d+)(x2)?", ptx_type)
    assert digits, f"{ptx_type} has no width"
    return int(digits[1]) * (2 if digits[2] else 1)


def is_float(ptx_type: str) -> bool:
    """Return whether a PTX type is floating-point."""
    return ptx_type.removesuffix("x2") in _FLOAT


def register_type(ptx_type: str) -> np.dtype:
    """Return the NumPy dtype that holds the bits of a register of a PTX type."""
    return np.dtype(bool if ptx_type == "pred" else _UNSIGNED[width(ptx_type)])


def number_type(ptx_type: str) -> np.dtype:
    """Return the NumPy dtype in which values of a PTX type are computed. For bf16 it is float32."""
    if ptx_type == "pred":
        return np.dtype(bool)
    ptx_type = ptx_type.removesuffix("x2")
    if ptx_type in _FLOAT:
        return np.dtype(_FLOAT[ptx_type])
    return np.dtype((_SIGNED if ptx_type[0] == "s" else _UNSIGNED)[width(ptx_type)])


def numbers(raw: np.ndarray, ptx_type: str) -> np.ndarray:
    """Return the low bits of registers as numbers ``[32]``, or ``[32, 2]`` for pairs (x2)."""
    raw = raw.astype(register_type(ptx_type), copy=False)
    if ptx_type.endswith("x2"):
        single = ptx_type.removesuffix("x2")
        return numbers(np.ascontiguousarray(raw).view(register_type(single)).reshape(-1, 2), single)
    if ptx_type == "bf16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.view(number_type(ptx_type))


def bits(values: np.ndarray, ptx_type: str) -> np.ndarray:
    """Return the bits of numbers; for bf16, float32 numbers are rounded."""
    if ptx_type.endswith("x2"):
        return np.ascontiguousarray(bits(values, ptx_type.removesuffix("x2"))).view(register_type(ptx_type))[:, 0]
    values = values.astype(number_type(ptx_type), copy=False)
    if ptx_type == "bf16":
        raw = values.view(np.uint32)  # the upper 16 bits are a bf16: round to nearest even
        rounded = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        nan = 0x7FFF  # as on the GPU
        return np.where(np.isnan(values), nan, rounded).astype(np.uint16)
    return values.view(register_type(ptx_type))


def write(register: np.ndarray, values: np.ndarray, ptx_type: str, lanes: np.ndarray) -> None:
    """Write numbers to some lanes of a register. Signed numbers are sign-extended to a wider register."""
    if ptx_type[0] == "s" and not ptx_type.endswith("x2"):
        extended = values.astype(number_type(ptx_type)).astype(_SIGNED[8 * register.itemsize]).view(register.dtype)
    else:
        extended = bits(values, ptx_type)
    np.copyto(register, extended, where=lanes, casting="safe")
