"""Random access to an event data set."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.datasets.decoding import RowDecoder
from i2e_triton.datasets.location import Location
from i2e_triton.datasets.split import EventSplit


class EventDataset(EventSplit, Dataset[tuple[Any, Any]]):
    """A map-style data set of events and labels, like torchvision's data sets.

    ``dataset[i]`` is ``(events, label)``. Events are dense ``[T, 2, H, W]`` of type ``dtype`` with values 0 and 1, or
    packed ``[2, H, W]``, uint8, where bit ``t`` is timestep ``t``. The label is an int, -1 without a label. A
    ``DataLoader`` returns dense batches ``[B, T, 2, H, W]``; SpikingJelly's multi-step networks take
    ``events.transpose(0, 1)``. Packed events take 1/8 to 1/32 of the memory. Transfer them to the device and unpack
    them there, which puts the timesteps first::

        dataset = EventDataset(folder, "train", packed=True)
        for packed, labels in DataLoader(dataset, batch_size=128, shuffle=True, num_workers=4, pin_memory=True):
            events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), dataset.timesteps)  # [T, B, 2, H, W]

    Opening reads only names and metadata. Each process opens the files that it reads, so the workers of a
    ``DataLoader`` may be forked or spawned. Reading a row of a Parquet file decompresses its row group; a batch
    decompresses each row group once. If row groups are large, as on the Hugging Face hub, :class:`EventStream` is many
    times faster.

    Sizes are checked before memory is allocated. The exception: if the sizes in the footer of a Parquet file are false,
    PyArrow can exceed the limits. Read untrusted Parquet files in a process with limited memory.

    Class names come from the Hugging Face metadata of Parquet files and from the ``manifest.json`` of ``i2e dataset``.
    Without these, class folders named 0 to N-1 (with or without leading zeros), as in official CIFAR-100, have these
    numbers as labels. Other class folders are numbered in the sorted order of their names, as torchvision's
    ``DatasetFolder`` does for all names. (``DatasetFolder`` gives the folder ``2`` of CIFAR-100 the label 12.)

    Args:
        location: one of

            - a folder that ``i2e dataset`` wrote: Parquet files, tars, or npz files in class folders,
            - a data set of the Hugging Face hub: a downloaded folder with shards in itself, in ``data/`` or in a folder
              per configuration,
            - official npz files: ``<location>/<split>/<class>/<name>.npz`` or ``<location>/<class>/<name>.npz``,
            - Parquet files or uncompressed tars (WebDataset): a path, a sequence of paths, or a glob.

        split: name of the split. Default: None, which is valid if there is only one split.
        packed: return packed events and ignore ``dtype``. Default: False.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        layout: order of the dimensions of dense events: ``"TCHW"``, ``"CTHW"`` or ``"CHWT"``. Default: ``"TCHW"``.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.

    Raises:
        FileNotFoundError: if the location does not exist or contains no events.
        TypeError: if ``dtype`` is not a type of events.
        ValueError: if the location is ambiguous, the split or a shard is missing, or its conversion is not complete.
        RecordError: if a file is damaged or a column is missing. Reading a damaged row raises it as well. The message
            names the file and the row.
    """

    def __init__(
        self,
        location: Location,
        split: str | None = None,
        *,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        layout: str = "TCHW",
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__(location, split, RowDecoder(packed, dtype, layout, transform, target_transform))

    @cached_property
    def targets(self) -> list[int]:
        """The label of every row. No events are decoded."""
        labels: list[int] = self._records.labels().tolist()
        return labels

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return ``(events, label)`` for each row of a batch. ``DataLoader`` calls this once per batch.

        Args:
            indices: row numbers. Negative numbers count from the end.

        Raises:
            IndexError: if a row does not exist.
            RecordError: if a record is damaged.
        """
        rows = check_rows(indices, len(self))
        found = dict(self._read(rows))
        return self._decode([found[position] for position in range(len(rows))])


def check_rows(indices: Sequence[int], length: int) -> list[int]:
    """Return row numbers from 0 to ``length - 1``. Negative indices count from the end.

    Raises:
        IndexError: if a row does not exist.
    """
    rows = [operator.index(index) for index in indices]
    for row in rows:
        if not -length <= row < length:
            raise IndexError(f"row {row} is out of range for a data set of {length} rows")
    return [row + length if row < 0 else row for row in rows]
