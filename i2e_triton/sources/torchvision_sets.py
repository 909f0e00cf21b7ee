"""Data sets that torchvision downloads."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from i2e_triton.sources.folder import FolderSource
from i2e_triton.sources.source import WHOLE, ImageRow, Source, SourceError

_ARRAYS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_FOLDERS = {"caltech101": "Caltech101", "caltech256": "Caltech256"}
#: Folder of each data set below torchvision's root.
FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "caltech101": "caltech101/101_ObjectCategories",
    "caltech256": "caltech256/256_ObjectCategories",
}
#: A folder of Caltech-101 that torchvision and the official data set leave out. The other folders have 8,677 images.
_NO_CLASS = ("BACKGROUND_Google",)
#: Errors that torchvision raises for files that are missing or damaged, or have a wrong checksum.
_DAMAGE = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError, pickle.UnpicklingError)


def torchvision_splits(kind: str) -> tuple[str, ...]:
    """Return the splits, with the names of the official data sets: ``validation`` is torchvision's test split."""
    return ("train", "validation") if kind in _ARRAYS else (WHOLE,)


def open_torchvision(kind: str, root: Path, split: str, download: bool) -> Source:
    """Return one split of a data set of :data:`FOLDERS`. ``root`` is the folder that torchvision's classes take.

    Raises:
        SourceError: if the files do not exist or are damaged.
        OSError: if a file cannot be read, or the download fails.
    """
    folder = root / FOLDERS[kind]
    if not folder.is_dir() and not download:
        raise SourceError(f"{folder} with {kind} does not exist; download it with i2e dataset --download")
    try:
        if kind in _ARRAYS:
            return ArraySource(kind, root, split, download)
        if download:
            _dataset_class(_FOLDERS[kind])(root, download=True)
        return FolderSource(folder, without=_NO_CLASS, nested=False)
    except SourceError:
        raise
    except _DAMAGE as error:
        raise SourceError(
            f"{kind} in {folder} is incomplete or damaged ({error}); remove it and download it again with "
            "i2e dataset --download"
        ) from error


class ArraySource:
    """One split of CIFAR or MNIST, which torchvision reads into memory.

    CIFAR's files are pickles. torchvision compares their MD5 with that of the original files before it unpickles them,
    so a modified file raises an error before code in it can run.

    Args:
        kind: cifar10, cifar100, mnist or fashion-mnist.
        root: the root folder that torchvision takes.
        split: ``train``, or ``validation`` for torchvision's test split.
        download: download missing files.

    Raises:
        SourceError: if the numbers of labels and images differ.
        RuntimeError: if files are missing or have been changed. For MNIST, torchvision may raise other errors.
    """

    def __init__(self, kind: str, root: Path, split: str, download: bool) -> None:
        self._kind, self._root, self._split = kind, root, split
        dataset = self._open(download)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = _arrays(dataset)
        images, labels = self._arrays
        if len(images) != len(labels):
            raise SourceError(f"{kind} in {root / FOLDERS[kind]}: {len(labels)} labels for {len(images)} images")
        self.classes: tuple[str, ...] | None = tuple(dataset.classes)
        self._rows = len(images)
        self._bytes = images.nbytes
        self._fingerprint = hashlib.sha256(repr(self.classes).encode() + images.data + labels.data).hexdigest()

    def __len__(self) -> int:
        return self._rows

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive)."""
        if self._arrays is None:
            self._arrays = _arrays(self._open(download=False))
        images, labels = self._arrays
        for index in range(start, stop):
            yield ImageRow(str(index), PIL.Image.fromarray(images[index]), int(labels[index]))

    def fingerprint(self) -> str:
        """Return a hash of the images, labels and class names."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the size of the images in bytes. The files store them without compression."""
        return self._bytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_arrays": None}

    def _open(self, download: bool) -> Any:
        return _dataset_class(_ARRAYS[self._kind])(self._root, train=self._split == "train", download=download)


def _dataset_class(name: str) -> Any:
    import torchvision.datasets  # takes as long as importing PyTorch, and the other sources do not need it

    return getattr(torchvision.datasets, name)


def _arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(dataset.data, dtype=np.uint8), np.asarray(dataset.targets, dtype=np.int64)
