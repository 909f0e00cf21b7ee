"""Files of event lists: CSV, ``.npy`` and HDF5.

* ``.csv``: a line ``x,y,t,p``, then one line per event, with ``p`` as 0 or 1.
* ``.npy``: the structured array, written by ``np.save``.
* ``.h5``: one-dimensional datasets ``x``, ``y``, ``t`` and ``p`` (uint8) in the group ``events``. The file has the
  attributes ``timesteps``, ``height``, ``width`` and ``timestep_us``, which the list does not contain.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from torch import Tensor

from i2e_triton.formats.event_list import EVENT_DTYPE, TIMESTEP_US, check_fields, checked_event_list, to_event_list
from i2e_triton.formats.npy import LARGEST_ARRAY, LARGEST_HEADER, RecordError, read_npy_header
from i2e_triton.io.atomic import write_whole

EVENT_LIST_SUFFIXES = (".csv", ".npy", ".h5")

_COLUMNS = ("x", "y", "t", "p")
_HEADING = b"x,y,t,p"
_ROW = re.compile(rb"\d{1,5},\d{1,5},\d{1,18},[01]\r?\n?")
_ROWS_AT_ONCE = 1 << 16
_LARGEST_CHUNK = 1 << 20
_CHUNKS_AT_ONCE = 1 << 10  # HDF5 takes 4 kB for each chunk of a read
_LARGEST_RATIO = 1032  # deflate: of the bytes of a column to those in the file
_H5_DTYPES = {"x": np.int16, "y": np.int16, "t": np.int64, "p": np.uint8}


def save_event_list(path: str | os.PathLike[str], events: Tensor, timestep_us: int = TIMESTEP_US) -> None:
    """Write the events of one image as a list. The suffix of the path selects the format.

    Args:
        path: path that ends in ``.csv``, ``.npy`` or ``.h5``. The file is written atomically.
        events: dense ``[T, 2, H, W]`` of any event type; H and W are at most 32768.
        timestep_us: duration of a timestep in microseconds. Default: 1000.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the suffix is another, or the shape or a value is invalid.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    suffix = _suffix(path)
    listed = to_event_list(events, timestep_us)
    with write_whole(path) as file:
        if suffix == ".csv":
            write_csv(file, listed)
        elif suffix == ".npy":
            np.save(file, listed, allow_pickle=False)
        else:
            write_h5(file, listed, (events.shape[0], events.shape[2], events.shape[3]), timestep_us)


def load_event_list(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the event list of a file. Nothing is unpickled, and sizes are checked before memory is allocated.

    :func:`~i2e_triton.formats.from_event_list` converts it to dense events. HDF5 files have its other arguments as
    attributes: ``h5py.File(path).attrs["timesteps"]``.

    Reading takes at most 100 bytes of memory for each event, and 100 MiB. An event takes at least 8 bytes of a CSV file
    and 4 bytes of a ``.npy`` file. An HDF5 file is compressed: it has at most 1032 events for each byte. A list has at
    most 165 million events (2 GiB).

    Args:
        path: path that ends in ``.csv``, ``.npy`` or ``.h5``.

    Returns:
        Array ``[N]`` of :data:`EVENT_DTYPE` in the order of the file. ``p`` 0 is ON, 1 is OFF.

    Raises:
        RecordError: if the file is damaged or holds something else. The message names the file and the line or event.
        ValueError: if the suffix is another.
        OSError: if the file cannot be opened or read.
    """
    path = Path(path)
    read = {".csv": _read_csv, ".npy": _read_npy, ".h5": _read_h5}[_suffix(path)]
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_ARRAY:
                raise RecordError(f"has {size:,} bytes, at most {LARGEST_ARRAY:,} are read")
            return read(file)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error


def write_csv(file: BinaryIO, events: np.ndarray) -> None:
    """Write an event list as CSV."""
    file.write(_HEADING + b"\n")
    for start in range(0, len(events), _ROWS_AT_ONCE):
        rows = events[start : start + _ROWS_AT_ONCE]
        columns = (rows[name].astype(np.int64).tolist() for name in _COLUMNS)
        file.write("".join(f"{x},{y},{t},{p}\n" for x, y, t, p in zip(*columns)).encode())


def write_h5(file: BinaryIO, events: np.ndarray, shape: tuple[int, int, int], timestep_us: int) -> None:
    """Write an event list as HDF5. ``shape`` is T, H, W."""
    content = io.BytesIO()  # HDF5 reads back what it writes, and ``file`` may be write-only
    with h5py.File(content, "w") as h5:
        timesteps, height, width = shape
        h5.attrs.update(timesteps=timesteps, height=height, width=width, timestep_us=timestep_us)
        group = h5.create_group("events")
        for name in _COLUMNS:
            values = events[name].astype(_H5_DTYPES[name])
            group.create_dataset(name, data=values, chunks=True, compression="gzip", shuffle=True, maxshape=(None,))
    file.write(content.getbuffer())


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in EVENT_LIST_SUFFIXES:
        raise ValueError(f"the suffix of an event list must be {', '.join(EVENT_LIST_SUFFIXES)}, got {path.name!r}")
    return suffix


def _read_csv(file: BinaryIO) -> np.ndarray:
    heading = file.readline(len(_HEADING) + 2)
    if heading.rstrip(b"\r\n") != _HEADING:
        raise RecordError(f"line 1 must be {_HEADING.decode()}, got {heading!r}")
    rows = _rows(file)
    parts = [np.empty(0, EVENT_DTYPE)]
    first = 2
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        table = np.loadtxt(some, [(name, np.int64) for name in _COLUMNS], delimiter=",", ndmin=1)
        parts.append(checked_event_list(table, "line", first))
        first += len(some)
    return np.concatenate(parts)


def _rows(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines after the heading. Raise an error at a line that is not an event, without reading all of it."""
    for line, row in enumerate(iter(lambda: file.readline(64), b""), 2):
        if not _ROW.fullmatch(row):
            raise RecordError(f"line {line} must be x,y,t,p with p 0 or 1, got {row!r}")
        yield row


def _read_npy(file: BinaryIO) -> np.ndarray:
    header = read_npy_header(file.read(LARGEST_HEADER))
    check_fields(header.dtype)
    if len(header.shape) != 1:
        raise RecordError(f"events must be a list [N], got shape {list(header.shape)}")
    _check_events(header.shape[0])
    if header.size + header.nbytes != os.fstat(file.fileno()).st_size:
        raise RecordError(f"the header says {header.nbytes} bytes of events, but another number follows")
    file.seek(header.size)
    return checked_event_list(np.frombuffer(file.read(), header.dtype))


def _read_h5(file: BinaryIO) -> np.ndarray:
    size = os.fstat(file.fileno()).st_size
    try:
        with h5py.File(file, "r") as h5:
            columns = {name: _column(h5, name) for name in _COLUMNS}
            lengths = {len(column) for column in columns.values()}
            if len(lengths) != 1:
                raise RecordError(f"x, y, t and p have different lengths: {sorted(lengths)}")
            (length,) = lengths
            _check_events(length)
            for name, column in columns.items():
                _check_stored(name, column, size)
            events = np.empty(length, [(name, column.dtype) for name, column in columns.items()])
            for name, column in columns.items():
                _read_column(column, events[name])
    except RecordError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RecordError(f"not an HDF5 file, or damaged ({type(error).__name__}: {error})") from error
    return checked_event_list(events)


def _column(h5: h5py.File, name: str) -> Any:
    """Return a dataset that is stored in the file itself: a link could point to any file of the user."""
    links = [h5.get(path, getlink=True) for path in ("events", f"events/{name}")]
    dataset = h5[f"events/{name}"] if all(isinstance(link, h5py.HardLink) for link in links) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise RecordError(f"must hold a dataset events/{name} in the file itself")
    if dataset.ndim != 1 or dataset.dtype.kind not in "biu":
        raise RecordError(f"events/{name} must be a list of integers, got {dataset.dtype} {list(dataset.shape or ())}")
    if dataset.chunks and dataset.chunks[0] > max(len(dataset), _LARGEST_CHUNK):
        raise RecordError(f"events/{name} has {len(dataset)} elements but chunks of {dataset.chunks[0]:,}")
    return dataset


def _check_stored(name: str, column: Any, size: int) -> None:
    """Check that the file of ``size`` bytes holds all values. HDF5 makes up those of chunks that it does not hold."""
    length, chunk = len(column), column.chunks[0] if column.chunks else None
    if chunk is None:
        stored = column.nbytes == column.id.get_storage_size() <= size
    else:
        # Any chunk takes a byte of the file, so this also bounds the number of chunks to look up.
        stored = column.nbytes <= size * _LARGEST_RATIO and -(-length // chunk) <= size
        stored = stored and all(
            column.id.get_chunk_info_by_coord((start,)).byte_offset is not None for start in range(0, length, chunk)
        )
    if not stored:
        raise RecordError(f"events/{name} has {length:,} elements, but the file does not hold all of them")


def _read_column(column: Any, values: np.ndarray) -> None:
    at_once = max(_ROWS_AT_ONCE, column.chunks[0]) if column.chunks else len(column)
    if column.chunks:
        at_once = min(at_once, column.chunks[0] * _CHUNKS_AT_ONCE)
    for start in range(0, len(column), max(at_once, 1)):
        values[start : start + at_once] = column[start : start + at_once]


def _check_events(count: int) -> None:
    if count * EVENT_DTYPE.itemsize > LARGEST_ARRAY:
        raise RecordError(f"has {count:,} events, which take more than {LARGEST_ARRAY:,} bytes")
