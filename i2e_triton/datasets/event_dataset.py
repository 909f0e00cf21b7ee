"""Random access to a data set of events."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.datasets.location import Location
from i2e_triton.datasets.split import Split


class EventDataset(Split, Dataset[tuple[Any, Any]]):
    """Events and labels by row number, as torchvision's data sets.

    ``dataset[i]`` is ``(events, label)``: dense events ``[T, 2, H, W]`` of ``dtype``, values 0 and 1, or packed events
    ``[2, H, W]``, uint8, bit ``t`` of each is timestep ``t``; the label is an int, -1 where there is none. A
    ``DataLoader`` makes batches ``[B, T, 2, H, W]`` of dense events; SpikingJelly's multi-step networks take
    ``events.transpose(0, 1)``. Packed events are an eighth to a 32nd of that, and are spread on the device, timesteps
    first::

        dataset = EventDataset(folder, "train", packed=True)
        for packed, labels in DataLoader(dataset, batch_size=128, shuffle=True, num_workers=4, pin_memory=True):
            events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), dataset.timesteps)  # [T, B, 2, H, W]

    Opening reads names and metadata. Each process opens the files that it reads, so that the data set can be sent to
    the workers of a ``DataLoader``, forked or spawned. To read a row of a Parquet file is to decompress its row group;
    a batch does that once for each group. Where row groups are large, as on the hub, :class:`EventStream` is many times
    faster.

    Args:
        location: one of

            - a folder that ``i2e dataset`` wrote: Parquet, tars, or npz in class folders,
            - a data set of the Hugging Face hub: a downloaded folder, with shards in it, in ``data/``, or in a folder
              for each configuration, or the folder ``datasets--<owner>--<name>`` of the hub's cache,
            - official npz: ``<location>/<split>/<class>/<name>.npz``, or ``<location>/<class>/<name>.npz``,
            - Parquet files or uncompressed tars (WebDataset): one, a sequence, or a glob.

        split: name of the split; may be left out where there is one only.
        packed: return packed events, whatever ``dtype``.
        dtype: of dense events: float32, float16, bfloat16, uint8 or bool.
        transform: applied to the events of each row.
        target_transform: applied to each label.

    Class names come from the Hugging Face metadata of Parquet files and from ``manifest.json`` of ``i2e dataset``.
    Without those, class folders are numbered in the sorted order of their names, as torchvision's ``DatasetFolder``
    does for the official training code. Those of official CIFAR-100 are named by number, and sorted as text: the
    label of folder ``2`` is 12 (``classes[12] == "2"``).

    Raises:
        FileNotFoundError: if nothing lies at the location.
        TypeError: if ``dtype`` is no type of events.
        ValueError: if it is not clear what is to be read, or the split, a shard or the end of a conversion is missing.
        RecordError: if a file is damaged or lacks a column; reading raises it for a bad row. Names file and row.
    """

    def __init__(
        self,
        location: Location,
        split: str | None = None,
        *,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__(location, split, packed, dtype, transform, target_transform)

    @cached_property
    def targets(self) -> list[int]:
        """Label of every row; no events are decoded for it."""
        labels: list[int] = self._records.labels().tolist()
        return labels

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return the rows of a batch, which ``DataLoader`` asks for at once.

        Raises:
            IndexError: if there is no such row; negative ones count from the end.
            RecordError: if a record is unfit.
        """
        rows = [self._row_number(index) for index in indices]
        decoded: list[tuple[Any, Any]] = [(None, None)] * len(rows)
        for position, row in self._read(rows):
            decoded[position] = self._decode(row)
        return decoded

    def _row_number(self, index: int) -> int:
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a data set of {len(self)} rows")
        return row % len(self)
