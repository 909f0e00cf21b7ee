"""Write the windows of recordings as a data set of packed events."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
from torch import Tensor

from i2e_triton.formats import encode_records
from i2e_triton.io.location import is_data_file, sub_folders, walk_folders
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.shards import ShardCounts, record_files
from i2e_triton.pipeline.writers import EncodedRow, write_shard
from i2e_triton.recordings.errors import RecordingError
from i2e_triton.recordings.reading import SUFFIXES, Recording, open_recording
from i2e_triton.recordings.windows import WindowRule, measure, windows

#: Rows of a shard. Fewer than for images, because a row of a sensor of 1280 x 720 pixels takes 1.8 MB in memory.
ROWS_PER_SHARD = 1024
_NO_LABEL = -1
#: A window that contains any recording: 18 thousand years.
_ALL_US = 2**59


@dataclass(frozen=True)
class ImportConfig(ConversionConfig):
    """Everything besides the recordings that determines the bytes of the data set.

    ``size`` is the size of the sensor. Of the fields of :class:`ConversionConfig`, those of images are not used.
    """

    window_us: int | None = None
    count: int | None = None
    whole: bool = False  #: one window for each recording

    @property
    def rule(self) -> WindowRule:
        """The rule that cuts recordings into windows."""
        return WindowRule(_ALL_US if self.whole else self.window_us, self.count, self.timesteps)


@dataclass(frozen=True)
class LabelledFile:
    """A recording file of a data set."""

    path: Path
    name: str  #: relative to the folder of the data set
    label: int  #: -1 without a label


def find_recordings(location: Path) -> tuple[list[LabelledFile], tuple[str, ...] | None]:
    """Return the recordings of a file or folder, sorted, and the class names if it has class folders.

    Raises:
        ValueError: if a folder contains no recordings.
        OSError: if a folder cannot be read.
    """
    if not location.is_dir():
        return [LabelledFile(location, location.name, _NO_LABEL)], None
    folders = {name: _files_below(location, name) for name in sub_folders(location)}
    classes = tuple(name for name, files in folders.items() if files)
    files = [LabelledFile(location / name, name, classes.index(group)) for group in classes for name in folders[group]]
    if not classes:
        names = sorted(path.name for path in location.iterdir() if path.suffix.lower() in SUFFIXES)
        files = [LabelledFile(location / name, name, _NO_LABEL) for name in names]
    if not files:
        raise ValueError(f"{location} contains no recordings: no files that end in {', '.join(SUFFIXES)}")
    return files, classes or None


def _files_below(root: Path, name: str) -> list[str]:
    return sorted(
        f"{folder}/{entry.name}"
        for folder, entries in walk_folders(root, name)
        for entry in entries
        if is_data_file(entry, SUFFIXES)
    )


class RecordingSet:
    """The windows of recordings, in order: the rows of a split.

    Opening it reads all events once, to count the windows and to find damaged files before anything is written.

    Args:
        files: the recordings.
        classes: class names in the order of the labels, or None.
        config: where windows begin.
        events_read: called with the number of events of each packet.

    Raises:
        RecordingError: if a recording is empty, truncated, damaged or not a recording.
        ValueError: if the size of a sensor is unknown.
    """

    def __init__(
        self,
        files: Sequence[LabelledFile],
        classes: tuple[str, ...] | None,
        config: ImportConfig,
        events_read: Callable[[int], None] = lambda events: None,
    ) -> None:
        self.classes = classes
        self._files = list(files)
        self._recordings = [open_recording(file.path, config.size) for file in files]
        self._rules: list[WindowRule] = []
        rows = []
        for recording in self._recordings:
            number, first_us, last_us = measure(_reported(recording, events_read), config.rule)
            duration = last_us - first_us + 1
            self._rules.append(replace(config.rule, window_us=duration) if config.whole else config.rule)
            rows.append(number)
        self._starts = [0, *accumulate(rows)]  # row number of the first window of each recording, then of the end

    def __len__(self) -> int:
        return self._starts[-1]

    def nbytes(self) -> int:
        """Return the size of the files in bytes."""
        return sum(file.path.stat().st_size for file in self._files)

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the files."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(f"{file.name}\0{file.path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def rows_from(self, start: int) -> Iterator[tuple[int, LabelledFile, int, Tensor]]:
        """Yield the number, the file, the time and the packed events ``[1, 2, H, W]`` of each row from ``start`` on.

        A recording is decoded from its beginning, because its files cannot be read from the middle.
        """
        for index in range(bisect_right(self._starts, start) - 1, len(self._files)):
            file, recording, first = self._files[index], self._recordings[index], self._starts[index]
            found = windows(recording.packets(), recording.size, self._rules[index])
            for number, window in enumerate(found, first):
                if number >= start:
                    yield number, file, window.time_us, window.packed[None]


def _reported(recording: Recording, events_read: Callable[[int], None]) -> Iterator[np.ndarray]:
    for packet in recording.packets():
        yield packet
        events_read(len(packet))


class RecordingConverter:
    """Writes the shards of a :class:`RecordingSet`, in the order of their rows. A row is in memory at a time."""

    def __init__(self, source: RecordingSet, config: ImportConfig, out: Path) -> None:
        self._source = source
        self._config = config
        self._out = out
        self._next = -1
        self._rows: Iterator[tuple[int, LabelledFile, int, Tensor]] = iter(())

    def __call__(self, shard: Shard, rows_done: Callable[[int], None]) -> ShardRecord:
        """Write and record a shard. ``rows_done`` is called after each row."""
        if shard.start != self._next:  # shards of an earlier run are finished
            self._rows = self._source.rows_from(shard.start)
        counts = ShardCounts(self._config.timesteps)
        rows = self._encoded(shard, counts, rows_done)
        files = write_shard(self._out, shard, rows, self._config, self._source.classes, timed=True)
        self._next = shard.stop
        return record_files(self._out, shard, files, counts)

    def _encoded(self, shard: Shard, counts: ShardCounts, rows_done: Callable[[int], None]) -> Iterator[EncodedRow]:
        for number, file, time_us, packed in islice(self._rows, shard.stop - shard.start):
            (record,) = encode_records(packed, self._config.timesteps, self._config.bits)
            counts.add(packed)
            yield EncodedRow(number, file.name, file.label, record, time_us)
            rows_done(1)
        if counts.rows != shard.stop - shard.start:
            raise RecordingError("a recording has changed while it was read; rerun the command")
