"""The interface of a source of images: rows that any process can read from any position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import PIL.Image

#: The split of a source that has no splits.
WHOLE = "train"

#: The label of an image without a label.
NO_LABEL = -1
LARGEST_LABEL = 2**31 - 1


class SourceError(ValueError):
    """A source does not exist or is not valid. The message says where, and what is expected."""


@dataclass(frozen=True)
class ImageRow:
    """One image of a source, not yet decoded."""

    key: str  #: unique within the split and the same in every run: relative path without suffix, or the row number
    image: bytes | PIL.Image.Image  #: content of an image file, or an image
    label: int  #: index of the class, -1 without a label


class Source(Protocol):
    """One split of a data set of images.

    A source is small when pickled. The process that reads a source opens its files.
    """

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the labels, or None if the source has no class names."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive) in order.

        Raises:
            SourceError: if a file is damaged.
            OSError: if a file cannot be read.
        """

    def fingerprint(self) -> str:
        """Return a hash that changes when a file is added, removed, renamed or changes its size.

        It depends neither on the times of the files nor on the location of the source.
        """

    def nbytes(self) -> int:
        """Return the size of all images on disk in bytes."""
