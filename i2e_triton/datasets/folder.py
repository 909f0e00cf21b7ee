"""Npz files in class folders, as the official code writes them, and the labels of the class folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.datasets.records import EventRow, Records
from i2e_triton.io.location import is_data_file, walk_folders

#: Folder of the rows without a label. :func:`label_folders` never returns this name.
UNLABELLED = "unlabelled"
_WORDNET_ID = re.compile("n[0-9]{8}")


def label_folders(classes: Sequence[str]) -> list[str]:
    """Return the folder of each label in a converted data set.

    The folders are the class names if these are WordNet ids (``n01440764``, as in ImageNet). Otherwise they are the
    label numbers, padded with zeros to the same width. torchvision's ``DatasetFolder`` finds the same labels if every
    class has a row and WordNet ids are sorted.
    """
    if len(set(classes)) == len(classes) and all(map(_WORDNET_ID.fullmatch, classes)):
        return list(classes)
    width = len(str(len(classes) - 1))
    return [f"{label:0{width}d}" for label in range(len(classes))]


def labels_by_name(folders: Sequence[str]) -> dict[str, int]:
    """Return the label of each class folder of a data set without a manifest, in the order of the labels.

    If the names are the integers 0 to N-1, with or without leading zeros, these are the labels. Otherwise the folders
    are numbered in sorted order, as in torchvision's ``DatasetFolder``.
    """
    numbers = {name: int(name) for name in folders if is_number(name)}
    if len(numbers) == len(folders) and sorted(numbers.values()) == list(range(len(folders))):
        return dict(sorted(numbers.items(), key=lambda item: item[1]))
    return {name: label for label, name in enumerate(sorted(folders))}


def is_number(folder: str) -> bool:
    """Return whether a folder name consists of the digits 0 to 9."""
    return folder.isascii() and folder.isdecimal()


class NpzRecords(Records):
    """The npz files of class folders, sorted by class, then folder, then file name.

    Args:
        root: the folder that contains the class folders.
        labels: name of each class folder -> label, in the order in which the folders are read.
        classes: class names in the order of the labels, or None.
    """

    def __init__(self, root: Path, labels: dict[str, int], classes: tuple[str, ...] | None) -> None:
        self.classes = classes
        self._root = root
        files = [
            (os.path.join(path, entry.name), label)
            for name, label in labels.items()
            for path, entries in sorted(walk_folders(root, name), key=lambda found: found[0])
            for entry in sorted(entries, key=lambda entry: entry.name)
            if is_data_file(entry, (".npz",))
        ]
        # An Arrow array is one block of memory. Forked workers would copy a list of strings, because reading a string
        # changes its reference count.
        self._files = pa.array([os.fsencode(path) for path, _ in files], pa.large_binary())
        self._labels = np.array([label for _, label in files], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the label of each file."""
        return self._labels

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)`` for each of ``rows``, in the given order."""
        for position, row in enumerate(rows):
            path = self._root / os.fsdecode(self._files[row].as_py())
            yield position, EventRow(path, int(self._labels[row]), PACKED_TIMESTEPS, f"{path}: row {row}")
