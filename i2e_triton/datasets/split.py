"""The common base class of :class:`EventDataset` and :class:`EventStream`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from i2e_triton.datasets.decoding import RowDecoder, timesteps_of
from i2e_triton.datasets.location import Location, open_records
from i2e_triton.datasets.records import EventRow
from i2e_triton.formats import RecordError


class EventSplit:
    """The rows of one split of an event data set, and how they are decoded."""

    def __init__(self, location: Location, split: str | None, decoder: RowDecoder) -> None:
        self._decoder = decoder
        self._records = open_records(location, split)

    @property
    def classes(self) -> list[str] | None:
        """Class names in the order of the labels, or None if the files have none."""
        return None if self._records.classes is None else list(self._records.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label; empty if the files have no class names."""
        return {name: label for label, name in enumerate(self._records.classes or ())}

    @cached_property
    def timesteps(self) -> int:
        """Number of timesteps of the first row. Pass it to :func:`i2e_triton.unpack` for packed events.

        Raises:
            ValueError: if there are no rows.
            RecordError: if the first row is damaged.
        """
        rows = [0] if len(self._records) else []
        for _, row in self._records.read(rows):
            return timesteps_of(row)
        raise ValueError("the data set is empty, so its number of timesteps is unknown")

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)`` for each of ``rows``. Labels are checked."""
        for position, row in self._records.read(rows):
            if self._records.classes is not None and not -1 <= row.label < len(self._records.classes):
                raise RecordError(
                    f"{row.where}: label {row.label} is not one of the {len(self._records.classes)} classes"
                )
            yield position, row

    def _decode(self, rows: Sequence[EventRow]) -> list[tuple[Any, Any]]:
        return self._decoder(rows, self.timesteps if self._decoder.packed else None)
