"""WebDataset tars: members ``<key>.npy`` (or ``.npz``) and ``<key>.cls`` or ``<key>.json`` make a sample."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from i2e_triton.datasets.last_used import LastUsed
from i2e_triton.datasets.records import Records, Row, by_piece, pieces_of_samples
from i2e_triton.formats import RecordError
from i2e_triton.io.tar import split_name, visible_files

_OPEN_FILES = 16
_PARTS = ("events", "cls", "json")
# A label or a few facts as text.
_LONGEST_TEXT = 64 * 2**10
# Where a sample has no such member.
_ABSENT = (-1, 0)


class TarRecords(Records):
    """The samples of uncompressed tars, read by offset.

    Opening goes through every tar's headers once, about 30 microseconds a member. Members of a sample share their name
    up to its first dot, and need not be neighbours; the events are the one that ends in ``.npy`` or ``.npz``, the label
    is the text of ``.cls``, or ``label`` in ``.json``, -1 without either. Other members are left alone, and a sample
    without events is none.

    Args:
        paths: tars of one split.
        classes: names of the labels, where they are known.

    Raises:
        RecordError: if one is no tar, is compressed, truncated, or holds a part of a sample twice.
    """

    def __init__(self, paths: Sequence[Path], classes: tuple[str, ...] | None) -> None:
        self._paths = tuple(paths)
        self.classes = classes
        samples = [_index(path) for path in self._paths]
        # Offset and size of each part: [samples, 3, 2].
        self._members = np.concatenate(samples)
        self._first = np.cumsum([0, *map(len, samples)])
        self._files: LastUsed[int, BinaryIO] = LastUsed(_OPEN_FILES)

    def __len__(self) -> int:
        return len(self._members)

    def labels(self) -> npt.NDArray[np.int64]:
        """Read the members that hold labels."""
        labels = np.empty(len(self), dtype=np.int64)
        for row in range(len(self)):
            labels[row], _ = self._about(row)
        return labels

    def pieces(self) -> npt.NDArray[np.int64]:
        """Cut the samples into runs; any run is read as well as another."""
        return pieces_of_samples(len(self))

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Yield samples tar by tar."""
        for _, positions in by_piece(rows, self._first):
            for position in positions:
                row = rows[position]
                label, timesteps = self._about(row)
                yield position, Row(self._member(row, 0), label, timesteps, self._where(row))

    def _about(self, row: int) -> tuple[int, int]:
        """Read label and timesteps of a sample."""
        about = self._json(row)
        label = about.get("label", -1)
        if self._members[row, 1, 0] >= 0:
            label = _label_of(self._text(row, 1))
        timesteps = about.get("timesteps", 8)
        if type(label) is not int or type(timesteps) is not int or not 1 <= timesteps <= 8:
            raise RecordError(
                f"{self._where(row)}: needs an integer label and 1 to 8 timesteps; got {label!r}, {timesteps!r}"
            )
        return label, timesteps

    def _json(self, row: int) -> dict[str, Any]:
        if self._members[row, 2, 0] < 0:
            return {}
        try:
            about = json.loads(self._text(row, 2))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{self._where(row)}: its .json is damaged: {error}") from error
        if not isinstance(about, dict):
            raise RecordError(f"{self._where(row)}: its .json must be an object, is a {type(about).__name__}")
        return about

    def _text(self, row: int, part: int) -> bytes:
        if self._members[row, part, 1] > _LONGEST_TEXT:
            raise RecordError(f"{self._where(row)}: its label takes {self._members[row, part, 1]} bytes")
        return self._member(row, part)

    def _member(self, row: int, part: int) -> bytes:
        offset, size = self._members[row, part].tolist()
        tar = self._tar_of(row)
        file = self._files.get(tar, lambda: self._paths[tar].open("rb"))
        content = os.pread(file.fileno(), size, offset)  # threads share the file, and so a place in it
        if len(content) != size:
            raise RecordError(f"{self._where(row)}: {len(content)} of its {size} bytes are left; the tar has changed")
        return content

    def _tar_of(self, row: int) -> int:
        return int(np.searchsorted(self._first, row, side="right")) - 1

    def _where(self, row: int) -> str:
        tar = self._tar_of(row)
        return f"{self._paths[tar]}: sample {row - self._first[tar]}"


def _label_of(text: bytes) -> int | str:
    stripped = text.decode(errors="replace").strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() and len(stripped) < 19 else stripped


def _index(path: Path) -> npt.NDArray[np.int64]:
    """Find the parts of each sample: offset and size, ``[samples, 3, 2]``."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with path.open("rb") as file:
            for name, member in visible_files(file):
                _add(path, samples, name, member)
    except tarfile.TarError as error:
        remedy = "; compressed tars cannot be read by offset, unpack it first" if _is_compressed(path) else ""
        raise RecordError(f"{path}: no tar, or damaged: {error}{remedy}") from error
    rows = [[parts.get(part, _ABSENT) for part in _PARTS] for parts in samples.values() if "events" in parts]
    return np.array(rows, dtype=np.int64).reshape(-1, 3, 2)


def _add(path: Path, samples: dict[str, dict[str, tuple[int, int]]], name: str, member: tarfile.TarInfo) -> None:
    key, extension = split_name(name)
    part = "events" if extension.rpartition(".")[2] in ("npy", "npz") else extension
    if part not in _PARTS:
        return
    parts = samples.setdefault(key, {})
    if part in parts:
        raise RecordError(f"{path}: the sample {key!r} has {part} twice, the second is {name!r}")
    parts[part] = (member.offset_data, member.size)


def _is_compressed(path: Path) -> bool:
    magics = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
    with path.open("rb") as file:
        return file.read(6).startswith(magics)
