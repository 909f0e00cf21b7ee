"""Recordings for tests, written by faery, h5py and this package."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from i2e_triton.formats import EVENT_DTYPE
from i2e_triton.formats.camera_files import write_camera_file

HEIGHT, WIDTH = 30, 40
#: Format of :func:`write_camera_file` by suffix.
FORMATS = {".aedat4": "aedat4", ".raw": "evt2", ".dat": "dat", ".bin": "nmnist", ".hdf5": None, ".h5": None}
#: Type of an event in HDF5 files of Metavision.
METAVISION_DTYPE = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")], align=True)


def random_events(count: int, duration_us: int, seed: int = 0) -> np.ndarray:
    """Return random events in the order of time, the first at 500 us."""
    generator = np.random.default_rng(seed)
    events = np.empty(count, EVENT_DTYPE)
    events["t"] = 500 + np.sort(generator.integers(0, duration_us, count))
    events["t"][0] = 500
    events["x"], events["y"] = generator.integers(0, WIDTH, count), generator.integers(0, HEIGHT, count)
    events["p"] = generator.integers(0, 2, count)
    return events


def write_recording(path: Path, events: np.ndarray) -> Path:
    """Write a recording in the format of the suffix. Missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    format = FORMATS[path.suffix]
    if format is None:
        with h5py.File(path, "w") as file:
            file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"
            listed = events[list(METAVISION_DTYPE.names or ())].astype(METAVISION_DTYPE)
            file.create_dataset("CD/events", data=listed, chunks=(256,), maxshape=(None,), compression="gzip")
    else:
        write_camera_file(path, format, np.array_split(events, 7), (HEIGHT, WIDTH))
    return path
