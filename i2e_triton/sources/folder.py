"""Folders of image files, with or without a folder for each class as in torchvision's ``ImageFolder``."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from i2e_triton.io import NO_LABEL
from i2e_triton.io.location import IMAGE_SUFFIXES, SPLIT_NAMES, is_data_file, sub_folders, walk_folders
from i2e_triton.sources.source import WHOLE, ImageRow, SourceError


@dataclass(frozen=True)
class _Folder:
    """The images of one folder."""

    start: int  #: row number of the first image
    path: str  #: relative to the root
    label: int
    keys_with_suffix: bool  #: True if file names differ only in the suffix, so keys must contain it


class FolderSource:
    """The images below a folder, sorted by class, then folder, then file name, as in ``ImageFolder``.

    Labels are also those of ``ImageFolder``: classes are numbered in the order of their names as text. The folders 0 to
    10 have the labels 0, 1, 3, ..., 10 and 2, because 10 precedes 2. (Folders of events with such names are different:
    their numbers are the labels, see :class:`i2e_triton.datasets.EventDataset`.)

    Hidden files and files without one of torchvision's image suffixes are ignored.

    Args:
        root: the folder. If its sub-folders contain images, all sub-folders are classes. Otherwise the images in the
            folder itself are used, without labels.
        without: names of sub-folders that are not classes. Default: none.
        nested: also read the sub-folders of class folders. Default: True.

    Raises:
        SourceError: if there are no images, if there are images both in the folder and in class folders, or if symbolic
            links form a cycle.
        OSError: if a folder cannot be read.
    """

    def __init__(self, root: Path, *, without: Collection[str] = (), nested: bool = True) -> None:
        with os.scandir(root) as entries:
            loose = _images(entries)
        classes = [name for name in sub_folders(root) if name not in without]
        self._root = root
        self._folders: list[_Folder] = []
        self._bytes = 0
        names: list[str] = []
        digest = hashlib.sha256()
        for label, name in enumerate(classes):
            for path, files in _class_images(root, name, nested):
                self._add(names, path, label, files)
                digest.update(repr((path, files)).encode())
        #: Class names, or None without class folders.
        self.classes = tuple(classes) if names else None
        if names and loose:
            raise SourceError(
                f"{root} contains both images ({loose[0][0]!r}, …) and folders of images "
                f"({self._folders[0].path!r}, …); move the images or the folders elsewhere"
            )
        self._add(names, "", NO_LABEL, loose)
        digest.update(repr(loose).encode())
        if not names:
            raise SourceError(f"{root} contains no images; image files must end in {', '.join(IMAGE_SUFFIXES)}")
        self._fingerprint = digest.hexdigest()
        # Arrow needs a quarter of the memory of Python strings. The type is binary because names need not be UTF-8.
        self._names = pa.array(map(os.fsencode, names), pa.large_binary())

    def __len__(self) -> int:
        return len(self._names)

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive)."""
        for index in range(start, stop):
            folder = self._folders[bisect_right(self._folders, index, key=lambda folder: folder.start) - 1]
            path = os.path.join(folder.path, os.fsdecode(self._names[index].as_py()))
            key = path if folder.keys_with_suffix else os.path.splitext(path)[0]
            yield ImageRow(key.replace(os.sep, "/"), (self._root / path).read_bytes(), folder.label)

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the files."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the sum of the file sizes in bytes."""
        return self._bytes

    def _add(self, names: list[str], path: str, label: int, files: list[tuple[str, int]]) -> None:
        if not files:
            return
        stems = {os.path.splitext(name)[0] for name, _ in files}
        self._folders.append(_Folder(len(names), path, label, len(stems) < len(files)))
        names += [name for name, _ in files]
        self._bytes += sum(size for _, size in files)


def folder_splits(location: Path) -> dict[str, Path]:
    """Return the folder of each split. A location without split folders is one split.

    Split folders are named ``train``, ``val``, ``valid``, ``validation`` or ``test``. A class may have such a name, as
    the class train of CIFAR-100 does. If there are folders with other names, a folder is therefore a split only if it
    has sub-folders.

    Raises:
        SourceError: if two folders are the same split.
        OSError: if the location cannot be read.
    """
    folders = sub_folders(location)
    named = [name for name in folders if name in SPLIT_NAMES]
    if len(named) < len(folders):
        named = [name for name in named if sub_folders(location / name)]
    found: dict[str, Path] = {}
    for name in named:
        split = SPLIT_NAMES[name]
        if split in found:
            raise SourceError(f"{found[split]} and {location / name} are both the split {split!r}; remove one")
        found[split] = location / name
    return {split: found[split] for split in SPLIT_NAMES.values() if split in found} or {WHOLE: location}


def _class_images(root: Path, name: str, nested: bool) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return the path and the images of a class folder and, if ``nested``, of all folders below it, sorted by path."""
    try:
        return sorted(
            (path, _images(entries)) for path, entries in islice(walk_folders(root, name), None if nested else 1)
        )
    except ValueError as error:
        raise SourceError(str(error)) from error


def _images(entries: Iterable[os.DirEntry[str]]) -> list[tuple[str, int]]:
    """Return name and size in bytes of each image file, sorted by name."""
    return sorted((entry.name, entry.stat().st_size) for entry in entries if is_data_file(entry, IMAGE_SUFFIXES))
