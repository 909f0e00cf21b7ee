"""The speed and the event rate of ``i2e video``: run ``python -m benchmarks.video``.

* Speed: the frames per second of PyAV's decoding to RGB, and those of the conversion of the same file to packed events,
  and to a Parquet file. Wall time and CPU time, the median of several runs in turn.
* Event rate: the events of one clip by ``i2e video``, by its ``--between-frames``, and by the emulator of an event
  camera of :mod:`benchmarks.baselines.emulator`, in events per pixel and second.

The clip is a photograph that the camera passes on a circle, encoded as H.264. No network is needed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import torch

from benchmarks.baselines import emulator
from benchmarks.harness.workload import photograph_path
from i2e_triton import video
from i2e_triton.video.writing import write_video_events

RATE = 30  # frames per second of the clip
_FRAMES, _HEIGHT, _WIDTH = 150, 480, 640
_RUNS = 5
_CIRCLE_FRAMES = 90  # duration of a circle


def write_clip(path: Path) -> None:
    """Write the clip."""
    with PIL.Image.open(photograph_path("astronaut.png")) as image:
        photograph = np.asarray(image.convert("RGB").resize((3 * _WIDTH // 2, 3 * _HEIGHT // 2)))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = _HEIGHT, _WIDTH, "yuv420p"
        for angle in np.arange(_FRAMES) * (2 * np.pi / _CIRCLE_FRAMES):
            top, left = round(_HEIGHT / 4 * (1 + np.sin(angle))), round(_WIDTH / 4 * (1 + np.cos(angle)))
            picture = np.ascontiguousarray(photograph[top:, left:][:_HEIGHT, :_WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decode_with_pyav(path: Path) -> None:
    """Decode a video to RGB arrays."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")


def convert_frames(path: Path) -> None:
    """Convert a video to packed events in memory."""
    with video.VideoReader(path) as reader:
        for _ in video.events(reader):
            pass


def convert_to_parquet(path: Path) -> None:
    """Convert a video to a Parquet file of packed events."""
    with video.VideoReader(path) as reader:
        write_video_events(path.with_suffix(".parquet"), video.events(reader))


def print_speed(path: Path) -> None:
    """Measure and print frames per second, and their ratio to PyAV's in the same run."""
    calls: dict[str, Callable[[Path], None]] = {
        "PyAV, decode to RGB": decode_with_pyav,
        "i2e video, packed events": convert_frames,
        "i2e video, Parquet file": convert_to_parquet,
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call(path)
    for _ in range(_RUNS):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call(path)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = ([statistics.median(run[clock] for run in runs) for runs in seconds.values()] for clock in (0, 1))
    for name, wall, cpu in zip(calls, walls, cpus):
        print(  # noqa: T201
            f"{name:26} {_FRAMES / wall:7.0f} frames/s ({walls[0] / wall:.2f} of PyAV), "
            f"CPU time {1000 * cpu / _FRAMES:5.2f} ms/frame ({cpus[0] / cpu:.2f} of PyAV)"
        )


def print_event_rates(path: Path) -> None:
    """Print the events per pixel and second of the same clip by three methods."""
    frames = list(video.VideoReader(path))
    pixels, seconds = frames[0].image[0].numel(), len(frames) / RATE
    red, green, blue = torch.stack([frame.image for frame in frames]).to(torch.float32).unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    counts = {
        "i2e video, 8 timesteps": sum(_counts(video.events(frames))),
        "i2e video --between-frames": sum(_counts(video.events(frames, between_frames=True))),
        "emulator, threshold 0.2": len(emulator.emulate(luma)),
    }
    for name, count in counts.items():
        print(f"{name:26} {count / pixels / seconds:7.2f} events per pixel and second")  # noqa: T201


def _counts(found: Iterable[video.FrameEvents]) -> Iterable[int]:
    return (len(each.event_list()) for each in found)


def main() -> None:
    """Make the clip, measure and print."""
    torch.set_num_threads(1)
    print(f"{_FRAMES} frames of {_HEIGHT} x {_WIDTH}, one thread of PyTorch")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        print_speed(clip)
        print_event_rates(clip)


if __name__ == "__main__":
    main()
