"""The interface through which Parquet files, tars and npz folders return the rows of a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Rows per group in tars and npz folders, which have no row groups.
ROWS_PER_GROUP = 128


@dataclass  # frozen would take 1 us more per row
class EventRow:
    """One row of an event data set, not yet decoded."""

    content: bytes | memoryview | Path  #: content or path of an ``.npy`` or ``.npz`` file
    label: int  #: -1 if the row has no label
    timesteps: int  #: number of timesteps of a packed record, which does not store it
    where: str  #: file and row, for error messages


class Records(ABC):
    """The rows of a split. Pickling does not copy events. Each process opens the files that it reads."""

    #: Class names in the order of the labels, or None if the files have none.
    classes: tuple[str, ...] | None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def labels(self) -> npt.NDArray[np.int64]:
        """Return the label of every row. No events are read."""

    def group_offsets(self) -> npt.NDArray[np.int64]:
        """Return row-group offsets, ending with the row count. Reading all rows of a group in one call is fastest.

        Tars and folders have no row groups, so their rows are divided into groups of equal size.
        """
        return np.append(np.arange(0, len(self), ROWS_PER_GROUP, dtype=np.int64), np.int64(len(self)))

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)`` for each of ``rows``, in the order that is fastest to read.

        Raises:
            RecordError: if a file is missing or damaged. The message names the file.
        """


def by_group(rows: Sequence[int], offsets: npt.NDArray[np.int64]) -> Iterable[tuple[int, list[int]]]:
    """Yield each group that contains any of the rows, and the positions in ``rows`` of the rows that it contains."""
    group_of = np.searchsorted(offsets, np.asarray(rows, dtype=np.int64), side="right") - 1
    positions = np.argsort(group_of).tolist()
    for group, members in groupby(positions, key=group_of.tolist().__getitem__):
        yield group, list(members)
