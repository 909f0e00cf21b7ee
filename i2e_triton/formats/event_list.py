"""Event lists: one row for each event, in the type of Tonic.

The polarity ``p`` of a list is the channel of our dense events: ``p`` 0 (False) is an ON event, ``p`` 1 (True) an OFF
event. Tonic and SpikingJelly put the events of ``p`` 0 in channel 0, so that their frames are our dense events, channel
for channel, and networks trained on the one take the other. Recordings of event cameras usually have it the other way
round: ``p`` 1 is ON. Whoever mixes the two inverts one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import check_integer
from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.errors import RecordError
from i2e_triton.formats.npy import LARGEST_ARRAY

#: The type of an event in Tonic: column, row, time in microseconds, polarity.
EVENT_DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
#: Duration of a timestep in microseconds, unless another is asked for.
TIMESTEP_US = 1000

_LARGEST = {"x": 2**15 - 1, "y": 2**15 - 1, "t": 2**63 - 1, "p": 1}


def to_event_list(events: Tensor, timestep_us: int = TIMESTEP_US) -> np.ndarray:
    """List the events of one image, sorted by time, then row, column and polarity.

    ``tonic.transforms.ToFrame(sensor_size=(W, H, 2), time_window=timestep_us, start_time=0,
    end_time=T * timestep_us)`` gives the dense events back; without start and end, timesteps without events at either
    end are lost, and with ``n_time_bins`` the last timestep is. Of a list without events Tonic makes one frame, of W
    rows and H columns.

    SpikingJelly takes ``{name: events[name] for name in "txyp"}``, or ``np.savez`` of it. Its
    ``integrate_events_segment_to_frame`` makes each timestep of its events; ``integrate_events_by_fixed_duration`` with
    ``timestep_us - 1`` (for ``T < timestep_us``) makes all of them, if the first and the last have events.

    Args:
        events: dense ``[T, 2, H, W]`` of any event type, H and W at most 32768.
        timestep_us: duration of a timestep in microseconds; the events of timestep ``k`` have the time
            ``k * timestep_us``.

    Returns:
        Array of :data:`EVENT_DTYPE`; ``p`` is the channel: 0 ON, 1 OFF.

    Raises:
        TypeError: if the events are no tensor, or of another type.
        ValueError: if a shape or value is unfit, or a time would not fit in 64 bits.
    """
    dense = dense_array(events)
    timesteps, _, height, width = dense.shape
    check_event_list_size(height, width)
    _, timestep_us = check_duration(timesteps, timestep_us)
    by_pixel = np.ascontiguousarray(dense.transpose(0, 2, 3, 1))
    places = np.flatnonzero(by_pixel)
    found = np.empty(len(places), EVENT_DTYPE)
    step, found["y"], found["x"], found["p"] = np.unravel_index(places, by_pixel.shape)
    found["t"] = step * timestep_us
    return found


def from_event_list(
    events: np.ndarray, timesteps: int, size: tuple[int, int], timestep_us: int = TIMESTEP_US
) -> Tensor:
    """Make dense events of a list, in any order; events of one timestep, place and polarity are one event.

    Args:
        events: structured array ``[N]`` with integer fields x, y, t and p (0 or 1, or bool).
        timesteps: number of timesteps T; an event belongs to timestep ``t // timestep_us``.
        size: height and width in pixels.
        timestep_us: duration of a timestep in microseconds.

    Returns:
        Dense events ``[T, 2, H, W]``, bool; the channel is ``p``.

    Raises:
        TypeError: if an argument is of the wrong type.
        RecordError: if an event lies outside of the image or the timesteps, or the list is none.
        ValueError: if timesteps, size or duration are unfit, or the events would take more than 2 GiB.
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
            raise RecordError(f"event {first}: {name} is {values[first]}, must be less than {limit}")
    dense = np.zeros((timesteps, 2, height, width), dtype=np.bool_)
    dense[step, events["p"].astype(np.intp), events["y"], events["x"]] = True
    return torch.from_numpy(dense)


def checked_event_list(events: np.ndarray, row: str = "event", first: int = 0) -> np.ndarray:
    """Return a list of events of any integer types in :data:`EVENT_DTYPE`.

    Args:
        events: structured array ``[N]`` with fields x, y, t, p.
        row: what errors call an event.
        first: its number for the first of them.

    Raises:
        TypeError: if it is no array.
        RecordError: if it is no list of events, or a value does not fit; the first event with one is named.
    """
    if not isinstance(events, np.ndarray):
        raise TypeError(f"events must be a NumPy array, got {type(events).__name__}")
    check_fields(events.dtype)
    if events.ndim != 1:
        raise RecordError(f"events must be a list [N], got shape {list(events.shape)}")
    for name, largest in _LARGEST.items():
        values = events[name]
        if values.dtype == np.bool_:
            values = values.view(np.uint8)  # a byte of a bool array can hold anything
        outside = np.flatnonzero((values < 0) | (values > largest))
        if len(outside):
            place = int(outside[0])
            raise RecordError(f"{row} {first + place}: {name} is {values[place]}, must be 0 to {largest}")
    return events[list("xytp")].astype(EVENT_DTYPE)


def check_fields(dtype: np.dtype) -> None:
    """Raise a RecordError unless the fields of an array are x, y, t and p, of integers."""
    fields = {name: dtype[name] for name in dtype.names or ()}
    if sorted(fields) != sorted(_LARGEST) or not all(field.kind in "biu" for field in fields.values()):
        raise RecordError(f"events must have integer fields x, y, t, p; got {dtype}")


def check_event_list_size(height: int, width: int) -> None:
    """Raise a ValueError if the coordinates of an image do not fit in an event list."""
    largest = _LARGEST["x"] + 1
    if max(height, width) > largest:
        raise ValueError(f"an event list has at most {largest} pixels a side, this is {height} x {width}")


def check_duration(timesteps: int, timestep_us: int) -> tuple[int, int]:
    """Return so many timesteps of so many microseconds, integers of any type, as ints.

    Raises:
        TypeError: if one is no integer.
        ValueError: if one is less than 1, or the last time would not fit in an event list.
    """
    timesteps = check_integer("timesteps", timesteps, 1)
    timestep_us = check_integer("timestep_us", timestep_us, 1)
    if timesteps * timestep_us > _LARGEST["t"]:
        raise ValueError(
            f"{timesteps} timesteps of {timestep_us} microseconds do not fit in 64 bits; use a shorter one"
        )
    return timesteps, timestep_us


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise TypeError(f"size must be (height, width), got {size!r}")
    height, width = size
    return check_integer("the height", height, 1), check_integer("the width", width, 1)
