"""Records: the events of one image as bytes, in a row of a Parquet file or a member of a tar.

An official record is ``np.save`` of a flat uint8 array: 8 bytes with T, 2, H, W as little-endian uint16, then
``np.packbits`` of the dense events, whose last byte is padded with zeros. A packed record is ``np.save`` of packed
events ``[2, H, W]``. It does not store the number of timesteps; the metadata of the file does.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_timesteps
from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.npy import LARGEST_ARRAY, Content, RecordError, npy_header, read_npy_header
from i2e_triton.functional import unpack

#: Kinds of records: one bit per event position, as in the official data sets, or one byte per pixel and polarity.
BITS = ("official", "packed")
_SHAPE = struct.Struct("<4H")
#: Limit of T, H and W in an official record, which stores them as uint16.
LONGEST_SIDE = 65535
_BEYOND = "packed events have at most 8"


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
    shape = _check_lengths(array.shape)
    return _official_start(shape) + np.packbits(array).tobytes()


def encode_records(packed: Tensor, timesteps: int = 8, bits: str = "official") -> list[bytes]:
    """Return packed events as one record for each image.

    Args:
        packed: uint8 ``[B, 2, H, W]`` on the CPU; bit ``t`` is timestep ``t``; H and W are at most 65535.
        timesteps: number of timesteps, 1 to 8. Default: 8.
        bits: one of :data:`BITS`. Default: ``"official"``.

    Raises:
        TypeError: if ``packed`` is not a tensor.
        ValueError: if a shape or value is invalid, or there are events after the last timestep.
    """
    _check_packed(packed)
    check_timesteps(timesteps, _BEYOND)
    bits = check_bits(bits)
    images = packed.detach().numpy()
    if images.size and _last_timestep(images) >= timesteps:
        raise ValueError(f"packed has events in timestep {_last_timestep(images)}, but timesteps is {timesteps}")
    if bits == "packed":
        start = npy_header(images.shape[1:])
        return [start + image.tobytes() for image in images]
    _, polarities, height, width = images.shape
    start = _official_start((timesteps, polarities, height, width))
    masks = (1 << np.arange(timesteps, dtype=np.uint8))[:, None]
    # One small buffer for all images stays in the CPU cache. packbits counts any non-zero byte as 1.
    dense = np.empty((timesteps, polarities * height * width), dtype=np.uint8)
    records = []
    for image in images.reshape(len(images), dense.shape[1]):
        np.bitwise_and(image, masks, out=dense)
        records.append(start + np.packbits(dense).tobytes())
    return records


def decode_record(record: Content, timesteps: int = 8) -> Tensor:
    """Return the dense events of a record of either kind.

    They take 8 bytes for each byte of the record, and at most 2 GiB.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Returns:
        Dense events ``[T, 2, H, W]``, bool.

    Raises:
        RecordError: if the record is damaged, or the bytes are not a record.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    opened = _open(record, timesteps)
    if not opened.official:
        return unpack(_packed_tensor(opened), opened.shape[0], torch.bool)
    return torch.from_numpy(_dense_bits(opened).view(np.bool_).reshape(opened.shape))


def decode_packed(record: Content, timesteps: int = 8) -> tuple[Tensor, int]:
    """Return the packed events of a record of either kind, and their number of timesteps.

    Decoding takes at most 8 bytes of memory for each byte of the record, and the result.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Returns:
        Packed events ``[2, H, W]``, uint8, and their number of timesteps.

    Raises:
        RecordError: if the record is damaged, the bytes are not a record, or it has more than 8 timesteps.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    opened = _open(record, timesteps)
    count = opened.shape[0]
    if not opened.official:
        return _packed_tensor(opened), count
    if count > PACKED_TIMESTEPS:
        raise RecordError(f"has {count} timesteps, packed events have at most {PACKED_TIMESTEPS}; read it dense")
    steps = _dense_bits(opened).reshape(count, -1)
    packed = steps[-1].copy()
    for step in steps[-2::-1]:  # the last timestep is the highest bit
        np.add(packed, packed, out=packed)
        np.bitwise_or(packed, step, out=packed)
    return torch.from_numpy(packed.reshape(opened.shape[1:])), count


def record_shape(record: Content, timesteps: int = 8) -> tuple[int, int, int, int]:
    """Return T, 2, H, W of the events of a record. The header is checked against the length; nothing is decoded.

    Args:
        record: the bytes of the record.
        timesteps: number of timesteps of a packed record, 1 to 8. An official record stores its own. Default: 8.

    Raises:
        RecordError: if the record is damaged, or the bytes are not a record.
        ValueError: if the record is packed and ``timesteps`` is not 1 to 8.
    """
    return _open(record, timesteps).shape


class _Opened(NamedTuple):
    """A record whose header matches its length."""

    official: bool
    shape: tuple[int, int, int, int]
    events: memoryview  #: bits of an official record, bytes of a packed one


def _open(record: Content, timesteps: int) -> _Opened:
    try:
        content = memoryview(record).cast("B")
    except TypeError as error:
        raise TypeError(f"record must be contiguous bytes, got {type(record).__name__}") from error
    header = read_npy_header(content)
    if header.dtype != np.uint8 or header.fortran_order or len(header.shape) not in (1, 3):
        order = ", Fortran order" if header.fortran_order else ""
        raise RecordError(f"must be uint8 with 1 or 3 dimensions in C order, got {header.dtype} {header.shape}{order}")
    elements = content[header.size :]
    if header.nbytes != len(elements):
        raise RecordError(f"the header says {header.nbytes} bytes of {header.shape}, but {len(elements)} bytes follow")
    if len(header.shape) == 3:
        check_timesteps(timesteps, _BEYOND)
        return _Opened(False, _read_lengths((timesteps, *header.shape)), elements)
    return _open_official(elements)


def _open_official(elements: memoryview) -> _Opened:
    if len(elements) < _SHAPE.size:
        raise RecordError(f"has {len(elements)} bytes, but the shape of its events takes {_SHAPE.size}")
    shape = _read_lengths(_SHAPE.unpack_from(elements))
    events = elements[_SHAPE.size :]
    count = shape[0] * shape[1] * shape[2] * shape[3]
    if len(events) != -(-count // 8):
        raise RecordError(f"events {list(shape)} take {-(-count // 8)} bytes, but {len(events)} bytes follow")
    if count % 8 and events[-1] & (0xFF >> count % 8):
        raise RecordError(f"has bits set after the {count} bits of its events {list(shape)}")
    return _Opened(True, shape, events)


def _read_lengths(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    timesteps, polarities, height, width = shape
    if polarities != 2 or not all(1 <= length <= LONGEST_SIDE for length in shape):
        raise RecordError(f"events must be [T, 2, H, W] with T, H, W from 1 to {LONGEST_SIDE}, got {list(shape)}")
    if timesteps * polarities * height * width > LARGEST_ARRAY:
        raise RecordError(f"dense events {list(shape)} take more than {LARGEST_ARRAY:,} bytes")
    return timesteps, polarities, height, width


def _dense_bits(opened: _Opened) -> np.ndarray:
    """Return the bits of an official record as bytes, 0 or 1."""
    timesteps, polarities, height, width = opened.shape
    return np.unpackbits(np.frombuffer(opened.events, np.uint8), count=timesteps * polarities * height * width)


def _packed_tensor(opened: _Opened) -> Tensor:
    packed = np.frombuffer(opened.events, np.uint8).reshape(opened.shape[1:])
    if _last_timestep(packed) >= opened.shape[0]:
        raise RecordError(
            f"has events in timestep {_last_timestep(packed)}, but its number of timesteps is {opened.shape[0]}"
        )
    return torch.from_numpy(packed.copy())


def _last_timestep(packed: np.ndarray) -> int:
    """Return the highest bit that is set in any byte, -1 if there is none."""
    return int(packed.max()).bit_length() - 1


def _official_start(shape: tuple[int, int, int, int]) -> bytes:
    """Return the header and shape that precede the bits of an official record."""
    timesteps, polarities, height, width = shape
    count = timesteps * polarities * height * width
    return npy_header((_SHAPE.size + -(-count // 8),)) + _SHAPE.pack(*shape)


def _check_lengths(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    timesteps, polarities, height, width = shape
    if max(shape) > LONGEST_SIDE:
        raise ValueError(
            f"an official record holds at most {LONGEST_SIDE} timesteps, rows and columns, got {list(shape)}"
        )
    return timesteps, polarities, height, width


def _check_packed(packed: Tensor) -> None:
    if not isinstance(packed, Tensor):
        raise TypeError(f"packed must be a tensor, got {type(packed).__name__}")
    if packed.dtype != torch.uint8 or packed.dim() != 4 or packed.shape[1] != 2 or 0 in packed.shape[1:]:
        raise ValueError(f"packed must be uint8 [B, 2, H, W], got {packed.dtype} {list(packed.shape)}")
    if packed.device.type != "cpu":
        raise ValueError(f"packed must be on the CPU, got {packed.device}; move it with .cpu()")
    _check_lengths((1, *packed.shape[1:]))
