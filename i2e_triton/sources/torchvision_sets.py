"""The data sets that torchvision knows, on the files that it downloads."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, Caltech101, Caltech256, FashionMNIST

from i2e_triton.sources.folder import FolderSource
from i2e_triton.sources.source import WHOLE, Row, Source, SourceError

_ARRAYS = {"cifar10": CIFAR10, "cifar100": CIFAR100, "mnist": MNIST, "fashion-mnist": FashionMNIST}
_FOLDERS = {"caltech101": Caltech101, "caltech256": Caltech256}
#: Where each lies, below torchvision's root.
FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "caltech101": "caltech101/101_ObjectCategories",
    "caltech256": "caltech256/256_ObjectCategories",
}
#: A folder that torchvision leaves out, and the official set too: 8,677 images are the others.
_NO_CLASS = ("BACKGROUND_Google",)
#: What torchvision raises where files are missing, fail their checksum, or hold something else than they should.
_UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError, pickle.UnpicklingError)


def torchvision_splits(kind: str) -> tuple[str, ...]:
    """Name the splits: the official sets call torchvision's test split validation, and leave Caltech whole."""
    return ("train", "validation") if kind in _ARRAYS else (WHOLE,)


def open_torchvision(kind: str, root: Path, split: str, download: bool) -> Source:
    """Open one of :data:`FOLDERS` below torchvision's root.

    Raises:
        SourceError: if the files are not there, or damaged.
        OSError: if a file cannot be read, or the download fails.
    """
    folder = root / FOLDERS[kind]
    if not folder.is_dir() and not download:
        raise SourceError(f"{kind} is not in {folder}; i2e dataset --download fetches it")
    try:
        if kind in _ARRAYS:
            return ArraySource(kind, root, split, download)
        if download:
            _FOLDERS[kind](root, download=True)
        return FolderSource(folder, without=_NO_CLASS, nested=False)
    except SourceError:
        raise
    except _UNFIT as error:
        raise SourceError(
            f"{kind} in {folder} is incomplete or damaged ({error}); move it away: i2e dataset --download fetches it"
        ) from error


class ArraySource:
    """CIFAR or MNIST, which torchvision reads into memory.

    CIFAR's files are pickles. torchvision unpickles them after it has compared their MD5 with that of the official
    files, so that a changed one is refused before anything in it is run.

    Args:
        kind: cifar10, cifar100, mnist or fashion-mnist.
        root: torchvision's.
        split: train, or validation for torchvision's test split.
        download: fetch the files that are not there.

    Raises:
        SourceError: if there are not as many labels as pictures.
        RuntimeError: if files are missing or changed; for MNIST, whatever else torchvision runs into.
    """

    def __init__(self, kind: str, root: Path, split: str, download: bool) -> None:
        self._kind, self._root, self._split = kind, root, split
        dataset = self._open(download)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = _arrays(dataset)
        pictures, labels = self._arrays
        if len(pictures) != len(labels):
            raise SourceError(f"{kind} in {root / FOLDERS[kind]}: {len(labels)} labels of {len(pictures)} pictures")
        self.classes: tuple[str, ...] | None = tuple(dataset.classes)
        self._rows = len(pictures)
        self._bytes = pictures.nbytes
        self._fingerprint = hashlib.sha256(repr(self.classes).encode() + pictures.data + labels.data).hexdigest()

    def __len__(self) -> int:
        return self._rows

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the rows from ``start`` to ``stop``."""
        if self._arrays is None:
            self._arrays = _arrays(self._open(download=False))
        pictures, labels = self._arrays
        for index in range(start, stop):
            yield Row(str(index), PIL.Image.fromarray(pictures[index]), int(labels[index]))

    def fingerprint(self) -> str:
        """Return a hash of the pictures and labels."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the bytes of the pictures, which the files hold as they are."""
        return self._bytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_arrays": None}

    def _open(self, download: bool) -> Any:
        return _ARRAYS[self._kind](self._root, train=self._split == "train", download=download)


def _arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(dataset.data, dtype=np.uint8), np.asarray(dataset.targets, dtype=np.int64)
