"""Small videos, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.samples import photograph

HEIGHT, WIDTH = 48, 64
#: Frames per second if no times are given.
RATE = 25


def moving_photograph(frames: int) -> list[np.ndarray]:
    """Return frames ``[H, W, 3]``, uint8, cut out of a photograph along a diagonal."""
    image = photograph("astronaut").movedim(0, -1).numpy()
    return [np.ascontiguousarray(image[3 * n :, 2 * n :][:HEIGHT, :WIDTH]) for n in range(frames)]


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "ffv1",
    stored_as: str = "bgr0",
    given_as: str = "rgb24",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames as a video, by default without loss. The suffix of the path selects the container."""
    times = times_ms or [1000 * n // RATE for n in range(len(frames))]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = stored_as
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, picture in zip(times, frames):
            frame = av.VideoFrame.from_ndarray(picture, format=given_as)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
