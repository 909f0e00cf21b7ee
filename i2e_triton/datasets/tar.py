"""WebDataset tars: a sample is ``<key>.npy`` or ``<key>.npz``, with an optional ``<key>.cls`` or ``<key>.json``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from i2e_triton.datasets.records import EventRow, Records, by_group, even_group_offsets
from i2e_triton.formats import RecordError
from i2e_triton.io.tar import TarMember, read_at, split_name, visible_files

_PARTS = ("events", "cls", "json")
_EVENTS, _CLS, _JSON = range(3)
_LARGEST_LABEL_FILE = 64 * 1024  # bytes
_ABSENT = (-1, 0)  # offset and size of a part that a sample does not have


class TarRecords(Records):
    """The samples of uncompressed tars, read by offset.

    Opening reads all headers once, which takes about 30 microseconds a member. Members of a sample share the name up to
    the first dot and need not be neighbours. The events are the member that ends in ``.npy`` or ``.npz``. The label is
    the text of ``.cls`` or ``label`` in ``.json``, and -1 without both. Other members, and samples without events, are
    ignored.

    Args:
        paths: the tars of one split.
        classes: names of the labels, or None.

    Raises:
        RecordError: if a file is not a tar, is compressed, truncated, or holds a part of a sample twice.
    """

    def __init__(self, paths: Sequence[Path], classes: tuple[str, ...] | None) -> None:
        self._paths = tuple(paths)
        self.classes = classes
        samples = [_index(path) for path in self._paths]
        self._members = np.concatenate(samples)  # offset and size of each part: [samples, 3, 2]
        self._first = np.cumsum([0, *map(len, samples)])  # number of each tar's first sample

    def __len__(self) -> int:
        return len(self._members)

    def labels(self) -> npt.NDArray[np.int64]:
        """Read the label of every sample."""
        labels = np.empty(len(self), dtype=np.int64)
        for tar, path in enumerate(self._paths):
            with _opened(path) as file:
                for row in range(self._first[tar], self._first[tar + 1]):
                    labels[row], _ = self._label_and_timesteps(file, row)
        return labels

    def group_offsets(self) -> npt.NDArray[np.int64]:
        """Return the offsets of groups of equal size."""
        return even_group_offsets(len(self))

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield the rows, tar by tar."""
        for tar, positions in by_group(rows, self._first):
            with _opened(self._paths[tar]) as file:
                for position in positions:
                    row = rows[position]
                    label, timesteps = self._label_and_timesteps(file, row)
                    content = self._part(file, row, _EVENTS)
                    yield position, EventRow(content, label, timesteps, self._where(row))

    def _label_and_timesteps(self, file: BinaryIO, row: int) -> tuple[int, int]:
        about = self._json(file, row)
        label = about.get("label", -1)
        if self._members[row, _CLS, 0] >= 0:
            label = _label_of(self._text(file, row, _CLS))
        timesteps = about.get("timesteps", 8)
        if type(label) is not int or type(timesteps) is not int or not 1 <= timesteps <= 8:
            raise RecordError(
                f"{self._where(row)}: needs an integer label and 1 to 8 timesteps, got {label!r} and {timesteps!r}"
            )
        return label, timesteps

    def _json(self, file: BinaryIO, row: int) -> dict[str, Any]:
        if self._members[row, _JSON, 0] < 0:
            return {}
        try:
            about = json.loads(self._text(file, row, _JSON))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{self._where(row)}: its .json is damaged: {error}") from error
        if not isinstance(about, dict):
            raise RecordError(f"{self._where(row)}: its .json must be an object, got {type(about).__name__}")
        return about

    def _text(self, file: BinaryIO, row: int, part: int) -> bytes:
        size = self._members[row, part, 1]
        if size > _LARGEST_LABEL_FILE:
            raise RecordError(
                f"{self._where(row)}: its label takes {size} bytes, at most {_LARGEST_LABEL_FILE} are read"
            )
        return self._part(file, row, part)

    def _part(self, file: BinaryIO, row: int, part: int) -> bytes:
        offset, size = self._members[row, part].tolist()
        try:
            content = read_at(file, offset, size)
        except OSError as error:
            raise RecordError(f"{self._where(row)}: cannot be read: {error.strerror or error}") from error
        if len(content) != size:
            raise RecordError(
                f"{self._where(row)}: only {len(content)} of its {size} bytes remain; the tar has changed"
            )
        return content

    def _where(self, row: int) -> str:
        tar = int(np.searchsorted(self._first, row, side="right")) - 1
        return f"{self._paths[tar]}: sample {row - self._first[tar]}"


def _opened(path: Path) -> BinaryIO:
    """Open a tar that could be read before."""
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def _label_of(text: bytes) -> int | str:
    """Return the label in a ``.cls`` file, or its text if it is not an integer of at most 18 characters."""
    stripped = text.decode(errors="replace").strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() and len(stripped) < 19 else stripped


def _index(path: Path) -> npt.NDArray[np.int64]:
    """Return offset and size of the parts of each sample, ``[samples, 3, 2]``."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with path.open("rb") as file:
            for member in visible_files(file):
                _add_member(path, samples, member)
    except tarfile.TarError as error:
        raise RecordError(f"{path}: not an uncompressed tar, or damaged: {error}") from error
    rows = [[parts.get(part, _ABSENT) for part in _PARTS] for parts in samples.values() if "events" in parts]
    return np.array(rows, dtype=np.int64).reshape(-1, 3, 2)


def _add_member(path: Path, samples: dict[str, dict[str, tuple[int, int]]], member: TarMember) -> None:
    key, extension = split_name(member.name)
    part = "events" if extension.rpartition(".")[2] in ("npy", "npz") else extension
    if part not in _PARTS:
        return
    parts = samples.setdefault(key, {})
    if part in parts:
        raise RecordError(f"{path}: the sample {key!r} has {part} twice, the second is {member.name!r}")
    parts[part] = (member.offset, member.size)
