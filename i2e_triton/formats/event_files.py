"""Files of event lists: CSV, ``.npy`` and HDF5.

* ``.csv``: a line ``x,y,t,p``, then one line per event, with ``p`` as 1 (ON) or 0 (OFF).
* ``.npy``: the structured array, written by ``np.save``.
* ``.h5``: one-dimensional datasets ``x``, ``y``, ``t`` and ``p`` (uint8) in the group ``events``. The file has the
  attributes ``timesteps``, ``height``, ``width`` and ``timestep_us``, which an event list does not contain.
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
CSV_HEADING = _HEADING + b"\n"
_ROW = re.compile(rb"\d{1,5},\d{1,5},\d{1,18},[01]\r?\n?")
_ROWS_PER_BLOCK = 1 << 16
_LARGEST_CHUNK = 1 << 20
_CHUNKS_PER_READ = 1 << 10  # HDF5 allocates 4 kB of memory for each chunk that a read touches
_MAX_DEFLATE_RATIO = 1032  # deflate expands one byte of the file to at most 1032 bytes
_H5_DTYPES = {"x": np.int16, "y": np.int16, "t": np.int64, "p": np.uint8}


def save_event_list(path: str | os.PathLike[str], events: Tensor, timestep_us: int = TIMESTEP_US) -> None:
    """Write the events of one image as an event list. The suffix of the path selects the format.

    Args:
        path: path that ends in ``.csv``, ``.npy`` or ``.h5``. The file is written atomically.
        events: dense ``[T, 2, H, W]`` of any event type; H and W are at most 32768.
        timestep_us: duration of a timestep in microseconds. Default: 1000.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the suffix is not ``.csv``, ``.npy`` or ``.h5``, or the shape or a value is invalid.
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

    :func:`~i2e_triton.formats.from_event_list` converts the list to dense events. An HDF5 file stores the other
    arguments of that function as attributes: ``h5py.File(path).attrs["timesteps"]``.

    Peak memory is at most 100 MiB plus 100 bytes per event. The size of the file limits the number of events: at most
    one event per 8 bytes of CSV, one per 4 bytes of ``.npy``, and 1032 per byte of HDF5, which is compressed. A list
    has at most 165 million events (2 GiB).

    Args:
        path: path that ends in ``.csv``, ``.npy`` or ``.h5``.

    Returns:
        Array ``[N]`` of :data:`EVENT_DTYPE` in the order of the file. ``p`` 1 is ON, 0 is OFF.

    Raises:
        RecordError: if the file is damaged or is not an event list. The message names the file and the line or event.
        ValueError: if the suffix is not ``.csv``, ``.npy`` or ``.h5``.
        OSError: if the file cannot be opened or read.
    """
    path = Path(path)
    read = {".csv": _read_csv, ".npy": _read_npy, ".h5": _read_h5}[_suffix(path)]
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_ARRAY:
                raise RecordError(f"the file has {size:,} bytes, more than the limit of {LARGEST_ARRAY:,}")
            return read(file)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error


def write_csv(file: BinaryIO, events: np.ndarray) -> None:
    """Write an event list as CSV."""
    file.write(CSV_HEADING)
    write_csv_rows(file, events)


def write_csv_rows(file: BinaryIO, events: np.ndarray) -> None:
    """Write the events of a list as lines of CSV, without the heading."""
    for start in range(0, len(events), _ROWS_PER_BLOCK):
        rows = events[start : start + _ROWS_PER_BLOCK]
        columns = (rows[name].astype(np.int64).tolist() for name in _COLUMNS)
        file.write("".join(f"{x},{y},{t},{p}\n" for x, y, t, p in zip(*columns)).encode())


def write_h5(file: BinaryIO, events: np.ndarray, shape: tuple[int, int, int], timestep_us: int) -> None:
    """Write an event list as HDF5. ``shape`` is T, H, W."""
    content = io.BytesIO()  # HDF5 also reads from the file that it writes, and ``file`` may be write-only
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
    blocks = [np.empty(0, EVENT_DTYPE)]
    first_line = 2
    while lines := list(islice(rows, _ROWS_PER_BLOCK)):
        table = np.loadtxt(lines, [(name, np.int64) for name in _COLUMNS], delimiter=",", ndmin=1)
        blocks.append(checked_event_list(table, "line", first_line))
        first_line += len(lines)
    return np.concatenate(blocks)


def _rows(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines after the heading.

    Raise a RecordError at the first line that is not an event. At most 64 bytes of a line are read.
    """
    for line, row in enumerate(iter(lambda: file.readline(64), b""), 2):
        if not _ROW.fullmatch(row):
            raise RecordError(f"line {line} must be x,y,t,p with p 0 or 1, got {row!r}")
        yield row


def _read_npy(file: BinaryIO) -> np.ndarray:
    header = read_npy_header(file.read(LARGEST_HEADER))
    check_fields(header.dtype)
    if len(header.shape) != 1:
        raise RecordError(f"an event list must have shape [N], got {list(header.shape)}")
    _check_events(header.shape[0])
    stored = os.fstat(file.fileno()).st_size - header.size
    if header.nbytes != stored:
        raise RecordError(f"{header.shape[0]:,} events take {header.nbytes:,} bytes, but {stored:,} follow the header")
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
    """Return the dataset of a column. It must be stored in this file: a link could point to any file of the user."""
    links = [h5.get(path, getlink=True) for path in ("events", f"events/{name}")]
    dataset = h5[f"events/{name}"] if all(isinstance(link, h5py.HardLink) for link in links) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise RecordError(f"the file must contain a dataset events/{name} that is not a link, virtual or external")
    if dataset.ndim != 1 or dataset.dtype.kind not in "biu":
        raise RecordError(f"events/{name} must be integers [N], got {dataset.dtype} {list(dataset.shape or ())}")
    limit = max(len(dataset), _LARGEST_CHUNK)
    if dataset.chunks and dataset.chunks[0] > limit:
        raise RecordError(f"chunks of events/{name} must have at most {limit:,} elements, got {dataset.chunks[0]:,}")
    return dataset


def _check_stored(name: str, column: Any, size: int) -> None:
    """Raise a RecordError unless the file of ``size`` bytes stores all values.

    For a chunk that is not stored, HDF5 would return its fill value without an error.
    """
    length, chunk = len(column), column.chunks[0] if column.chunks else None
    if chunk is None:
        stored = column.nbytes == column.id.get_storage_size() <= size
    else:
        stored = column.nbytes <= size * _MAX_DEFLATE_RATIO and column.id.get_num_chunks() >= -(-length // chunk)
    if not stored:
        raise RecordError(f"events/{name} has {length:,} elements, but the file does not store all of them")


def _read_column(column: Any, values: np.ndarray) -> None:
    if column.chunks:
        block = min(max(_ROWS_PER_BLOCK, column.chunks[0]), column.chunks[0] * _CHUNKS_PER_READ)
    else:
        block = max(len(column), 1)
    for start in range(0, len(column), block):
        values[start : start + block] = column[start : start + block]


def _check_events(count: int) -> None:
    if count * EVENT_DTYPE.itemsize > LARGEST_ARRAY:
        raise RecordError(f"{count:,} events take more than {LARGEST_ARRAY:,} bytes")
