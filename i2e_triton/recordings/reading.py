"""Read the events of a recording, a packet at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from i2e_triton.formats.event_list import EVENT_DTYPE
from i2e_triton.install_hints import needs_extra
from i2e_triton.recordings import hdf5
from i2e_triton.recordings.errors import RecordingError

_HDF5 = (".hdf5", ".h5")
#: Suffixes of the files that can be read.
SUFFIXES = (".aedat4", ".raw", ".dat", ".bin", *_HDF5)

_UNKNOWN_SIZE = 65_535, 65_535
_MAX_PIXELS = 2**26  # a damaged header can state any size
_EVENT_BYTES = {".dat": 8, ".bin": 5}
_EVT_BYTES = {"2": 4, "2.0": 4, "21": 8, "2.1": 8, "3": 2, "3.0": 2}  # bytes of a word, by version
_EVT_VERSION = re.compile(rb"^% *(?:evt|format) +(?:EVT)?([\d.]+)", re.MULTILINE | re.IGNORECASE)
_LARGEST_HEADER = 2**20
_AEDAT4_MAGIC = b"#!AER-DAT4.0\r\n"


class Recording:
    """The events of a file, read in packets. See :func:`open_recording`.

    Damage inside of an AEDAT4 file, other than truncation, can end the process: faery 0.7 then aborts.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path = path
        self.size = size  #: height and width of the sensor in pixels

    def packets(self) -> Iterator[np.ndarray]:
        """Yield the events in arrays with the fields t (microseconds), x, y and p (1 is ON).

        Raises:
            RecordingError: if the file is truncated or damaged, or an event is outside of the sensor.
        """
        count = 0
        try:
            for packet in _packets(self.path, self.size):
                for name, limit in (("x", self.size[1]), ("y", self.size[0])):
                    outside = np.flatnonzero(packet[name] >= limit)
                    if len(outside):
                        event, found = count + int(outside[0]), packet[name][outside[0]]
                        raise RecordingError(
                            f"{self.path}: event {event}: {name} must be less than {limit}, got {found}"
                        )
                count += len(packet)
                yield packet
        except BaseException as error:
            if not _is_from_faery(error):
                raise
            raise RecordingError(f"{self.path}: damaged or truncated after {count:,} events: {error}") from error
        if not count:
            raise RecordingError(f"{self.path}: contains no events in {self.path.stat().st_size:,} bytes")


def open_recording(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Recording:
    """Open a recording, and check what its size and header say. Events are read by :meth:`Recording.packets`.

    Args:
        path: path that ends in ``.aedat4``, ``.raw``, ``.dat``, ``.bin``, ``.hdf5`` or ``.h5``.
        size: height and width of the sensor in pixels. Default: None, those in the file. ``.bin`` files have none.

    Raises:
        RecordingError: if the file is empty, truncated or not a recording. The message says at which byte.
        ValueError: if the suffix is unknown, or the size of the sensor is unknown or too large.
        ModuleNotFoundError: if the library that reads the format is not installed.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"the suffix of a recording must be one of {', '.join(SUFFIXES)}, got {path.name!r}")
    with path.open("rb") as file:
        _check_length(file, path, suffix)
    if size is None:
        size = None if suffix == ".bin" else _stated_size(path)
    if size is None:
        raise ValueError(f"{path}: the file does not state the size of the sensor; pass the height and width")
    if size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"{path}: a sensor can have at most {_MAX_PIXELS:,} pixels, got {size[0]} x {size[1]}")
    return Recording(path, size)


def _check_length(file: BinaryIO, path: Path, suffix: str) -> None:
    """Raise a RecordingError if the file is empty, has no header of its format, or ends within an event."""
    length = os.fstat(file.fileno()).st_size
    if not length:
        raise RecordingError(f"{path}: the file is empty")
    start, unit = 0, _EVENT_BYTES.get(suffix, 1)
    if suffix == ".aedat4":
        if file.read(len(_AEDAT4_MAGIC)) != _AEDAT4_MAGIC:
            raise RecordingError(f"{path}: not an AEDAT 4 file: it must begin with {_AEDAT4_MAGIC!r} at byte 0")
    elif suffix in (".raw", ".dat"):
        header = _header(file)
        version = _EVT_VERSION.search(header)
        start = len(header)
        if suffix == ".raw":
            if version is None or (unit := _EVT_BYTES.get(version[1].decode(), 0)) == 0:
                raise RecordingError(f"{path}: not a RAW file: no EVT version 2, 2.1 or 3 in the header at byte 0")
        elif header:
            start += 2  # type and size of an event
        else:
            raise RecordingError(f"{path}: not a DAT file: no header at byte 0")
    if extra := (length - start) % unit:
        raise RecordingError(
            f"{path}: truncated: it ends at byte {length:,}, within the event at byte {length - extra:,}"
        )


def _header(file: BinaryIO) -> bytes:
    """Return the lines at the start of a file that begin with ``%``."""
    start = file.read(_LARGEST_HEADER)
    end = 0
    while start[end : end + 1] == b"%" and (line := start.find(b"\n", end)) >= 0:
        last = start[end : line + 1].strip().lower() in (b"% end", b"%end")
        end = line + 1
        if last:
            break
    return start[:end]


def _stated_size(path: Path) -> tuple[int, int] | None:
    if path.suffix.lower() in _HDF5:
        return hdf5.stated_size(path)
    faery = _faery()
    try:
        width, height = faery.events_stream_from_file(path, dimensions_fallback=_UNKNOWN_SIZE).dimensions()
    except BaseException as error:
        if not _is_from_faery(error):
            raise
        raise RecordingError(f"{path}: not a recording, or damaged at its start: {error}") from error
    return None if (width, height) == _UNKNOWN_SIZE else (height, width)


def _packets(path: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    if path.suffix.lower() in _HDF5:
        yield from hdf5.packets(path)
        return
    if path.suffix.lower() != ".bin":
        height, width = size
        yield from _faery().events_stream_from_file(path, dimensions_fallback=(width, height))
        return
    with needs_extra("reading .bin files", "tonic"):
        from tonic.io import read_mnist_file
    events = read_mnist_file(str(path), EVENT_DTYPE)
    if len(events):
        yield events


def _faery() -> Any:
    with needs_extra("reading recordings", "recordings"):
        import faery

        return faery


def _is_from_faery(error: BaseException) -> bool:
    """Return whether faery raised an error about a file.

    It raises RuntimeError, AssertionError, Exception itself, and for some damage a PanicException, which is no
    Exception.
    """
    return (
        isinstance(error, (RuntimeError, AssertionError))
        or type(error) is Exception
        or type(error).__name__ == "PanicException"
    )
