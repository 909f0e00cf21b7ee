"""Folders of picture files: a folder for each class as torchvision's ``ImageFolder`` sorts them, or none."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from i2e_triton.io.shard_names import SPLIT_NAMES
from i2e_triton.sources.names import Names
from i2e_triton.sources.source import NO_LABEL, WHOLE, Row, SourceError


@dataclass(frozen=True)
class _Folder:
    """Where the rows of one folder begin."""

    start: int
    path: str  #: relative to the root
    label: int
    keys_with_suffix: bool  #: because some of its files differ in nothing else


class FolderSource:
    """The pictures below a folder, in the order of ``ImageFolder``: by class, sub-folder and name.

    Files that are hidden, or have none of torchvision's image extensions, are left out.

    Args:
        root: the folder. Where it holds folders with pictures, all its folders are classes; else the pictures in it
            have no label.
        without: folders that are no classes.
        nested: look into the folders of a class folder.

    Raises:
        SourceError: if there is no picture, or pictures lie beside class folders, or a folder contains itself.
        OSError: if a folder cannot be read.
    """

    def __init__(self, root: Path, *, without: Collection[str] = (), nested: bool = True) -> None:
        loose, names = _look_into(root)
        classes = [name for name in names if name not in without]
        self._root = root
        self._folders: list[_Folder] = []
        self._names = Names()
        self._bytes = 0
        digest = hashlib.sha256()
        for label, name in enumerate(classes):
            for path, files in sorted(_walk(root, name, nested, (os.path.realpath(root),))):
                self._add(path, label, files)
                digest.update(repr((path, files)).encode())
        #: None where the pictures lie in no folders of classes.
        self.classes = tuple(classes) if len(self) else None
        if self.classes and loose:
            raise SourceError(
                f"{root} holds pictures ({loose[0][0]!r}, …) beside folders of pictures "
                f"({self._folders[0].path!r}, …): move the ones or the others elsewhere"
            )
        self._add("", NO_LABEL, loose)
        digest.update(repr(loose).encode())
        self._fingerprint = digest.hexdigest()
        if not len(self):
            raise SourceError(f"{root} holds no pictures; a picture's name ends in {', '.join(IMG_EXTENSIONS)}")

    def __len__(self) -> int:
        return len(self._names)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the rows from ``start`` to ``stop``, file by file."""
        for index in range(start, stop):
            folder = self._folders[bisect_right(self._folders, index, key=lambda folder: folder.start) - 1]
            path = os.path.join(folder.path, self._names[index])
            key = path if folder.keys_with_suffix else os.path.splitext(path)[0]
            yield Row(key.replace(os.sep, "/"), (self._root / path).read_bytes(), folder.label)

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the files."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the sum of the sizes of the files."""
        return self._bytes

    def _add(self, path: str, label: int, files: list[tuple[str, int]]) -> None:
        if not files:
            return
        stems = {os.path.splitext(name)[0] for name, _ in files}
        self._folders.append(_Folder(len(self), path, label, len(stems) < len(files)))
        for name, size in files:
            self._names.append(name)
            self._bytes += size


def folder_splits(location: Path) -> dict[str, Path]:
    """Find the folders of the splits: ``train``, ``val`` and the like in a location, or the location itself.

    A class may be called train, as in CIFAR-100. Beside folders of other names, a folder is that of a split only where
    it holds folders in turn.

    Raises:
        SourceError: if two folders are of the same split.
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
            raise SourceError(f"{found[split]} and {location / name} are both of the split {split!r}: remove one")
        found[split] = location / name
    return {split: found[split] for split in SPLIT_NAMES.values() if split in found} or {WHOLE: location}


def sub_folders(folder: Path) -> list[str]:
    """List the visible folders in a folder, without a look at its files."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def holds_pictures(folder: Path) -> bool:
    """Tell whether a picture lies in a folder itself."""
    with os.scandir(folder) as entries:
        return any(_is_picture(entry) for entry in entries)


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return name.endswith(IMG_EXTENSIONS) and not name.startswith(".") and entry.is_file()


def _look_into(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """List the pictures of a folder, with their sizes, and its folders, both sorted."""
    pictures, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_picture(entry):
                pictures.append((entry.name, entry.stat().st_size))
            elif not entry.name.startswith(".") and entry.is_dir():
                folders.append(entry.name)
    return sorted(pictures), sorted(folders)


def _walk(root: Path, path: str, nested: bool, above: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """List the pictures of a folder and of those in it, each folder by its path from the root."""
    real = os.path.realpath(root / path)
    if real in above:
        raise SourceError(f"{root / path} leads back to {real}, which contains it: remove the link")
    pictures, folders = _look_into(root / path)
    yield path, pictures
    for name in folders if nested else ():
        yield from _walk(root, os.path.join(path, name), nested, (*above, real))
