"""Read the frames of a video file or a camera with PyAV."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2e_triton.install_hints import needs_extra

_MICROSECONDS = 1_000_000
_DURATION = re.compile(r"(\d+):(\d+):([\d.]+)")
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation"}


class Frame(NamedTuple):
    """A frame of a video."""

    time_us: int  #: time in microseconds after the first frame
    image: Tensor  #: uint8 ``[3, H, W]``, ``[1, H, W]`` if grey, or float32 in [0, 1] if it has more than 8 bits


class VideoReader:
    """An iterable over the frames of a video file or a camera. Only one frame is in memory at a time.

    The times are those of the container, so the frame rate may vary. Frames are rotated as the container says. A frame
    that is earlier than the one before it, as in some damaged files, gets the time of that one.

    Damaged frames are left out, and reading continues after them. When the iteration ends, :attr:`problem` says where
    the first damage is. What FFmpeg does not detect is not reported, such as the end of a truncated MPEG-TS file.

    Args:
        path: path of a video file that FFmpeg can decode.
        camera: number of a camera, instead of a path: ``/dev/videoN`` on Linux, device N of AVFoundation on macOS.

    Raises:
        ModuleNotFoundError: if PyAV is not installed.
        ValueError: if the file contains no video, or cameras are not supported on this system.
        OSError: if the file or camera cannot be opened.

    Example:
        >>> reader = i2e_triton.video.VideoReader("clip.mp4")
        >>> for found in i2e_triton.video.events(reader, ratio=0.12):
        ...     print(found.time_us, found.packed.shape)
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, camera: int | None = None) -> None:
        with needs_extra("video", "video"):
            import av
        if (path is None) == (camera is None):
            raise ValueError("pass either the path of a video or the number of a camera")
        self._name = os.fspath(path) if path is not None else f"camera {camera}"
        try:
            self._container: Any = av.open(self._name) if camera is None else _open_camera(camera)
        except av.FFmpegError as error:
            raise OSError(f"{self._name}: cannot be opened as a video: {error.strerror}") from error
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(f"{self._name}: contains no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        #: Where the video is damaged, or None. Complete when the iteration has ended.
        self.problem: str | None = None

    @property
    def stated_frames(self) -> int | None:
        """Number of frames that the container states, or None if it does not."""
        return self._stream.frames or None

    def close(self) -> None:
        """Close the file or the camera."""
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        first, time, count = None, 0, 0
        for decoded in self._decoded():
            seconds = decoded.time
            if seconds is None:  # a raw stream has no times: use its frame rate
                seconds = (first or 0) + count / float(self._stream.average_rate or 25)
            first = seconds if first is None else first
            time = max(time, round((seconds - first) * _MICROSECONDS))
            count += 1
            yield Frame(time, _as_image(decoded))
        self._check_duration(time, count)

    def _decoded(self) -> Iterator[Any]:
        import av

        packets = self._container.demux(self._stream)
        time = 0.0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._add_problem(f"the file breaks off after {time:.3f} s ({error.strerror})")
                return
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                where = "" if packet.pos is None or packet.pos < 0 else f", at byte {packet.pos:,} of the file"
                self._add_problem(f"damaged after {time:.3f} s{where} ({error.strerror})")
                continue
            for frame in frames:
                time = frame.time if frame.time is not None else time
                if frame.is_corrupt:
                    self._add_problem(f"damaged at {time:.3f} s")
                else:
                    yield frame

    def _add_problem(self, problem: str) -> None:
        self.problem = self.problem or f"{self._name}: {problem}"

    def _check_duration(self, time: int, count: int) -> None:
        """Report a file that ends before the duration that its video stream states."""
        seconds, stated = time / _MICROSECONDS, self._stated_seconds()
        if not count:
            self._add_problem("no frame can be decoded")
        # The last frame lasts until the end; an edit list may leave out more frames.
        elif stated is not None and stated - seconds > max(1.0, 4 * seconds / count):
            self._add_problem(f"breaks off after {seconds:.3f} s of {stated:.3f} s")

    def _stated_seconds(self) -> float | None:
        """Return the duration that the container states: MP4 in a field, Matroska in a tag."""
        duration, unit = self._stream.duration, self._stream.time_base
        if duration and unit:
            return float(duration * unit)
        tag = _DURATION.fullmatch(self._stream.metadata.get("DURATION", ""))
        return None if tag is None else int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])


def _open_camera(number: int) -> Any:
    import av

    device = next((name for system, name in _CAMERA_FORMATS.items() if sys.platform.startswith(system)), None)
    if device is None:
        raise ValueError(f"cameras are supported on Linux and macOS only, not on {sys.platform}")
    return av.open(f"/dev/video{number}" if device == "v4l2" else str(number), format=device)


def _planes(frame: Any) -> Tensor:
    """Return a frame in the format gbrp as ``[3, H, W]``.

    The pixels are those of the format rgb24. Planes take a quarter of the time, because interleaved colors are slow to
    copy into a batch and to convert.
    """
    planes = []
    for plane in (frame.planes[2], frame.planes[0], frame.planes[1]):  # stored as green, blue, red
        rows = np.frombuffer(plane, np.uint8)[: frame.height * plane.line_size].reshape(frame.height, plane.line_size)
        planes.append(rows[:, : frame.width])
    return torch.from_numpy(np.stack(planes))


def _as_image(frame: Any) -> Tensor:
    """Return a decoded frame as an upright image. Transparency is dropped."""
    components = frame.format.components
    grey = len(components) == 1 and not frame.format.has_palette
    if max(component.bits for component in components) > 8:
        array = frame.to_ndarray(format="gray16le" if grey else "rgb48le")
        image = torch.from_numpy(array).to(torch.float32) / 65535
        image = image[None] if grey else image.movedim(-1, 0)
    elif grey:
        image = torch.from_numpy(frame.to_ndarray(format="gray"))[None]
    else:
        image = _planes(frame.reformat(format="gbrp"))
    return image.rot90(frame.rotation // 90, (-2, -1)) if frame.rotation else image
