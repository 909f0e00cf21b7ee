"""A physically based emulator of an event camera, without noise.

Sources:

* Rebecq et al., ESIM: an Open Event Camera Simulator, CoRL 2018: a pixel fires when its log intensity has changed by a
  threshold since its last event.
* Hu et al., v2e: From Video Frames to Realistic DVS Events, CVPR Workshops 2021: the intensity is the luma; the
  logarithm is linear near zero; several events of a pixel between two frames are evenly spaced in time.

Noise, leak, bandwidth and refractory time are not modelled. The frames are the image, shifted along the path of
:mod:`benchmarks.baselines.odg`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baselines.odg import MAX_OFFSET, PATH_X, PATH_Y

LINEAR_BELOW = 20.0  # grey level; the response is linear below it and logarithmic above it
ON_THRESHOLD = 0.2  # in units of log intensity
OFF_THRESHOLD = 0.2


def convert(image: Tensor) -> Tensor:
    """Return the events of one image, on its device.

    Args:
        image: uint8 ``[3, H, W]``.

    Returns:
        float32 ``[N, 4]``, rows of (time, x, y, polarity), sorted by time. Time is in frames after the first frame;
        polarity is +1 for ON and -1 for OFF.
    """
    return emulate(shifted_frames(image))


def shifted_frames(image: Tensor) -> Tensor:
    """Return the luma of an image ``[3, H, W]`` at each position of the path: float32 ``[9, H, W]``, 0 to 255."""
    red, green, blue = image.to(torch.float32)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    height, width = luma.shape
    padded = F.pad(luma[None], (MAX_OFFSET,) * 4, mode="replicate")[0]
    return torch.stack([padded[MAX_OFFSET - y :, MAX_OFFSET - x :][:height, :width] for y, x in zip(PATH_Y, PATH_X)])


def emulate(frames: Tensor, on_threshold: float = ON_THRESHOLD, off_threshold: float = OFF_THRESHOLD) -> Tensor:
    """Return the events of frames ``[T, H, W]`` with grey levels 0 to 255, in the format of :func:`convert`."""
    response = log_response(frames)
    reference = response[0].clone()
    events = []
    for time, level in enumerate(response[1:]):
        change = level - reference
        on = (change / on_threshold).floor_().clamp_(min=0)
        off = (change / -off_threshold).floor_().clamp_(min=0)
        reference += on * on_threshold
        reference -= off * off_threshold
        events += _between_frames(on, off, time)
    return torch.cat(events) if events else frames.new_empty(0, 4)


def log_response(frames: Tensor) -> Tensor:
    """Return the responses of pixels to grey levels: the natural logarithm, but linear below ``LINEAR_BELOW``."""
    return torch.where(frames < LINEAR_BELOW, frames * (math.log(LINEAR_BELOW) / LINEAR_BELOW), frames.log())


def _between_frames(on: Tensor, off: Tensor, time: int) -> list[Tensor]:
    """Return the events between frame ``time`` and the next one.

    ``on`` and ``off`` are the numbers of ON and OFF events of each pixel, ``[H, W]``; one of the two is 0.
    """
    y, x = torch.nonzero(on + off, as_tuple=True)
    count, polarity = (on + off)[y, x], (on > 0).to(on.dtype)[y, x] * 2 - 1
    max_count = int(count.max()) if len(count) else 0
    events = []
    for crossing in range(max_count):
        now = torch.full_like(polarity, time + (crossing + 1) / max_count)
        events.append(torch.stack([now, x.to(now.dtype), y.to(now.dtype), polarity], dim=1))
        remaining = count > crossing + 1
        x, y, polarity, count = x[remaining], y[remaining], polarity[remaining], count[remaining]
    return events
