"""Records: the events of one image as bytes, in a row of a Parquet file or a member of a tar.

An official record is ``np.save`` of a flat uint8 array: 8 bytes with T, 2, H, W as little-endian uint16, then
``np.packbits`` of the dense events, whose last byte is padded with zeros. A packed record is ``np.save`` of packed
events ``[2, H, W]``. It does not store the number of timesteps; the metadata of the file does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_timesteps
from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.npy import LARGEST_ARRAY, Content, RecordError, npy_header, read_npy_header
from i2e_triton.functional import unpack

#: Kinds of records. ``"official"``: one bit per event position. ``"packed"``: one byte per pixel and polarity.
BITS = ("official", "packed")
# An image with more pixels is encoded one timestep at a time: unpacking 8 timesteps at once takes 16 bytes per pixel.
_MAX_PIXELS_AT_ONCE = 2**20
_SHAPE = struct.Struct("<4H")
#: Limit of T, H and W: an official record stores them as uint16.
LONGEST_SIDE = 65535
_TIMESTEPS_HINT = "packed events have at most 8"


def check_bits(bits: str) -> str:
    """Return the kind of a record, one of :data:`BITS`. ``"published"`` is the former name of ``"official"``.

    Raises:
        ValueError: if ``bits`` is neither.
    """
    bits = "official" if bits == "published" else bits
    if bits not in BITS:
        raise ValueError(f"bits must be {' or '.join(BITS)}, got {bits!r}")
    return bits


def encode_record(events: Tensor) -> bytes:
    """Return the events of one image as an official record.

    Args:
        events: dense ``[T, 2, H, W]`` of any event type; T, H and W are at most 65535.

    Raises:
        TypeError: if ``events`` is not a tensor of an event type.
        ValueError: if the shape or a value is invalid.
    """
    array = dense_array(events)
    if max(array.shape) > LONGEST_SIDE:
        raise ValueError(
            f"a record can have at most {LONGEST_SIDE} timesteps, rows and columns, got shape {list(array.shape)}"
        )
    return _official_start(array.shape) + np.packbits(array).tobytes()


def encode_records(packed: Tensor, timesteps: int = 8, bits: str = "official") -> list[bytes]:
    """Return packed events as one record for each image.

    Args:
        packed: uint8 ``[B, 2, H, W]`` on the CPU; bit ``t`` is timestep ``t``; H and W are at most 65535.
        timesteps: number of timesteps, 1 to 8. Default: 8.
        bits: one of :data:`BITS`. Default: ``"official"``.

    Raises:
        TypeError: if ``packed`` is not a tensor.
        ValueError: if a shape or value is invalid, or a bit at or above ``timesteps`` is set.
    """
    _check_packed(packed)
    check_timesteps(timesteps, _TIMESTEPS_HINT)
    bits = check_bits(bits)
    images = packed.detach().numpy()
    if images.size and _last_timestep(images) >= timesteps:
        raise ValueError(f"packed has events in timestep {_last_timestep(images)}, but timesteps is {timesteps}")
    if bits == "packed":
        start = npy_header(images.shape[1:])
        return [start + image.tobytes() for image in images]
    _, polarities, height, width = images.shape
    start = _official_start((timesteps, polarities, height, width))
    if height * width > _MAX_PIXELS_AT_ONCE:
        return [b"".join((start, *_bits_by_timestep(image.reshape(-1), timesteps))) for image in images]
    masks = (1 << np.arange(timesteps, dtype=np.uint8))[:, None]
    # One buffer is reused for all images, so that it stays in the CPU cache. packbits counts any non-zero byte as 1.
    dense = np.empty((timesteps, polarities * height * width), dtype=np.uint8)
    records = []
    for image in images.reshape(len(images), dense.shape[1]):
        np.bitwise_and(image, masks, out=dense)
        records.append(start + np.packbits(dense).tobytes())
    return records


def _bits_by_timestep(packed: np.ndarray, timesteps: int) -> Iterator[bytes]:
    """Yield the bits of an official record of one image. Only one timestep is unpacked at a time."""
    remainder = np.empty(0, dtype=np.uint8)
    for timestep in range(timesteps):
        bits = np.concatenate((remainder, packed & np.uint8(1 << timestep)))
        stop = len(bits) // 8 * 8  # the bits of an incomplete byte precede those of the next timestep
        yield np.packbits(bits[:stop]).tobytes()
        remainder = bits[stop:].copy()
    yield np.packbits(remainder).tobytes()


def decode_record(record: Content, timesteps: int = 8) -> Tensor:
    """Return the dense events of a record of either kind.

    The events take at most 8 bytes of memory per byte of the record, and at most 2 GiB.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Returns:
        Dense events ``[T, 2, H, W]``, bool.

    Raises:
        RecordError: if the record is damaged, or the bytes are not a record.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    parsed = _parse(record, timesteps)
    if not parsed.official:
        return unpack(_packed_tensor(parsed), parsed.shape[0], torch.bool)
    return torch.from_numpy(_dense_bits(parsed).view(np.bool_).reshape(parsed.shape))


def decode_packed(record: Content, timesteps: int = 8) -> tuple[Tensor, int]:
    """Return the packed events of a record of either kind, and their number of timesteps.

    Peak memory is the result plus at most 8 bytes per byte of the record.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Returns:
        Packed events ``[2, H, W]``, uint8, and their number of timesteps.

    Raises:
        RecordError: if the record is damaged, the bytes are not a record, or it has more than 8 timesteps.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    parsed = _parse(record, timesteps)
    count = parsed.shape[0]
    if not parsed.official:
        return _packed_tensor(parsed), count
    if count > PACKED_TIMESTEPS:
        raise RecordError(
            f"the record has {count} timesteps, but packed events have at most {PACKED_TIMESTEPS}; use decode_record"
        )
    steps = _dense_bits(parsed).reshape(count, -1)
    packed = steps[-1].copy()
    # From the last timestep to the first: shift left by one, then set bit 0.
    for step in steps[-2::-1]:
        np.add(packed, packed, out=packed)
        np.bitwise_or(packed, step, out=packed)
    return torch.from_numpy(packed.reshape(parsed.shape[1:])), count


def stack_packed(records: Sequence[Content], timesteps: int = 8) -> Tensor | None:
    """Return the packed events of several packed records of equal shape, in one piece of memory.

    It takes a third of the time of :func:`decode_packed` for each record.

    Args:
        records: the bytes of one or more records.
        timesteps: number of timesteps of the records, 1 to 8. Default: 8.

    Returns:
        Packed events ``[B, 2, H, W]``, uint8, or None if the records are not all packed records with the same header,
        or one is damaged. :func:`decode_packed` then decodes them, and raises an error for a damaged one.
    """
    try:
        first = _parse(records[0], timesteps)
    except RecordError:
        return None
    start = len(records[0]) - len(first.events)
    header, length = bytes(records[0][:start]), len(records[0])
    if first.official or any(len(record) != length or bytes(record[:start]) != header for record in records):
        return None
    joined = bytearray().join([memoryview(record)[start:] for record in records])
    events = torch.frombuffer(joined, dtype=torch.uint8).view(len(records), *first.shape[1:])
    if first.shape[0] < PACKED_TIMESTEPS and _last_timestep(events.numpy()) >= first.shape[0]:
        return None
    return events


def record_shape(record: Content, timesteps: int = 8) -> tuple[int, int, int, int]:
    """Return T, 2, H, W of the events of a record. No events are decoded, but the length of the record is checked.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Raises:
        RecordError: if the record is damaged, or the bytes are not a record.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    return _parse(record, timesteps).shape


class _ParsedRecord(NamedTuple):
    """Shape and content of a record. The length of ``events`` has been checked."""

    official: bool
    shape: tuple[int, int, int, int]
    events: memoryview  #: one bit per event (official), or one byte per pixel and polarity (packed)


def _parse(record: Content, timesteps: int) -> _ParsedRecord:
    try:
        content = memoryview(record).cast("B")
    except TypeError as error:
        raise TypeError(f"record must be contiguous bytes, got {type(record).__name__}") from error
    header = read_npy_header(content)
    if header.dtype != np.uint8 or header.fortran_order or len(header.shape) not in (1, 3):
        order = ", Fortran order" if header.fortran_order else ""
        raise RecordError(
            f"the record must be uint8 with 1 or 3 dimensions in C order, got {header.dtype} {header.shape}{order}"
        )
    elements = content[header.size :]
    if header.nbytes != len(elements):
        raise RecordError(
            f"an array of shape {header.shape} has {header.nbytes} bytes, but {len(elements)} bytes follow the header"
        )
    if len(header.shape) == 3:
        return _ParsedRecord(False, _packed_shape(timesteps, header.shape), elements)
    return _parse_official(elements)


def _parse_official(elements: memoryview) -> _ParsedRecord:
    if len(elements) < _SHAPE.size:
        raise RecordError(f"{len(elements)} bytes follow the header, but the shape of the events takes {_SHAPE.size}")
    shape = _checked_shape(_SHAPE.unpack_from(elements))
    events = elements[_SHAPE.size :]
    count = math.prod(shape)
    if len(events) != -(-count // 8):
        raise RecordError(f"events {list(shape)} take {-(-count // 8)} bytes, but {len(events)} bytes follow the shape")
    if count % 8 and events[-1] & (0xFF >> count % 8):
        raise RecordError(f"the padding after the {count} bits of the events {list(shape)} must be 0")
    return _ParsedRecord(True, shape, events)


# Cached, because a data set has few different shapes.
@lru_cache(maxsize=64)
def _packed_shape(timesteps: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    check_timesteps(timesteps, _TIMESTEPS_HINT)
    return _checked_shape((timesteps, *shape))


@lru_cache(maxsize=64)
def _checked_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the shape that a record stores. Raise a RecordError if it is out of range."""
    timesteps, polarities, height, width = shape
    if polarities != 2 or not all(1 <= length <= LONGEST_SIDE for length in shape):
        raise RecordError(f"events must be [T, 2, H, W] with T, H, W from 1 to {LONGEST_SIDE}, got {list(shape)}")
    if timesteps * polarities * height * width > LARGEST_ARRAY:
        raise RecordError(f"dense events {list(shape)} take more than {LARGEST_ARRAY:,} bytes")
    return timesteps, polarities, height, width


def _dense_bits(parsed: _ParsedRecord) -> np.ndarray:
    """Return the bits of an official record as a flat uint8 array of 0 and 1."""
    return np.unpackbits(np.frombuffer(parsed.events, np.uint8), count=math.prod(parsed.shape))


def _packed_tensor(parsed: _ParsedRecord) -> Tensor:
    packed = np.frombuffer(parsed.events, np.uint8).reshape(parsed.shape[1:])
    if parsed.shape[0] < PACKED_TIMESTEPS and _last_timestep(packed) >= parsed.shape[0]:
        raise RecordError(
            f"the record has events in timestep {_last_timestep(packed)}, but {parsed.shape[0]} timesteps"
        )
    return torch.from_numpy(packed.copy())


def _last_timestep(packed: np.ndarray) -> int:
    """Return the number of the highest bit that is set in any byte, or -1 if no bit is set."""
    return int(packed.max()).bit_length() - 1


def _official_start(shape: tuple[int, ...]) -> bytes:
    """Return the header and shape that precede the bits of an official record."""
    return npy_header((_SHAPE.size + -(-math.prod(shape) // 8),)) + _SHAPE.pack(*shape)


def _check_packed(packed: Tensor) -> None:
    if not isinstance(packed, Tensor):
        raise TypeError(f"packed must be a tensor, got {type(packed).__name__}")
    if packed.dtype != torch.uint8 or packed.dim() != 4 or packed.shape[1] != 2 or 0 in packed.shape[1:]:
        raise ValueError(f"packed must be uint8 [B, 2, H, W], got {packed.dtype} {list(packed.shape)}")
    if packed.device.type != "cpu":
        raise ValueError(f"packed must be on the CPU, got {packed.device}; move it with .cpu()")
    if max(packed.shape[2:]) > LONGEST_SIDE:
        raise ValueError(f"a record can have at most {LONGEST_SIDE} rows and columns, got shape {list(packed.shape)}")
