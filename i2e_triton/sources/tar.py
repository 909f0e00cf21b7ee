"""WebDataset: uncompressed tars in which the files of a sample share a name."""

from __future__ import annotations

import hashlib
import json
import tarfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from torchvision.datasets.folder import IMG_EXTENSIONS

from i2e_triton.io.tar import split_name, visible_files
from i2e_triton.sources.names import Names
from i2e_triton.sources.source import LARGEST_LABEL, NO_LABEL, Row, SourceError

_LARGEST_LABEL_FILE = 1024 * 1024  # bytes


@dataclass
class _Sample:
    key: str
    offset: int = -1  #: of the image in the tar; -1 without an image
    size: int = 0
    label: int = NO_LABEL


class TarSource:
    """The samples of tars: an image each, by its extension, and a label in a ``.cls`` or ``.json`` file, or none.

    The places of all images are noted once, so that any of them is read at once. As in WebDataset, the first dot of a
    file's name ends the sample's name, and the files of a sample follow each other. A row's key is the name of the tar
    and that of the sample.

    Args:
        paths: the tars of one split, in order.

    Raises:
        SourceError: if a file is no uncompressed tar or is damaged, there is no image, or a sample is unclear.
        OSError: if a file cannot be read.
    """

    classes = None

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._starts: list[int] = []  # number of each tar's first row
        self._keys = Names()
        self._offsets, self._sizes, self._labels = array("q"), array("q"), array("q")
        digest = hashlib.sha256()
        for path in paths:
            self._starts.append(len(self))
            digest.update(repr((path.name, path.stat().st_size)).encode())
            for sample in _samples(path):
                digest.update(repr(sample).encode())
                self._add(sample)
        if not len(self):
            raise SourceError(f"{paths[0]} holds no pictures; a picture's name ends in {', '.join(IMG_EXTENSIONS)}")
        self._fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the rows from ``start`` to ``stop``; one tar is open at a time."""
        while start < stop:
            place = bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[place + 1]) if place + 1 < len(self._starts) else stop
            path = self._paths[place]
            with path.open("rb") as file:
                for index in range(start, end):
                    image = _bytes_at(file, self._offsets[index], self._sizes[index])
                    if len(image) != self._sizes[index]:
                        raise SourceError(f"{path} has changed: it ends before its sample {self._keys[index]!r} does")
                    yield Row(f"{path.stem}/{self._keys[index]}", image, self._labels[index])
            start = end

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the tars, and of the names, places and labels of their samples."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the sum of the sizes of the images."""
        return sum(self._sizes)

    def _add(self, sample: _Sample) -> None:
        self._keys.append(sample.key)
        self._offsets.append(sample.offset)
        self._sizes.append(sample.size)
        self._labels.append(sample.label)


def _samples(path: Path) -> Iterator[_Sample]:
    """List the samples of a tar that have an image."""
    sample, seen = _Sample(""), set()
    with path.open("rb") as file:
        for name, member in _members(path, file):
            key, extension = split_name(name)
            if key != sample.key:
                if sample.offset >= 0:
                    yield sample
                if key in seen:
                    raise SourceError(f"{path}: the files of the sample {key!r} do not follow each other")
                seen.add(key)
                sample = _Sample(key)
            _add_member(sample, member, extension, file, path)
    if sample.offset >= 0:
        yield sample


def _add_member(sample: _Sample, member: tarfile.TarInfo, extension: str, file: BinaryIO, path: Path) -> None:
    if f".{extension}" in IMG_EXTENSIONS:
        if sample.offset >= 0:
            raise SourceError(f"{path}: the sample {sample.key!r} has two images, the second is {member.name!r}")
        sample.offset, sample.size = member.offset_data, member.size
    elif extension in ("cls", "json"):
        label = _label(path, member, file)
        if label is not None:
            sample.label = label


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo]]:
    try:
        yield from visible_files(file)
    except tarfile.TarError as error:
        raise SourceError(f"{path} is not an uncompressed tar, or a damaged one ({error})") from error


def _bytes_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _label(path: Path, member: tarfile.TarInfo, file: BinaryIO) -> int | None:
    """Read the label in a ``.cls`` file, or that in a ``.json`` file if it has one."""
    if member.size > _LARGEST_LABEL_FILE:
        raise SourceError(f"{path}: {member.name!r} is too large for a label ({member.size:,} bytes)")
    text = _bytes_at(file, member.offset_data, member.size)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: {member.name!r} holds no label ({error})") from error
    if member.name.lower().endswith(".json"):
        if not isinstance(content, dict) or "label" not in content:
            return None
        content = content["label"]
    if type(content) is not int or not 0 <= content <= LARGEST_LABEL:
        raise SourceError(f"{path}: the label in {member.name!r} must be 0 to {LARGEST_LABEL}, got {content!r}")
    return content
