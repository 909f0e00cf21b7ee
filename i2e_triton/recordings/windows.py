"""Cut a stream of events into windows, and each window into timesteps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_integer
from i2e_triton.functional import pack


@dataclass(frozen=True)
class WindowRule:
    """How events are cut into windows and timesteps. Exactly one of ``window_us`` and ``count`` is given.

    * ``window_us``: windows of equal duration, from the first event on. Each has ``timesteps`` timesteps of equal
      duration. Windows without events are left out.
    * ``count``: windows of an equal number of events. Each has ``timesteps`` timesteps of an equal number. The last
      window may have fewer events; its last timesteps are then empty.
    """

    window_us: int | None = None  #: duration of a window in microseconds
    count: int | None = None  #: number of events of a window
    timesteps: int = 8  #: number of timesteps of a window, 1 to 8

    def __post_init__(self) -> None:
        check_integer("timesteps", self.timesteps, 1)
        if self.timesteps > PACKED_TIMESTEPS:
            raise ValueError(f"timesteps must be 1 to {PACKED_TIMESTEPS}, got {self.timesteps}")
        if (self.window_us is None) == (self.count is None):
            raise ValueError("pass either window_us or count")
        for name, value in (("window_us", self.window_us), ("count", self.count)):
            if value is not None:
                check_integer(name, value, 1)


class Window(NamedTuple):
    """The events of a window."""

    time_us: int  #: time at which the window begins, in microseconds of the recording's clock
    packed: Tensor  #: uint8 ``[2, H, W]``; bit ``t`` is timestep ``t``


class _Part(NamedTuple):
    """Events of one window in one packet."""

    window: int
    time_us: int
    steps: np.ndarray
    events: np.ndarray


def windows(packets: Iterable[np.ndarray], size: tuple[int, int], rule: WindowRule) -> Iterator[Window]:
    """Yield the windows of a recording. One packet and one window are in memory at a time.

    Several events of a pixel in one timestep and polarity become one. An event that is earlier than the one before it
    gets the time of that one.

    Args:
        packets: events in the order of time, in arrays with the fields t, x, y and p.
        size: height and width of the sensor in pixels.
        rule: where windows and timesteps begin.
    """
    dense = np.zeros((rule.timesteps, 2, *size), np.bool_)
    current = None
    for part in _parts(packets, rule):
        if current is not None and part.window != current.window:
            yield Window(current.time_us, pack(torch.from_numpy(dense)))
            dense[:] = False
        if current is None or part.window != current.window:
            current = part
        dense[part.steps, 1 - part.events["p"].astype(np.intp), part.events["y"], part.events["x"]] = True
    if current is not None:
        yield Window(current.time_us, pack(torch.from_numpy(dense)))


def measure(packets: Iterable[np.ndarray], rule: WindowRule) -> tuple[int, int, int]:
    """Return the number of windows of a recording that have events, and the times of its first and its last event."""
    number, current, last = 0, None, 0
    first: int | None = None
    for part in _parts(packets, rule):
        first = int(part.events["t"][0]) if first is None else first
        last = max(last, int(part.events["t"].max()))
        number += part.window != current
        current = part.window
    return number, first or 0, last


def _parts(packets: Iterable[np.ndarray], rule: WindowRule) -> Iterator[_Part]:
    first: int | None = None
    latest, number = 0, 0
    for packet in packets:
        if not len(packet):
            continue
        times = np.maximum.accumulate(packet["t"].astype(np.int64))
        np.maximum(times, latest, out=times)
        latest, first = int(times[-1]), int(times[0]) if first is None else first
        if rule.window_us is not None:
            found, within = np.divmod(times - first, rule.window_us)
            steps = within * rule.timesteps // rule.window_us
        else:
            assert rule.count is not None
            found, within = np.divmod(np.arange(number, number + len(packet)), rule.count)
            steps = within * rule.timesteps // rule.count
        number += len(packet)
        limits = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist(), len(packet)]
        for start, stop in pairwise(limits):
            window = int(found[start])
            begins = int(times[start]) if rule.window_us is None else first + window * rule.window_us
            yield _Part(window, begins, steps[start:stop], packet[start:stop])
