"""Official npz: the dense events of one image under ``arr_0``, as ``np.savez_compressed`` writes them."""

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
from i2e_triton.formats.errors import RecordError
from i2e_triton.formats.npy import LARGEST_ARRAY, LARGEST_HEADER, NpyHeader, read_npy_header
from i2e_triton.io.atomic import write_whole

File: TypeAlias = str | os.PathLike[str] | BinaryIO

_MEMBER = "arr_0.npy"
# What reading a hostile zip may run into besides BadZipFile.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, LookupError, OverflowError)


def save_npz(file: File, events: Tensor) -> None:
    """Write the events of one image as the official data sets have them: bool, compressed, under ``arr_0``.

    Args:
        file: a path, written whole, or a binary file.
        events: dense ``[T, 2, H, W]`` of any event type.

    Raises:
        TypeError: if the events are no tensor, or of another type.
        ValueError: if a shape or value is unfit.
        OSError: if the file cannot be written.
    """
    array = dense_array(events)
    if isinstance(file, (str, os.PathLike)):
        with write_whole(Path(file)) as opened:
            np.savez_compressed(opened, array)
    else:
        np.savez_compressed(file, array)


def load_npz(file: File) -> Tensor:
    """Read the events of one image. Nothing is unpickled, and sizes are checked before memory is taken.

    Args:
        file: a path, or a seekable binary file, read from its start. Its one array, ``arr_0``, is ``[T, 2, H, W]`` of
            any bool, integer or floating-point type, with values 0 and 1.

    Returns:
        Dense events ``[T, 2, H, W]``, bool.

    Raises:
        RecordError: if it is damaged, holds anything else, or more than 2 GiB. Names the file, if that is a path.
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
        raise RecordError(f"has {size:,} bytes, more than {LARGEST_ARRAY:,}")
    file.seek(0)
    content = io.BytesIO(file.read())
    try:
        with zipfile.ZipFile(content) as archive:
            return _read_archive(archive)
    except RecordError:
        raise
    except _DAMAGE as error:
        raise RecordError(f"not what np.savez writes, or damaged ({type(error).__name__}: {error})") from error


def _read_archive(archive: zipfile.ZipFile) -> Tensor:
    if archive.namelist() != [_MEMBER]:
        raise RecordError(
            f"must hold {_MEMBER} and nothing else, holds {', '.join(archive.namelist()[:4]) or 'nothing'}"
        )
    (member,) = archive.infolist()
    if member.flag_bits & 1:
        raise RecordError(f"{_MEMBER} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RecordError(f"{_MEMBER} is compressed by method {member.compress_type}, must be stored or deflated")
    with archive.open(member) as stream:
        header = read_npy_header(stream.read(LARGEST_HEADER))
    _check_header(header, member.file_size)
    with archive.open(member) as stream:
        # With a number: without one, zipfile may inflate far more than the size that it was told.
        content = stream.read(member.file_size)
    if len(content) != member.file_size:
        raise RecordError(f"{_MEMBER} has {len(content)} bytes, must have {member.file_size}")
    return _events_of(content, header)


def _check_header(header: NpyHeader, size: int) -> None:
    if header.dtype.kind not in "biuf" or header.dtype.subdtype is not None:
        raise RecordError(f"the array must be bool or numbers, is {header.dtype}")
    if len(header.shape) != 4 or header.shape[1] != 2 or 0 in header.shape:
        raise RecordError(f"the array must be [T, 2, H, W], is {list(header.shape)}")
    if header.nbytes > LARGEST_ARRAY:
        raise RecordError(f"the array {list(header.shape)} of {header.dtype} has more than {LARGEST_ARRAY:,} bytes")
    if header.size + header.nbytes != size:
        raise RecordError(f"the array {list(header.shape)} of {header.dtype} does not fit its {size:,} bytes")


def _events_of(content: bytes, header: NpyHeader) -> Tensor:
    # A byte of a bool array can hold anything.
    dtype = np.dtype(np.uint8) if header.dtype == np.bool_ else header.dtype
    order = "F" if header.fortran_order else "C"
    values = np.frombuffer(content, dtype, offset=header.size).reshape(header.shape, order=order)  # type: ignore[call-overload]
    fired = np.not_equal(values, 0, order="C")
    if not np.array_equal(fired, values):
        raise RecordError("the array must hold 0 and 1 only")
    return torch.from_numpy(fired)
