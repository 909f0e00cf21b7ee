"""Event lists: structured NumPy arrays with one element per event, in Tonic's dtype.

The polarity ``p`` is that of event cameras: 1 (True) is ON and 0 (False) is OFF. The channels of dense events are those
of the official code: 0 is ON and 1 is OFF, so the channel is ``1 - p``. The functions of this module convert between
both. Tonic and SpikingJelly use ``p`` as the channel, so their frames are dense events with the channels swapped:
``frames == events.flip(-3)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import check_integer
from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.npy import LARGEST_ARRAY, RecordError

#: Tonic's type of an event: column, row, time in microseconds, polarity.
EVENT_DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
#: Default duration of a timestep in microseconds.
TIMESTEP_US = 1000

_LARGEST = {"x": 2**15 - 1, "y": 2**15 - 1, "t": 2**63 - 1, "p": 1}


def to_event_list(events: Tensor, timestep_us: int = TIMESTEP_US) -> np.ndarray:
    """Return the events of one image as an event list, sorted by time, row, column and polarity.

    :mod:`i2e_triton.integrations.tonic` and :mod:`i2e_triton.integrations.spikingjelly` say how these libraries
    integrate the list to frames.

    Args:
        events: dense ``[T, 2, H, W]`` of any event type; H and W are at most 32768.
        timestep_us: duration of a timestep in microseconds. Events of timestep ``k`` have the time
            ``k * timestep_us``. Default: 1000.

    Returns:
        Array ``[N]`` of :data:`EVENT_DTYPE`. ``p`` 1 is ON, 0 is OFF.

    Raises:
        TypeError: if ``events`` is not a tensor of an event type.
        ValueError: if the shape or a value is invalid, or a time does not fit in 64 bits.

    Example:
        >>> image = torch.tensor([[[0.0, 0.0, 1.0]]])  # one row of three pixels
        >>> events = i2e_triton.convert(image, shifts=torch.tensor([[0, 0, 0, 1]]))  # V(x + 1) - V(x)
        >>> i2e_triton.formats.to_event_list(events).tolist()
        [(1, 0, 0, True)]
    """
    dense = dense_array(events)
    timesteps, _, height, width = dense.shape
    check_event_list_size(height, width)
    _, timestep_us = check_duration(timesteps, timestep_us)
    by_pixel = np.ascontiguousarray(dense[:, ::-1].transpose(0, 2, 3, 1))  # [T, H, W, p]
    fired = np.flatnonzero(by_pixel)
    listed = np.empty(len(fired), EVENT_DTYPE)
    step, listed["y"], listed["x"], listed["p"] = np.unravel_index(fired, by_pixel.shape)
    listed["t"] = step * timestep_us
    return listed


def from_event_list(
    events: np.ndarray, timesteps: int, size: tuple[int, int], timestep_us: int = TIMESTEP_US
) -> Tensor:
    """Return the dense events of an event list. Repeated events of a pixel in one timestep and polarity count once.

    Args:
        events: structured array ``[N]`` with integer fields x, y, t and p (0 or 1, or bool), in any order.
        timesteps: number of timesteps T. An event belongs to timestep ``t // timestep_us``.
        size: height and width of the image in pixels.
        timestep_us: duration of a timestep in microseconds. Default: 1000.

    Returns:
        Dense events ``[T, 2, H, W]``, bool. The channel is ``1 - p``: 0 is ON, 1 is OFF.

    Raises:
        TypeError: if an argument is of the wrong type.
        RecordError: if an event is outside the image or the timesteps, or ``events`` is not an event list.
        ValueError: if ``timesteps``, ``size`` or ``timestep_us`` is out of range, or the dense events take more than
            2 GiB.
    """
    timesteps, timestep_us = check_duration(timesteps, timestep_us)
    height, width = _checked_size(size)
    if timesteps * 2 * height * width > LARGEST_ARRAY:
        raise ValueError(f"dense events [{timesteps}, 2, {height}, {width}] take more than {LARGEST_ARRAY:,} bytes")
    events = checked_event_list(events)
    step = events["t"] // timestep_us
    for name, values, limit in (("x", events["x"], width), ("y", events["y"], height), ("timestep", step, timesteps)):
        outside = np.flatnonzero(values >= limit)
        if len(outside):
            first = int(outside[0])
            raise RecordError(f"event {first}: {name} must be less than {limit}, got {values[first]}")
    dense = np.zeros((timesteps, 2, height, width), dtype=np.bool_)
    dense[step, 1 - events["p"].astype(np.intp), events["y"], events["x"]] = True
    return torch.from_numpy(dense)


def checked_event_list(events: np.ndarray, row: str = "event", first: int = 0) -> np.ndarray:
    """Return an event list as :data:`EVENT_DTYPE`, after checking its fields and values.

    Args:
        events: structured array ``[N]`` with fields x, y, t, p of any integer types.
        row: word for an event in error messages.
        first: number of ``events[0]`` in error messages.

    Raises:
        TypeError: if ``events`` is not an array.
        RecordError: if ``events`` is not an event list, or a value is out of range. The message names the event.
    """
    if not isinstance(events, np.ndarray):
        raise TypeError(f"events must be a NumPy array, got {type(events).__name__}")
    check_fields(events.dtype)
    if events.ndim != 1:
        raise RecordError(f"an event list must have shape [N], got {list(events.shape)}")
    for name, largest in _LARGEST.items():
        values = events[name]
        if values.dtype == np.bool_:
            values = values.view(np.uint8)  # a byte of a bool array in a file can have any value
        outside = np.flatnonzero((values < 0) | (values > largest))
        if len(outside):
            index = int(outside[0])
            raise RecordError(f"{row} {first + index}: {name} must be 0 to {largest}, got {values[index]}")
    return events[list("xytp")].astype(EVENT_DTYPE)


def check_fields(dtype: np.dtype) -> None:
    """Raise a RecordError unless ``dtype`` has exactly the integer fields x, y, t and p."""
    fields = {name: dtype[name] for name in dtype.names or ()}
    if sorted(fields) != sorted(_LARGEST) or not all(field.kind in "biu" for field in fields.values()):
        raise RecordError(f"events must have integer fields x, y, t, p, got {dtype}")


def check_event_list_size(height: int, width: int) -> None:
    """Raise a ValueError if an image is too large for the coordinates of an event list."""
    largest = _LARGEST["x"] + 1
    if max(height, width) > largest:
        raise ValueError(f"an event list can have at most {largest} x {largest} pixels, got {height} x {width}")


def check_duration(timesteps: int, timestep_us: int) -> tuple[int, int]:
    """Return the number of timesteps and their duration as ints.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if an argument is less than 1, or the last time does not fit in an event list.
    """
    timesteps = check_integer("timesteps", timesteps, 1)
    timestep_us = check_integer("timestep_us", timestep_us, 1)
    if timesteps * timestep_us > _LARGEST["t"]:
        raise ValueError(
            f"{timesteps} timesteps of {timestep_us} microseconds do not fit in 64 bits; use a shorter timestep"
        )
    return timesteps, timestep_us


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise TypeError(f"size must be (height, width), got {size!r}")
    height, width = size
    return check_integer("the height", height, 1), check_integer("the width", width, 1)
