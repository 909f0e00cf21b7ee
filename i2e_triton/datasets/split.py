"""A split of a data set: what the map-style and the streaming reader have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from i2e_triton.datasets.decoding import Decoding, timesteps_of
from i2e_triton.datasets.location import Location, open_records
from i2e_triton.datasets.records import Row
from i2e_triton.formats import RecordError


class Split:
    """The rows of a split, decoded one by one."""

    def __init__(
        self,
        location: Location,
        split: str | None,
        packed: bool,
        dtype: torch.dtype,
        transform: Callable[[Tensor], Any] | None,
        target_transform: Callable[[int], Any] | None,
    ) -> None:
        self._decoding = Decoding(packed, dtype, transform, target_transform)
        self._records = open_records(location, split)

    @property
    def classes(self) -> list[str] | None:
        """Names of the labels, or None where the files do not say."""
        return None if self._records.classes is None else list(self._records.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label of each name; empty where the files do not say."""
        return {name: label for label, name in enumerate(self._records.classes or ())}

    @cached_property
    def timesteps(self) -> int:
        """Number of timesteps of the first row: what packed events are unpacked to.

        Raises:
            ValueError: if there are no rows, or if the first one is damaged.
        """
        rows = [0] if len(self._records) else []
        for _, row in self._records.read(rows):
            return timesteps_of(row)
        raise ValueError("the data set is empty, so that its number of timesteps is not known")

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Yield position in ``rows`` and row, labels checked."""
        for position, row in self._records.read(rows):
            if self._records.classes is not None and not -1 <= row.label < len(self._records.classes):
                raise RecordError(f"{row.where}: label {row.label} is none of the {len(self._records.classes)} classes")
            yield position, row

    def _decode(self, row: Row) -> tuple[Any, Any]:
        return self._decoding(row, self.timesteps if self._decoding.packed else None)
