"""Images in WebDataset tars: uncompressed, and the files of a sample have the same name but for the extension."""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from i2e_triton.io.location import IMAGE_SUFFIXES
from i2e_triton.io.tar import read_at, read_samples
from i2e_triton.sources.source import ImageRow, SourceError


class TarSource:
    """The samples of WebDataset tars: an image and an optional label in a ``.cls`` or ``.json`` file.

    Opening reads all headers and labels, and stores the offset of each image. Images are identified by their suffix. As
    in WebDataset, the name of a sample ends at the first dot of the file name. The key of a row is the name of the tar,
    a slash and the name of the sample.

    Args:
        paths: the tars of one split, in order.

    Raises:
        SourceError: if a file is not an uncompressed tar or is damaged, if there are no images, or if a sample has two
            images or an invalid label.
        OSError: if a file cannot be read.
    """

    classes = None

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._starts: list[int] = []  # row number of each tar's first image
        self._offsets, self._sizes, self._labels = array("q"), array("q"), array("q")
        keys: list[str] = []
        digest = hashlib.sha256()
        for path in paths:
            self._starts.append(len(keys))
            digest.update(repr((path.name, path.stat().st_size)).encode())
            try:
                for sample in read_samples(path, lambda extension: f".{extension}" in IMAGE_SUFFIXES):
                    # Do not change this text: a conversion is resumed only if the fingerprint is equal.
                    fields = f"key={sample.key!r}, offset={sample.offset}, size={sample.size}, label={sample.label}"
                    digest.update(f"_Sample({fields})".encode())
                    keys.append(sample.key)
                    self._offsets.append(sample.offset)
                    self._sizes.append(sample.size)
                    self._labels.append(sample.label)
            except ValueError as error:
                raise SourceError(str(error)) from error
        if not keys:
            raise SourceError(f"{paths[0]} contains no images; image files must end in {', '.join(IMAGE_SUFFIXES)}")
        self._keys = pa.array(map(os.fsencode, keys), pa.large_binary())  # a quarter of the memory of Python strings
        self._fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive). One tar is open at a time."""
        while start < stop:
            tar = bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[tar + 1]) if tar + 1 < len(self._starts) else stop
            path = self._paths[tar]
            with path.open("rb") as file:
                for index in range(start, end):
                    key = os.fsdecode(self._keys[index].as_py())
                    image = read_at(file, self._offsets[index], self._sizes[index])
                    if len(image) != self._sizes[index]:
                        raise SourceError(f"{path} has changed: it ends inside the sample {key!r}")
                    yield ImageRow(f"{path.stem}/{key}", image, self._labels[index])
            start = end

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the tars, and of the names, offsets and labels of the samples."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the sum of the image sizes in bytes."""
        return sum(self._sizes)
