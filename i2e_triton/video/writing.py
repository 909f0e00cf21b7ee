"""Write the events of a video as a file, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import torch

from i2e_triton.formats import EVENT_DTYPE, encode_records
from i2e_triton.formats.camera_files import write_camera_file
from i2e_triton.formats.event_files import CSV_HEADING, write_csv_rows
from i2e_triton.functional import unpack
from i2e_triton.io.atomic import write_whole
from i2e_triton.video.convert import FrameEvents
from i2e_triton.visualize.drawing import PALETTE, draw_image

_NO_LABEL = -1
_GAP = 4  # pixels between a frame and its events
_GIF_TICK = Fraction(1, 100)  # a GIF stores times in units of 10 ms
_MP4_TICK = Fraction(1, 90_000)
_H5_DTYPES = {"x": np.int16, "y": np.int16, "t": np.int64, "p": np.uint8}
_H5_CHUNK = 2**16


def write_video_events(path: Path, events: Iterable[FrameEvents]) -> None:
    """Write the events of a video. The suffix of the path selects the format. The file is written atomically.

    Args:
        path: path that ends in one of :data:`WRITERS`.
        events: the events of each frame.

    Raises:
        ModuleNotFoundError: if the format needs a package that is not installed.
        ValueError: if the suffix is unknown, there are no events to write, or they do not fit in the format.
        OSError: if the file cannot be written.
    """
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"the suffix must be one of {', '.join(WRITERS)}, got {path.name!r}")
    frames = iter(events)
    first = next(frames, None)
    if first is None:
        raise ValueError("there is no frame to convert")
    with write_whole(path) as file:
        WRITERS[path.suffix.lower()](file, first, chain([first], frames))


def _write_parquet(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
    from i2e_triton.pipeline.plan import ConversionConfig
    from i2e_triton.pipeline.writers import EncodedRow, parquet_schema, write_parquet

    config = ConversionConfig(ratio=0.0, timesteps=first.timesteps, bits="packed")
    rows = (
        EncodedRow(row, "", _NO_LABEL, encode_records(found.packed[None], found.timesteps, "packed")[0], found.time_us)
        for row, found in enumerate(frames)
    )
    write_parquet(file, rows, parquet_schema(config, None, timed=True))


def _write_csv(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
    file.write(CSV_HEADING)
    for found in frames:
        write_csv_rows(file, found.event_list())


def _write_h5(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
    with h5py.File(file.name, "w") as h5:  # by name, because HDF5 also reads from the file that it writes
        h5.attrs.update(height=first.packed.shape[1], width=first.packed.shape[2])
        options: dict[str, Any] = {"chunks": (_H5_CHUNK,), "maxshape": (None,), "compression": "gzip", "shuffle": True}
        columns = {
            name: h5.create_dataset(f"events/{name}", (0,), dtype, **options) for name, dtype in _H5_DTYPES.items()
        }
        for listed in _in_chunks(frames):
            for name, column in columns.items():
                column.resize(len(column) + len(listed), axis=0)
                column[-len(listed) :] = listed[name]


def _in_chunks(frames: Iterator[FrameEvents]) -> Iterator[np.ndarray]:
    """Yield the events in lists of at least a chunk, except the last one. None is empty."""
    waiting = [np.empty(0, EVENT_DTYPE)]
    for found in frames:
        waiting.append(found.event_list())
        if sum(map(len, waiting)) >= _H5_CHUNK:
            yield np.concatenate(waiting)
            waiting = waiting[:1]
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _camera_writer(format: str) -> Callable[[BinaryIO, FrameEvents, Iterator[FrameEvents]], None]:
    def write(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
        height, width = first.packed.shape[1:]
        write_camera_file(Path(file.name), format, (found.event_list() for found in frames), (height, width))

    return write


def _write_gif(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(PALETTE), 1:] = PALETTE
    drawn = ((found, (_kinds(found, number), palette)) for number, found in enumerate(frames))
    height, width = first.packed.shape[1:]
    _encode(file, drawn, "gif", "gif", (width, height), "pal8", "pal8", _GIF_TICK)


def _write_mp4(file: BinaryIO, first: FrameEvents, frames: Iterator[FrameEvents]) -> None:
    height, width = first.packed.shape[1:]
    size = (2 * width + _GAP + 1) // 2 * 2, (height + 1) // 2 * 2  # the format needs even sides

    def draw(found: FrameEvents, number: int) -> np.ndarray:
        canvas = np.full((size[1], size[0], 3), 255, np.uint8)
        canvas[:height, :width] = np.asarray(draw_image(found.image).convert("RGB"))
        canvas[:height, width + _GAP : 2 * width + _GAP] = np.array(PALETTE, np.uint8)[_kinds(found, number)]
        return canvas

    drawn = ((found, draw(found, number)) for number, found in enumerate(frames))
    _encode(file, drawn, "mp4", "libx264", size, "rgb24", "yuv420p", _MP4_TICK)


def _kinds(found: FrameEvents, number: int) -> np.ndarray:
    """Return the color index of each pixel: one timestep of each frame, the next one in the next frame."""
    on, off = unpack(found.packed, found.timesteps, torch.uint8)[number % found.timesteps].numpy()
    kinds: np.ndarray = on + 2 * off
    return kinds


def _encode(
    file: BinaryIO,
    drawn: Iterable[tuple[FrameEvents, Any]],
    format: str,
    codec: str,
    size: tuple[int, int],
    drawn_as: str,
    pixel_format: str,
    tick: Fraction,
) -> None:
    """Encode pictures at the times of their frames."""
    import av

    last = -1
    with av.open(file, "w", format=format) as container:
        stream: Any = container.add_stream(codec)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = tick
        for found, picture in drawn:
            frame = av.VideoFrame.from_ndarray(picture, format=drawn_as)
            frame.time_base = tick
            frame.pts = last = max(last + 1, round(found.time_us / 1_000_000 / tick))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


#: Function that writes a file, by suffix.
WRITERS: dict[str, Callable[[BinaryIO, FrameEvents, Iterator[FrameEvents]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".h5": _write_h5,
    ".aedat4": _camera_writer("aedat4"),
    ".raw": _camera_writer("evt2"),
    ".dat": _camera_writer("dat"),
    ".gif": _write_gif,
    ".mp4": _write_mp4,
}
