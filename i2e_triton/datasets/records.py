"""Event records of a split, as they lie on disk: what each container has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Samples of a piece where the container itself does not cut its rows into groups.
SAMPLES_PER_PIECE = 128


@dataclass(frozen=True)
class Row:
    """One sample, its events not yet decoded."""

    content: bytes | memoryview | Path  #: an ``.npy`` or ``.npz`` file: its bytes, or where it lies
    label: int  #: -1 where there is none
    timesteps: int  #: of a record of packed bits, which does not say it itself
    where: str  #: file and row, for messages


class Records(ABC):
    """The samples of a split. Cheap to pickle; files are opened by the process that reads them, when it does."""

    #: Names of the labels, or None where the files do not say.
    classes: tuple[str, ...] | None

    @abstractmethod
    def __len__(self) -> int:
        """Count the rows."""

    @abstractmethod
    def labels(self) -> npt.NDArray[np.int64]:
        """Read the label of every row, and no events."""

    @abstractmethod
    def pieces(self) -> npt.NDArray[np.int64]:
        """Return where rows that are cheapest read together begin, and behind them the number of rows."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Yield position in ``rows`` and row, in the order in which the files are read best.

        Raises:
            RecordError: if a file is damaged; the message names it and the row.
        """


def pieces_of_samples(samples: int) -> npt.NDArray[np.int64]:
    """Cut rows that lie one by one into pieces."""
    return np.append(np.arange(0, samples, SAMPLES_PER_PIECE, dtype=np.int64), np.int64(samples))


def by_piece(rows: Sequence[int], pieces: npt.NDArray[np.int64]) -> Iterable[tuple[int, list[int]]]:
    """Group the positions in ``rows`` by the piece that holds the row, so that each piece is read once."""
    piece_of = np.searchsorted(pieces, np.asarray(rows, dtype=np.int64), side="right") - 1
    positions = np.argsort(piece_of).tolist()
    for piece, group in groupby(positions, key=piece_of.tolist().__getitem__):
        yield piece, list(group)
