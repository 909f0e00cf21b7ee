"""Convert frames to events, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2e_triton.formats import to_event_list
from i2e_triton.functional import convert, unpack
from i2e_triton.shifts import canonical_shifts
from i2e_triton.video.frames import Frame

#: Pixels of a batch. On the CPU, larger batches are not faster.
BATCH_PIXELS = 2**21
#: Duration of a frame if a video has only one.
_ONLY_FRAME_US = 40_000


class FrameEvents(NamedTuple):
    """The events of a frame."""

    time_us: int  #: time of the frame in microseconds after the first one
    duration_us: int  #: time until the next frame; for the last frame, the duration of the one before
    image: Tensor  #: the frame, ``[C, H, W]``
    packed: Tensor  #: uint8 ``[2, H, W]`` on the CPU; bit ``t`` is timestep ``t``
    timesteps: int  #: number of timesteps

    def event_list(self) -> np.ndarray:
        """Return the event list. Timestep ``k`` of ``T`` has the time ``time_us + k * (duration_us // T)``."""
        listed = to_event_list(unpack(self.packed, self.timesteps, torch.bool), timestep_us=1)
        listed["t"] = self.time_us + listed["t"] * (self.duration_us // self.timesteps)
        return listed


class _Step(NamedTuple):
    """An image to convert, and the frame that its events belong to."""

    image: Tensor
    frame: Frame
    duration_us: int


def events(
    frames: Iterable[Frame],
    ratio: float = 0.12,
    *,
    between_frames: bool = False,
    shifts: Tensor | None = None,
    timesteps: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[FrameEvents]:
    """Yield the events of each frame, in order. A batch of frames is in memory at a time.

    Each frame is an image that :func:`i2e_triton.convert` converts. With ``between_frames``, the events are instead the
    differences between consecutive frames, as one timestep: ON where the value of a pixel rises by at least ``ratio``
    times the range of the values in both frames, OFF where it falls by as much. They have the time of the second frame.
    The first frame then has no events, nor has a frame whose size differs from that of the frame before.

    Args:
        frames: the frames, for example a :class:`VideoReader`.
        ratio: event threshold in [0, 1], as in :func:`i2e_triton.convert`.
        between_frames: compare consecutive frames. Default: False, a microsaccade for each frame.
        shifts: motion vectors ``[T, 4]`` with T at most 8. Default: the paper's. Not used with ``between_frames``.
        timesteps: number of timesteps of the default motion vectors, 1 to 8.
        device: device that converts.

    Raises:
        ValueError: if an argument is not valid.
    """
    if between_frames:
        steps, shifts = _pairs(frames), torch.tensor([[0, 0, 1, 0]])
    else:
        steps, shifts = _images(frames), canonical_shifts(timesteps=timesteps) if shifts is None else shifts
    shifts = shifts.to(device)
    for batch in _batches(steps):
        images = torch.stack([step.image for step in batch]).to(device)
        packed = convert(images, ratio, shifts=shifts, packed=True)
        if between_frames:
            packed = packed[..., ::2, :]  # the rows of the first frame of the pair
        for step, found in zip(batch, packed.cpu()):
            yield FrameEvents(step.frame.time_us, step.duration_us, step.frame.image, found, len(shifts))


def _images(frames: Iterable[Frame]) -> Iterator[_Step]:
    """Yield each frame with its duration, once the next frame is known."""
    previous, duration = None, _ONLY_FRAME_US
    for frame in frames:
        if previous is not None:
            duration = frame.time_us - previous.time_us
            yield _Step(previous.image, previous, duration)
        previous = frame
    if previous is not None:
        yield _Step(previous.image, previous, duration)


def _pairs(frames: Iterable[Frame]) -> Iterator[_Step]:
    """Yield each frame, interleaved by rows with the frame before: ``[C, 2 * H, W]``.

    The motion vector (0, 0, 1, 0) then compares a row of the first frame with the same row of the second one.
    """
    previous = None
    for frame in frames:
        if previous is not None and previous.image.shape == frame.image.shape:
            rows = torch.stack([previous.image, frame.image], dim=-2).flatten(-3, -2)
            yield _Step(rows, frame, frame.time_us - previous.time_us)
        previous = frame


def _batches(steps: Iterable[_Step]) -> Iterator[list[_Step]]:
    """Yield consecutive images of equal shape and type, with at most :data:`BATCH_PIXELS` pixels or one image."""
    for (shape, _), group in groupby(steps, lambda step: (step.image.shape, step.image.dtype)):
        size = max(1, BATCH_PIXELS // (shape[-2] * shape[-1]))
        while batch := list(islice(group, size)):
            yield batch
