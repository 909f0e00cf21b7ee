"""Official npz files: the dense events of one image under ``arr_0``, as ``np.savez_compressed`` writes them."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.npy import LARGEST_ARRAY, LARGEST_HEADER, NpyHeader, RecordError, read_npy_header
from i2e_triton.io.atomic import write_whole

File: TypeAlias = str | os.PathLike[str] | BinaryIO

_MEMBER = "arr_0.npy"
_MAX_DEFLATE_RATIO = 1032  # deflate expands one byte of the archive to at most 1032 bytes
# Errors that a damaged or malicious zip archive raises.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, LookupError, OverflowError)


def save_npz(file: File, events: Tensor) -> None:
    """Write the events of one image as an official npz file: a compressed bool array ``arr_0``.

    Args:
        file: a path, which is written atomically, or a binary file.
        events: dense ``[T, 2, H, W]`` of any event type.

    Raises:
        TypeError: if ``events`` is not a tensor of an event type.
        ValueError: if the shape or a value is invalid.
        OSError: if the file cannot be written.
    """
    array = dense_array(events)
    if isinstance(file, (str, os.PathLike)):
        with write_whole(Path(file)) as opened:
            np.savez_compressed(opened, array)
    else:
        np.savez_compressed(file, array)


def save_packed_npz(file: BinaryIO, packed: Tensor, timesteps: int) -> None:
    """Write packed events ``[2, H, W]`` of one image: the same bytes as :func:`save_npz` writes for the dense events.

    Peak memory is 4 bytes per pixel plus the size of the file, because only one timestep is unpacked at a time. The
    dense events of a large image take 16 bytes per pixel.
    """
    events = packed.numpy()
    header = {"descr": "|b1", "fortran_order": False, "shape": (timesteps, *events.shape)}
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(_MEMBER, "w", force_zip64=True) as member,  # NumPy always writes zip64
    ):
        npy_format.write_array_header_1_0(member, header)
        for timestep in range(timesteps):
            member.write(np.not_equal(events & np.uint8(1 << timestep), 0).data)


def load_npz(file: File) -> Tensor:
    """Return the events of an npz file. Nothing is unpickled, and sizes are checked before memory is allocated.

    Peak memory is the size of the file plus the size of the array, three times the size of the result (one byte per
    event position) and 30 MiB. The array has at most 1032 bytes per byte of the file, and at most 2 GiB.

    Args:
        file: a path, or a seekable binary file, which is read from its start. The file must contain one array,
            ``arr_0``: ``[T, 2, H, W]`` of any bool, integer or floating-point type, with values 0 and 1.

    Returns:
        Dense events ``[T, 2, H, W]``, bool.

    Raises:
        RecordError: if the file is damaged, contains anything else, or has more than 2 GiB. The message names the file
            if it is a path.
        OSError: if the file cannot be opened or read.
    """
    if isinstance(file, (str, os.PathLike)):
        try:
            with Path(file).open("rb") as opened:
                return load_npz(opened)
        except RecordError as error:
            raise RecordError(f"{os.fspath(file)}: {error}") from error
    size = file.seek(0, os.SEEK_END)
    if size > LARGEST_ARRAY:
        raise RecordError(f"the file has {size:,} bytes, more than the limit of {LARGEST_ARRAY:,}")
    file.seek(0)
    content = io.BytesIO(file.read())
    try:
        with zipfile.ZipFile(content) as archive:
            return _read_archive(archive)
    except RecordError:
        raise
    except _DAMAGE as error:
        raise RecordError(f"not written by np.savez, or damaged ({type(error).__name__}: {error})") from error


def _read_archive(archive: zipfile.ZipFile) -> Tensor:
    if archive.namelist() != [_MEMBER]:
        raise RecordError(
            f"the archive must contain only {_MEMBER}, got {', '.join(archive.namelist()[:4]) or 'no file'}"
        )
    (member,) = archive.infolist()
    if member.flag_bits & 1:
        raise RecordError(f"{_MEMBER} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RecordError(f"{_MEMBER} must be stored or deflated, got compression method {member.compress_type}")
    with archive.open(member) as stream:
        header = read_npy_header(stream.read(LARGEST_HEADER))
    _check_header(header, member.file_size)
    if member.file_size > max(LARGEST_HEADER, member.compress_size * _MAX_DEFLATE_RATIO):
        raise RecordError(
            f"{_MEMBER} is damaged: {member.compress_size:,} compressed bytes cannot expand to {member.file_size:,}"
        )
    with archive.open(member) as stream:
        return _read_events(stream)


def _check_header(header: NpyHeader, size: int) -> None:
    if header.dtype.kind not in "biuf" or header.dtype.subdtype is not None:
        raise RecordError(f"the array must be bool or numbers, got {header.dtype}")
    if len(header.shape) != 4 or header.shape[1] != 2 or 0 in header.shape:
        raise RecordError(f"the array must be [T, 2, H, W], got {list(header.shape)}")
    if header.nbytes > LARGEST_ARRAY:
        raise RecordError(f"the array {list(header.shape)} of {header.dtype} has more than {LARGEST_ARRAY:,} bytes")
    if header.size + header.nbytes != size:
        raise RecordError(
            f"{_MEMBER} must have {header.size + header.nbytes:,} bytes for {list(header.shape)} of {header.dtype}, "
            f"got {size:,}"
        )


def _read_events(stream: IO[bytes]) -> Tensor:
    """Return the events of the array, bool. Its size has been checked."""
    array = npy_format.read_array(stream, allow_pickle=False, max_header_size=LARGEST_HEADER)
    # A byte of a bool array in a file can have any value.
    values = array.view(np.uint8) if array.dtype == np.bool_ else array
    fired = values.astype(np.bool_, order="C")
    if not np.array_equal(fired, values):
        raise RecordError("the values of the array must be 0 and 1")
    return torch.from_numpy(fired)
