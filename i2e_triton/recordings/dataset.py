"""Dense events of the recordings in a data set of Tonic or SpikingJelly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.functional import unpack
from i2e_triton.recordings.windows import WindowRule, windows


class RecordedEvents(Dataset[tuple[Any, Any]]):
    """The recordings of a data set of Tonic or SpikingJelly, each as one window of dense events.

    ``dataset[i]`` is ``(events, label)``, as in :class:`i2e_triton.datasets.EventDataset`. A recording is cut into
    timesteps of equal duration, from its first to its last event. ON events are channel 0, unlike in the frames of
    these libraries.

    Args:
        dataset: rows ``(events, label)``, where the events have the fields t, x, y and p (1 is ON): Tonic's
            ``CIFAR10DVS``, ``DVSGesture``, ``NMNIST`` and ``NCALTECH101`` without a transform, or SpikingJelly's
            classes with ``data_type="event"``.
        size: height and width of the sensor: 128, 128 for CIFAR10-DVS and DVS128 Gesture, 34, 34 for N-MNIST, and 180,
            240 for N-Caltech101.
        timesteps: number of timesteps, 1 to 8.
        packed: return packed events ``[2, H, W]`` and ignore ``dtype``.
        dtype: type of dense events ``[T, 2, H, W]``.
        transform: function that is applied to the events.

    Raises:
        ValueError: if a recording has no events, or one outside of the sensor.
    """

    def __init__(
        self,
        dataset: Sequence[tuple[Any, Any]],
        size: tuple[int, int],
        *,
        timesteps: int = 8,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.dataset = dataset
        self.size = size
        self.timesteps = timesteps
        self._packed = packed
        self._dtype = dtype
        self._transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        found, label = self.dataset[index]
        listed = _as_list(found)
        if not len(listed):
            raise ValueError(f"recording {index} has no events")
        if int(listed["y"].max()) >= self.size[0] or int(listed["x"].max()) >= self.size[1]:
            largest = f"y {int(listed['y'].max())}, x {int(listed['x'].max())}"
            raise ValueError(f"recording {index} has events up to {largest}, outside of the sensor {self.size}")
        duration = int(listed["t"].max()) - int(listed["t"][0]) + 1
        (window,) = windows([listed], self.size, WindowRule(window_us=duration, timesteps=self.timesteps))
        events = window.packed if self._packed else unpack(window.packed, self.timesteps, self._dtype)
        return (events if self._transform is None else self._transform(events)), label


def _as_list(found: Any) -> np.ndarray:
    """Return events as a structured array. SpikingJelly returns a mapping of arrays."""
    names = found.keys() if isinstance(found, Mapping) else found.dtype.names
    listed = np.empty(len(found["t"]), [(name, np.int64) for name in "txyp"])
    for name in "txyp":
        if name not in names:
            raise ValueError(f"events must have the fields t, x, y and p, got {', '.join(names)}")
        listed[name] = found[name]
    return listed
