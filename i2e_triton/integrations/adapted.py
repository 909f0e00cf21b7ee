"""The common base class of the data sets for other libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.checks import check_integer
from i2e_triton.formats.event_list import TIMESTEP_US


class AdaptedDataset(Dataset[tuple[Any, Any]]):
    """The rows of another data set in the form of :meth:`adapt`.

    Args:
        dataset: one of :mod:`i2e_triton.datasets` with random access, with dense events in the layout ``"TCHW"``.
        timestep_us: duration of a timestep in microseconds. Default: 1000.
        transform: function that is applied to each adapted row.
        target_transform: function that is applied to each label.
    """

    def __init__(
        self,
        dataset: Dataset[tuple[Any, Any]],
        *,
        timestep_us: int = TIMESTEP_US,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.dataset: Any = dataset
        self.timestep_us = check_integer("timestep_us", timestep_us, 1)
        self.transform = transform
        self.target_transform = target_transform

    @property
    def classes(self) -> list[str] | None:
        """Class names in the order of the labels, or None if the data set has none."""
        return self.dataset.classes

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label."""
        return self.dataset.class_to_idx

    @property
    def targets(self) -> list[int]:
        """The label of every row."""
        return self.dataset.targets

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the events, from the first row."""
        events, _ = self.dataset[0]
        return events.shape[-2], events.shape[-1]

    def adapt(self, events: Tensor) -> Any:
        """Return dense events ``[T, 2, H, W]`` in the form of the other library."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._row(*self.dataset[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return a row for each index. ``DataLoader`` calls this once per batch."""
        return [self._row(*row) for row in self.dataset.__getitems__(indices)]

    def _row(self, events: Tensor, label: Any) -> tuple[Any, Any]:
        row = self.adapt(events)
        if self.transform is not None:
            row = self.transform(row)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return row, label
