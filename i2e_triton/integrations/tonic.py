"""Tonic: a transform from images to event lists, and a data set of event lists.

``ToFrame`` returns the dense events with the channels swapped, ``events.flip(1)``, if it gets the duration ``D`` of a
timestep and the time of the whole list::

    ToFrame(sensor_size=(W, H, 2), time_window=D, start_time=0, end_time=8 * D)

Without ``start_time`` and ``end_time``, ``ToFrame`` loses empty timesteps at the start and at the end.
``ToFrame(n_time_bins=8)`` loses the last event by design, and with it all events of the last timestep. For an event
list without events, as of a flat image, ``ToFrame`` returns one frame with W rows and H columns.

Needs Tonic: ``pip install 'i2e-triton[tonic]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.checks import check_integer
from i2e_triton.formats import EVENT_DTYPE, to_event_list
from i2e_triton.formats.event_list import TIMESTEP_US
from i2e_triton.images import Images
from i2e_triton.install_hints import needs_extra
from i2e_triton.integrations.adapted import AdaptedDataset
from i2e_triton.module import I2E
from i2e_triton.shifts import DEFAULT_ORDER, Order

with needs_extra(__name__, "tonic"):
    import tonic


class ImageToEventList:
    """Convert an image to an event list, for ``tonic.transforms.Compose`` and torchvision's data sets.

    Args:
        ratio: event threshold in [0, 1], as a fraction of the range of the image's values. The paper uses 0.12 at
            224x224 and 0.07 at 128x128.
        order: order of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: number of timesteps, 1 to 8.
        random: draw new motion vectors for every image (the paper's random selection).
        timestep_us: duration of a timestep in microseconds. Events of timestep ``k`` have the time
            ``k * timestep_us``. Default: 1000.
    """

    def __init__(
        self,
        ratio: float = 0.12,
        *,
        order: Order = DEFAULT_ORDER,
        timesteps: int = 8,
        random: bool = False,
        timestep_us: int = TIMESTEP_US,
    ) -> None:
        self._convert = I2E(ratio, order, timesteps=timesteps, random=random, dtype=torch.bool)
        self.timestep_us = check_integer("timestep_us", timestep_us, 1)

    def __call__(self, image: Images) -> np.ndarray:
        """Return the event list ``[N]`` of an image: a PIL image, a NumPy array or a tensor ``[C, H, W]``."""
        return to_event_list(self._convert(image), self.timestep_us)


class EventListDataset(AdaptedDataset, tonic.Dataset):  # type: ignore[misc]
    """A ``tonic.Dataset`` of event lists and labels.

    The attributes are those of Tonic's data sets: ``sensor_size`` is (W, H, 2), ``ordering`` is ``("x", "y", "t",
    "p")``, and ``dtype`` is the structured dtype of the events.

    Args:
        dataset: one of :mod:`i2e_triton.datasets` with random access, with dense events in the layout ``"TCHW"``.
        timestep_us: duration of a timestep in microseconds. Default: 1000.
        transform: function that is applied to each event list.
        target_transform: function that is applied to each label.
        transforms: function that is applied to the event list and the label together, after the others.
    """

    dtype = EVENT_DTYPE
    ordering = EVENT_DTYPE.names

    def __init__(
        self,
        dataset: Dataset[tuple[Any, Any]],
        *,
        timestep_us: int = TIMESTEP_US,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        # The constructor of tonic.Dataset is not called: it sets the paths of files to download.
        AdaptedDataset.__init__(
            self, dataset, timestep_us=timestep_us, transform=transform, target_transform=target_transform
        )
        self.transforms = transforms

    @property
    def sensor_size(self) -> tuple[int, int, int]:
        """Width, height and number of polarities, as Tonic's transforms expect."""
        height, width = self.size
        return width, height, 2

    def adapt(self, events: Tensor) -> np.ndarray:
        """Return dense events as an event list."""
        return to_event_list(events, self.timestep_us)

    def _row(self, events: Tensor, label: Any) -> tuple[Any, Any]:
        row = super()._row(events, label)
        return row if self.transforms is None else self.transforms(*row)
