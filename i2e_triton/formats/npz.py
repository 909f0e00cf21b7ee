"""Official npz files: the dense events of one image under ``arr_0``, as ``np.savez_compressed`` writes them."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import torch
from torch import Tensor

from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.npy import LARGEST_ARRAY, LARGEST_HEADER, NpyHeader, RecordError, read_npy_header
from i2e_triton.io.atomic import write_whole

File: TypeAlias = str | os.PathLike[str] | BinaryIO

_MEMBER = "arr_0.npy"
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


def load_npz(file: File) -> Tensor:
    """Return the events of an npz file. Nothing is unpickled, and sizes are checked before memory is allocated.

    Args:
        file: a path, or a seekable binary file, which is read from its start. It holds one array, ``arr_0``:
            ``[T, 2, H, W]`` of any bool, integer or floating-point type, with values 0 and 1.

    Returns:
        Dense events ``[T, 2, H, W]``, bool.

    Raises:
        RecordError: if the file is damaged, holds something else, or has more than 2 GiB. The message names the file if
            it is a path.
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
        raise RecordError(f"has {size:,} bytes, at most {LARGEST_ARRAY:,} are read")
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
        raise RecordError(f"must hold only {_MEMBER}, got {', '.join(archive.namelist()[:4]) or 'an empty archive'}")
    (member,) = archive.infolist()
    if member.flag_bits & 1:
        raise RecordError(f"{_MEMBER} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RecordError(f"{_MEMBER} must be stored or deflated, got compression method {member.compress_type}")
    with archive.open(member) as stream:
        header = read_npy_header(stream.read(LARGEST_HEADER))
    _check_header(header, member.file_size)
    with archive.open(member) as stream:
        # Without a size, zipfile may inflate far more than the size in its directory.
        content = stream.read(member.file_size)
    if len(content) != member.file_size:
        raise RecordError(f"{_MEMBER} must have {member.file_size} bytes, got {len(content)}")
    return _events_of(content, header)


def _check_header(header: NpyHeader, size: int) -> None:
    if header.dtype.kind not in "biuf" or header.dtype.subdtype is not None:
        raise RecordError(f"the array must be bool or numbers, got {header.dtype}")
    if len(header.shape) != 4 or header.shape[1] != 2 or 0 in header.shape:
        raise RecordError(f"the array must be [T, 2, H, W], got {list(header.shape)}")
    if header.nbytes > LARGEST_ARRAY:
        raise RecordError(f"the array {list(header.shape)} of {header.dtype} has more than {LARGEST_ARRAY:,} bytes")
    if header.size + header.nbytes != size:
        raise RecordError(f"the array {list(header.shape)} of {header.dtype} does not match its {size:,} bytes")


def _events_of(content: bytes, header: NpyHeader) -> Tensor:
    # A byte of a bool array in a file can have any value.
    dtype = np.dtype(np.uint8) if header.dtype == np.bool_ else header.dtype
    order = "F" if header.fortran_order else "C"
    values = np.frombuffer(content, dtype, offset=header.size).reshape(header.shape, order=order)  # type: ignore[call-overload]
    fired = np.not_equal(values, 0, order="C")
    if not np.array_equal(fired, values):
        raise RecordError("the values of the array must be 0 and 1")
    return torch.from_numpy(fired)
