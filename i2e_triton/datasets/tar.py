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

_KINDS = ("events", "cls", "json")
_EVENTS, _CLS, _JSON = range(3)
_LARGEST_LABEL_FILE = 64 * 1024  # bytes
_ABSENT = (-1, 0)  # offset and size of a file that a sample does not have


class TarRecords(Records):
    """The samples of uncompressed tars, read by offset.

    Opening reads all headers once, which takes about 30 microseconds per file in the tar. The files of a sample share
    the name up to the first dot and need not be adjacent. The events are in the file that ends in ``.npy`` or ``.npz``.
    The label is the text of the ``.cls`` file, or ``label`` in the ``.json`` file, or -1 if the sample has neither.
    Other files, and samples without events, are ignored.

    Args:
        paths: the tars of one split.
        classes: class names in the order of the labels, or None.

    Raises:
        RecordError: if a file is not a tar, or is compressed or truncated, or if a sample has two events, ``.cls`` or
            ``.json`` files.
    """

    def __init__(self, paths: Sequence[Path], classes: tuple[str, ...] | None) -> None:
        self._paths = tuple(paths)
        self.classes = classes
        samples = [_index(path) for path in self._paths]
        self._members = np.concatenate(samples)  # offset and size of events, .cls and .json: [samples, 3, 2]
        self._first = np.cumsum([0, *map(len, samples)])  # number of each tar's first sample

    def __len__(self) -> int:
        return len(self._members)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the label of every sample. All label files are read."""
        labels = np.empty(len(self), dtype=np.int64)
        for tar, path in enumerate(self._paths):
            with _opened(path) as file:
                for row in range(self._first[tar], self._first[tar + 1]):
                    labels[row], _ = self._label_and_timesteps(file, row)
        return labels

    def group_offsets(self) -> npt.NDArray[np.int64]:
        """Return row-group offsets. Tars have no row groups, so samples are divided into groups of equal size."""
        return even_group_offsets(len(self))

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)``, one tar after the other."""
        for tar, positions in by_group(rows, self._first):
            with _opened(self._paths[tar]) as file:
                for position in positions:
                    row = rows[position]
                    label, timesteps = self._label_and_timesteps(file, row)
                    content = self._content(file, row, _EVENTS)
                    yield position, EventRow(content, label, timesteps, self._where(row))

    def _label_and_timesteps(self, file: BinaryIO, row: int) -> tuple[int, int]:
        metadata = self._json(file, row)
        label = metadata.get("label", -1)
        if self._members[row, _CLS, 0] >= 0:
            label = _label_of(self._text(file, row, _CLS))
        timesteps = metadata.get("timesteps", 8)
        if type(label) is not int or type(timesteps) is not int or not 1 <= timesteps <= 8:
            raise RecordError(
                f"{self._where(row)}: label must be an integer and timesteps 1 to 8, got {label!r} and {timesteps!r}"
            )
        return label, timesteps

    def _json(self, file: BinaryIO, row: int) -> dict[str, Any]:
        if self._members[row, _JSON, 0] < 0:
            return {}
        try:
            metadata = json.loads(self._text(file, row, _JSON))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{self._where(row)}: the .json file is damaged: {error}") from error
        if not isinstance(metadata, dict):
            raise RecordError(f"{self._where(row)}: the .json file must be an object, got {type(metadata).__name__}")
        return metadata

    def _text(self, file: BinaryIO, row: int, kind: int) -> bytes:
        size = self._members[row, kind, 1]
        if size > _LARGEST_LABEL_FILE:
            raise RecordError(
                f"{self._where(row)}: the .{_KINDS[kind]} file has {size:,} bytes, more than the limit of "
                f"{_LARGEST_LABEL_FILE:,}"
            )
        return self._content(file, row, kind)

    def _content(self, file: BinaryIO, row: int, kind: int) -> bytes:
        offset, size = self._members[row, kind].tolist()
        try:
            content = read_at(file, offset, size)
        except OSError as error:
            raise RecordError(f"{self._where(row)}: cannot be read: {error.strerror or error}") from error
        if len(content) != size:
            raise RecordError(
                f"{self._where(row)}: only {len(content):,} of {size:,} bytes could be read; the tar has changed"
            )
        return content

    def _where(self, row: int) -> str:
        tar = int(np.searchsorted(self._first, row, side="right")) - 1
        return f"{self._paths[tar]}: sample {row - self._first[tar]}"


def _opened(path: Path) -> BinaryIO:
    """Open a tar for reading. Its headers were read when the data set was opened."""
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def _label_of(text: bytes) -> int | str:
    """Return the integer in a ``.cls`` file, or its text if it is not an integer of at most 18 characters."""
    stripped = text.decode(errors="replace").strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() and len(stripped) < 19 else stripped


def _index(path: Path) -> npt.NDArray[np.int64]:
    """Return offset and size of the events, ``.cls`` and ``.json`` file of each sample, ``[samples, 3, 2]``."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with path.open("rb") as file:
            for member in visible_files(file):
                _add_member(path, samples, member)
    except tarfile.TarError as error:
        raise RecordError(f"{path}: not an uncompressed tar, or damaged: {error}") from error
    rows = [[files.get(kind, _ABSENT) for kind in _KINDS] for files in samples.values() if "events" in files]
    return np.array(rows, dtype=np.int64).reshape(-1, 3, 2)


def _add_member(path: Path, samples: dict[str, dict[str, tuple[int, int]]], member: TarMember) -> None:
    key, extension = split_name(member.name)
    kind = "events" if extension.rpartition(".")[2] in ("npy", "npz") else extension
    if kind not in _KINDS:
        return
    files = samples.setdefault(key, {})
    if kind in files:
        raise RecordError(f"{path}: the sample {key!r} has {kind} twice; the second is {member.name!r}")
    files[kind] = (member.offset, member.size)
