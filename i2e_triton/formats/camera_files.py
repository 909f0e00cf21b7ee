"""Write event lists as files of event cameras: AEDAT4, EVT2, DAT and N-MNIST's ``.bin``.

All but N-MNIST need faery: ``pip install 'i2e-triton[recordings]'``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2e_triton.install_hints import needs_extra


class CameraFormat(NamedTuple):
    """A file format and its limits."""

    suffix: str
    file_type: str  #: name of the format in faery
    version: str | None
    width: int  #: largest width in pixels
    height: int  #: largest height in pixels
    time_bits: int  #: bits of a time in microseconds


#: The formats by the name that ``i2e convert --format`` uses.
CAMERA_FORMATS = {
    "aedat4": CameraFormat(".aedat4", "aedat", None, 2**15 - 1, 2**15 - 1, 63),
    "evt2": CameraFormat(".raw", "evt", "evt2", 2**11, 2**11, 34),
    "dat": CameraFormat(".dat", "dat", "dat2", 2**14, 2**14, 32),
    # A y of 240 marks an overflow of the time in recordings of the ATIS camera.
    "nmnist": CameraFormat(".bin", "nmnist", None, 256, 240, 23),
}


def check_camera_size(format: str, height: int, width: int) -> None:
    """Raise a ValueError if a picture is too large for a format."""
    limit = CAMERA_FORMATS[format]
    if height > limit.height or width > limit.width:
        raise ValueError(f"{format} can have at most {limit.height} x {limit.width} pixels, got {height} x {width}")


def check_camera_time(format: str, time_us: int) -> None:
    """Raise a ValueError if a time in microseconds does not fit in a format."""
    bits = CAMERA_FORMATS[format].time_bits
    if time_us >= 1 << bits:
        raise ValueError(f"{format} stores times below {1 << bits:,} us, got {time_us:,}")


def write_camera_file(path: Path, format: str, lists: Iterable[np.ndarray], size: tuple[int, int]) -> None:
    """Write event lists, one after the other, to one file. An existing file is replaced.

    Args:
        path: the file. Its suffix is not used.
        format: one of :data:`CAMERA_FORMATS`.
        lists: arrays of :data:`~i2e_triton.formats.EVENT_DTYPE`, in the order of time.
        size: height and width of the pictures in pixels.

    Raises:
        ModuleNotFoundError: if faery is not installed.
        ValueError: if the picture is too large for the format, or a time does not fit.
        OSError: if the file cannot be written.
    """
    height, width = size
    check_camera_size(format, height, width)
    checked = _with_checked_times(format, lists)
    if format == "nmnist":
        with path.open("wb") as file:
            for events in checked:
                file.write(_nmnist_bytes(events))
        return
    with needs_extra(format, "recordings"):
        from faery.events_stream import EVENTS_DTYPE
        from faery.file_encoder import events_to_file
    packets = (events[["t", "x", "y", "p"]].astype(EVENTS_DTYPE) for events in checked)
    found = CAMERA_FORMATS[format]
    options = {"version": found.version, "file_type": found.file_type, "zero_t0": False, "use_write_suffix": False}
    try:
        events_to_file(packets, path, (width, height), **options)
    except RuntimeError as error:  # faery's error for all failures
        raise OSError(f"{path}: cannot be written: {error}") from error


def _with_checked_times(format: str, lists: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for events in lists:
        if len(events):
            check_camera_time(format, int(events["t"][-1]))
            yield events


def _nmnist_bytes(events: np.ndarray) -> bytes:
    """Return 5 bytes for each event: x, y, then p in the highest bit before 23 bits of time, big-endian."""
    time = events["t"]
    columns = [events["x"], events["y"], events["p"].astype(np.int64) << 7 | time >> 16, time >> 8 & 255, time & 255]
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()
