"""Read and write headers of ``.npy`` files. Nothing is unpickled, and no memory is allocated for the array."""

from __future__ import annotations

import io
import math
import tokenize
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.lib import format as npy_format

Content: TypeAlias = bytes | bytearray | memoryview

#: ``np.save`` writes headers of 128 or 192 bytes for arrays of events.
LARGEST_HEADER = 512
#: Limit of an array in bytes. Dense bool events of the largest image that Pillow opens take 1.4 GB.
LARGEST_ARRAY = 2**31

# Errors that NumPy raises for a malicious header, which it evaluates as Python literals and then as a dtype.
_DAMAGE = (ValueError, TypeError, LookupError, SyntaxError, ArithmeticError, MemoryError, RecursionError)


class RecordError(ValueError):
    """A record or file is damaged, or does not contain events."""


@dataclass(frozen=True)
class NpyHeader:
    """The header of a ``.npy`` file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    size: int  #: length of the header in bytes

    @property
    def elements(self) -> int:
        """Number of elements. A Python int does not overflow, unlike ``np.prod``."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return self.elements * self.dtype.itemsize


@lru_cache(maxsize=64)
def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header that ``np.save`` writes for a uint8 array."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def read_npy_header(content: Content) -> NpyHeader:
    """Return the header of a ``.npy`` file.

    Args:
        content: the file, or at least its first :data:`LARGEST_HEADER` bytes.

    Raises:
        RecordError: if the header is invalid or longer than :data:`LARGEST_HEADER`, or the array contains Python
            objects.
    """
    start = bytes(content[:LARGEST_HEADER])
    if start[:6] != npy_format.MAGIC_PREFIX:
        raise RecordError(f"not written by np.save: must begin with {npy_format.MAGIC_PREFIX!r}, got {start[:6]!r}")
    lengths = {b"\x01\x00": 10, b"\x02\x00": 12}
    if start[6:8] not in lengths:
        raise RecordError(f"the npy version must be (1, 0) or (2, 0), got {tuple(start[6:8])}")
    prefix = lengths[start[6:8]]
    size = prefix + int.from_bytes(start[8:prefix], "little")
    if size > len(start):
        raise RecordError(
            f"the npy header must have at most {LARGEST_HEADER} bytes and be complete: "
            f"it says {size} bytes, got {len(start)}"
        )
    return _parse_header(start[:size])


# Cached, because a data set has few different headers, and parsing one takes longer than decoding its events.
@lru_cache(maxsize=64)
def _parse_header(header: bytes) -> NpyHeader:
    file = io.BytesIO(header)
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(file, max_header_size=LARGEST_HEADER)
    except (*_DAMAGE, tokenize.TokenError) as error:
        raise RecordError(f"the npy header is damaged ({type(error).__name__}: {error})") from error
    if dtype.hasobject:
        raise RecordError(f"the array contains Python objects ({dtype}), which are not read for security")
    if any(type(length) is not int or length < 0 for length in shape):  # isinstance would accept bool
        raise RecordError(f"the npy header is damaged: the shape must be integers of at least 0, got {shape}")
    return NpyHeader(dtype, shape, fortran_order, len(header))
