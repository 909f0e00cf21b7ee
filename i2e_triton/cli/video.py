"""``i2e video``: convert the frames of a video or a camera to events."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from i2e_triton.cli.options import DEFAULT_RATIO, Device, Ratio, Timesteps, check_device, in_range, option_error
from i2e_triton.cli.terminal import exit_on_errors, new_progress, percent, print_line

if TYPE_CHECKING:
    from i2e_triton.video import Frame, FrameEvents


@dataclass
class _Counted:
    """Counts the frames and events that pass through."""

    frames: int = 0
    events: int = 0
    positions: int = 0  #: timesteps x polarities x pixels
    end_us: int = 0

    def count(self, found: Iterable[FrameEvents]) -> Iterator[FrameEvents]:
        from i2e_triton.pipeline.shards import count_events

        for each in found:
            self.frames += 1
            self.events += int(count_events(each.packed[None], each.timesteps).sum())
            self.positions += each.packed.numel() * each.timesteps
            self.end_us = each.time_us + each.duration_us
            yield each


def video(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            dir_okay=False,
            help="File to write. The suffix selects the format: .parquet (packed events, a row per frame), .csv, .h5, "
            ".aedat4, .raw (EVT2) and .dat (event lists), .gif (the events), .mp4 (the video beside its events).",
        ),
    ],
    source: Annotated[
        Path | None, typer.Argument(metavar="IN", help="Video file in any format of FFmpeg.", dir_okay=False)
    ] = None,
    camera: Annotated[
        int | None,
        typer.Option(metavar="N", callback=in_range(0), help="Record from camera N instead of IN, until Ctrl-C."),
    ] = None,
    between_frames: Annotated[
        bool,
        typer.Option(
            "--between-frames", help="Compare each frame with the one before, instead of a microsaccade per frame."
        ),
    ] = False,
    frames: Annotated[
        int | None, typer.Option(metavar="N", callback=in_range(1), help="Convert the first N frames only.")
    ] = None,
    ratio: Ratio = DEFAULT_RATIO,
    timesteps: Timesteps = 8,
    device: Device = "auto",
) -> None:
    """Convert each frame of a video to events.

    This is image-to-event conversion of each frame, and not a model of an event camera. Times are those of the
    container, after the first frame. Videos of any length take the same memory. Animations show one timestep of each
    frame: the first of frame 1, the second of frame 2, and so on.

    Ctrl-C ends the video there. Damaged frames are left out: the events of the others are written, the first damage is
    reported, and the exit status is 1.
    """
    from i2e_triton.pipeline.dataset import stop_at_signals
    from i2e_triton.video import VideoReader, events
    from i2e_triton.video.writing import WRITERS, write_video_events

    if (source is None) == (camera is None):
        raise option_error(None, "pass either IN or --camera N")
    if out.suffix.lower() not in WRITERS:
        raise option_error("--out", f"the suffix must be one of {', '.join(WRITERS)}, got {out.name!r}")
    if source is not None and out.exists() and source.exists() and out.samefile(source):
        raise option_error("--out", f"would overwrite the video {source}")
    chosen, counted, errors = check_device(device), _Counted(), Console(stderr=True)
    with (
        exit_on_errors(errors),
        stop_at_signals() as stopping,
        VideoReader(source, camera=camera) as reader,
        new_progress(errors) as progress,
    ):
        read = islice(_until(stopping, reader), frames)
        shown = progress.track(read, total=frames or reader.stated_frames, description="frames")
        found = events(shown, ratio, between_frames=between_frames, timesteps=timesteps, device=chosen)
        write_video_events(out, counted.count(found))
    rate = percent(counted.events / counted.positions)
    seconds = counted.end_us / 1_000_000
    print_line(Console(), f"{out}: {counted.frames:,} frames, {seconds:.3f} s, {counted.events:,} events, rate {rate}")
    if reader.problem is not None:
        print_line(errors, f"{reader.problem}; the frames that could be decoded are converted")
        raise typer.Exit(1)


def _until(stopping: threading.Event, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames until ``stopping`` is set."""
    for frame in frames:
        if stopping.is_set():
            return
        yield frame
