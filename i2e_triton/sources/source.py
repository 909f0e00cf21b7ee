"""What a source of images is: rows that any process can read from any place on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import PIL.Image

#: The split of a source that is not divided.
WHOLE = "train"

#: The label of an image without one.
NO_LABEL = -1
LARGEST_LABEL = 2**31 - 1


class SourceError(ValueError):
    """A source is not there, or not what it should be; the message says where and what would be right."""


@dataclass(frozen=True)
class Row:
    """One image of a source, as it is stored."""

    key: str  #: unique within the split and the same in every run: relative path without suffix, or the row's number
    image: bytes | PIL.Image.Image  #: an encoded picture file, or the picture
    label: int  #: index of the class, -1 where there is none


class Source(Protocol):
    """One split of a data set of images.

    Pickled small; files are opened in the process that reads them.
    """

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, in order of the labels; None where the source names none."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the rows from ``start`` to ``stop`` (exclusive) in order, and little besides.

        Raises:
            SourceError: if a file is damaged.
            OSError: if a file cannot be read.
        """

    def fingerprint(self) -> str:
        """Return a hash that changes when a file is added, removed, renamed or changes its size.

        When a file was written, and where the source lies, makes no difference.
        """

    def nbytes(self) -> int:
        """Return how many bytes the images take on disk."""
