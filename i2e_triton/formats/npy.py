"""Headers of ``.npy``: what ``np.save`` writes, read without unpickling and before memory is taken."""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.lib import format as npy_format

from i2e_triton.formats.errors import RecordError

Content: TypeAlias = bytes | bytearray | memoryview

#: What ``np.save`` writes for arrays like ours has 128 or 192 bytes.
LARGEST_HEADER = 512
#: No array of a file may take more memory. The largest picture that Pillow opens has 1.4 GB of dense bool events.
LARGEST_ARRAY = 2**31

# What parsing a hostile header may run into besides ValueError: it is evaluated as Python literals, then as a dtype.
_DAMAGE = (ValueError, TypeError, LookupError, SyntaxError, ArithmeticError, MemoryError, RecursionError)


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the elements of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    size: int  #: of the header, in bytes

    @property
    def elements(self) -> int:
        """Number of elements, exact however large the shape."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * self.dtype.itemsize


@lru_cache(maxsize=64)
def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the bytes that ``np.save`` writes before the elements of a uint8 array."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def read_npy_header(content: Content) -> NpyHeader:
    """Read the header of a whole ``.npy``, or of the first :data:`LARGEST_HEADER` bytes of one.

    Raises:
        RecordError: if it is none, is longer than that, or has elements of Python objects.
    """
    start = bytes(content[:LARGEST_HEADER])
    if start[:6] != npy_format.MAGIC_PREFIX:
        raise RecordError(
            f"not what np.save writes: it begins with {start[:6]!r} instead of {npy_format.MAGIC_PREFIX!r}"
        )
    lengths = {b"\x01\x00": 10, b"\x02\x00": 12}
    if start[6:8] not in lengths:
        raise RecordError(f"its npy version is {tuple(start[6:8])}, must be (1, 0) or (2, 0)")
    prefix = lengths[start[6:8]]
    size = prefix + int.from_bytes(start[8:prefix], "little")
    if size > len(start):
        raise RecordError(
            f"its npy header is cut off or longer than {LARGEST_HEADER} bytes: {size} bytes of {len(start)}"
        )
    return _parse_header(start[:size])


# The records of a data set have few different headers, and parsing one takes longer than decoding its events.
@lru_cache(maxsize=64)
def _parse_header(header: bytes) -> NpyHeader:
    file = io.BytesIO(header)
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(file, max_header_size=LARGEST_HEADER)
    except (*_DAMAGE, tokenize.TokenError) as error:
        raise RecordError(f"its npy header is damaged ({type(error).__name__}: {error})") from error
    if dtype.hasobject:
        raise RecordError(f"its elements are Python objects ({dtype}), which are never read")
    if any(length < 0 for length in shape):
        raise RecordError(f"its npy header is damaged: shape {shape}")
    return NpyHeader(dtype, shape, fortran_order, len(header))
