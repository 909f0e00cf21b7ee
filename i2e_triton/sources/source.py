"""The interface of a source of images: rows that any process can read from any position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import PIL.Image

#: Name of the only split of a source without splits.
WHOLE = "train"


class SourceError(ValueError):
    """A source does not exist or is invalid. The message names the file and says what is expected."""


@dataclass(frozen=True)
class ImageRow:
    """One image of a source, not yet decoded."""

    #: relative path without suffix, or row number; unique within the split and the same in every run
    key: str
    image: bytes | PIL.Image.Image  #: content of an image file, or a PIL image
    label: int  #: index of the class, or -1 if the image has no label


class Rows(Protocol):
    """What a manifest says about one split of a data set, of images or of recordings."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the labels, or None if the source has no class names."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def fingerprint(self) -> str:
        """Return a hash that changes when a file is added, removed or renamed, or its size changes.

        The hash does not depend on modification times or on the location of the source.
        """

    def nbytes(self) -> int:
        """Return the size of all rows, or of the files that contain them, in bytes."""


class Source(Rows, Protocol):
    """One split of a data set of images.

    Pickling a source does not copy its images. Each process opens the files that it reads.
    """

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive) in order.

        Raises:
            SourceError: if a file is damaged.
            OSError: if a file cannot be read.
        """
