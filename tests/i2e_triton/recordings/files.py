"""Recordings for tests, written by faery and by this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2e_triton.formats import EVENT_DTYPE
from i2e_triton.formats.camera_files import write_camera_file

HEIGHT, WIDTH = 30, 40
#: Format of :func:`write_camera_file` by suffix.
FORMATS = {".aedat4": "aedat4", ".raw": "evt2", ".dat": "dat", ".bin": "nmnist"}


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
    write_camera_file(path, FORMATS[path.suffix], np.array_split(events, 7), (HEIGHT, WIDTH))
    return path
