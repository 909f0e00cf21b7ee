"""Official npz files in class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.datasets.records import Records, Row, pieces_of_samples

SUFFIX = ".npz"


class NpzRecords(Records):
    """The npz files of class folders, in the order of torchvision's ``DatasetFolder``: by class, path and name.

    Args:
        root: folder of the class folders.
        labels: of each class folder, in the order in which they are read.
        classes: names of the labels, or None.
    """

    def __init__(self, root: Path, labels: dict[str, int], classes: tuple[str, ...] | None) -> None:
        self.classes = classes
        self._root = root
        files = [(path, label) for name, label in labels.items() for path in npz_files(root, name)]
        # Arrow keeps the names in one piece: a list of a million would be copied into every forked process.
        self._files = pa.array([os.fsencode(path) for path, _ in files], pa.large_binary())
        self._labels = np.array([label for _, label in files], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return what the folders' names say."""
        return self._labels

    def pieces(self) -> npt.NDArray[np.int64]:
        """Cut the files into runs; any run is read as well as another."""
        return pieces_of_samples(len(self))

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Yield files in the order asked for."""
        for position, row in enumerate(rows):
            path = self._root / os.fsdecode(self._files[row].as_py())
            yield position, Row(path, int(self._labels[row]), PACKED_TIMESTEPS, f"{path}: row {row}")


def class_folders(root: Path) -> list[str]:
    """List the folders in a folder, sorted as ``DatasetFolder`` sorts classes: as text, ``10`` before ``2``."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def holds_npz(folder: Path) -> bool:
    """Tell whether there is an npz file directly in a folder."""
    return any(_is_npz(entry.name) and entry.is_file() for entry in os.scandir(folder))


def npz_files(root: Path, folder: str) -> Iterator[str]:
    """List the npz files below a folder of a root, by their paths from the root, sorted as ``DatasetFolder`` does.

    Raises:
        ValueError: if a link in it leads back to a folder above.
    """
    for directory, names in sorted(_walk(os.path.join(root, folder))):
        for name in sorted(names):
            yield os.path.relpath(os.path.join(directory, name), root)


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    above: dict[str, tuple[str, ...]] = {}  # real paths of a folder and those that it was reached through
    for directory, _, names in os.walk(folder, followlinks=True):
        real, before = os.path.realpath(directory), above.get(os.path.dirname(directory), ())
        if real in before:
            raise ValueError(f"{directory} leads back to {real}, which contains it: remove the link")
        above[directory] = (*before, real)
        yield directory, list(filter(_is_npz, names))


def _is_npz(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not name.startswith(".")
