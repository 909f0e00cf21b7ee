"""Images in WebDataset tars: uncompressed, and the files of a sample have the same name but for the extension."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from i2e_triton.io.location import IMAGE_SUFFIXES
from i2e_triton.io.tar import TarMember, read_at, split_name, visible_files
from i2e_triton.sources.source import LARGEST_LABEL, NO_LABEL, ImageRow, SourceError

_LARGEST_LABEL_FILE = 1024 * 1024  # bytes


@dataclass
class _TarImage:
    key: str
    offset: int = -1  #: offset of the image in the tar in bytes, -1 if no image has been found
    size: int = 0  #: size of the image in bytes
    label: int = NO_LABEL


class TarSource:
    """The samples of WebDataset tars: an image and an optional label in a ``.cls`` or ``.json`` file.

    Opening reads all headers and stores the offset of each image. Images are identified by their suffix. As in
    WebDataset, the name of a sample ends at the first dot of the file name, and the files of a sample must be adjacent.
    The key of a row is the name of the tar, a slash and the name of the sample.

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
            for image in _images(path):
                # Do not change this text: earlier versions hashed it, and a conversion is resumed only if the
                # fingerprint is equal.
                fields = f"key={image.key!r}, offset={image.offset}, size={image.size}, label={image.label}"
                digest.update(f"_Sample({fields})".encode())
                keys.append(image.key)
                self._offsets.append(image.offset)
                self._sizes.append(image.size)
                self._labels.append(image.label)
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


def _images(path: Path) -> Iterator[_TarImage]:
    """Yield the samples of a tar. Samples without an image are left out."""
    sample, seen = _TarImage(""), set()
    with path.open("rb") as file:
        for member in _members(path, file):
            key, extension = split_name(member.name)
            if key != sample.key:
                if sample.offset >= 0:
                    yield sample
                if key in seen:
                    raise SourceError(f"{path}: the files of the sample {key!r} must be adjacent")
                seen.add(key)
                sample = _TarImage(key)
            _add_member(sample, member, extension, file, path)
    if sample.offset >= 0:
        yield sample


def _add_member(sample: _TarImage, member: TarMember, extension: str, file: BinaryIO, path: Path) -> None:
    if f".{extension}" in IMAGE_SUFFIXES:
        if sample.offset >= 0:
            raise SourceError(f"{path}: the sample {sample.key!r} has two images; the second is {member.name!r}")
        sample.offset, sample.size = member.offset, member.size
    elif extension in ("cls", "json"):
        label = _label(path, member, file)
        if label is not None:
            sample.label = label


def _members(path: Path, file: BinaryIO) -> Iterator[TarMember]:
    try:
        yield from visible_files(file)
    except tarfile.TarError as error:
        raise SourceError(f"{path} is not an uncompressed tar, or is damaged ({error})") from error


def _label(path: Path, member: TarMember, file: BinaryIO) -> int | None:
    """Return the label in a ``.cls`` or ``.json`` file, or None for a ``.json`` file without a label."""
    if member.size > _LARGEST_LABEL_FILE:
        raise SourceError(f"{path}: {member.name!r} is too large for a label ({member.size:,} bytes)")
    text = read_at(file, member.offset, member.size)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: {member.name!r} contains no valid label ({error})") from error
    if member.name.lower().endswith(".json"):
        if not isinstance(content, dict) or "label" not in content:
            return None
        content = content["label"]
    if type(content) is not int or not 0 <= content <= LARGEST_LABEL:
        raise SourceError(f"{path}: the label in {member.name!r} must be 0 to {LARGEST_LABEL}, got {content!r}")
    return content
