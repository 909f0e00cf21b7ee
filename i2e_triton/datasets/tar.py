"""WebDataset tars: a sample is ``<key>.npy`` or ``<key>.npz``, with an optional ``<key>.cls`` or ``<key>.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.datasets.records import EventRow, Records, by_group
from i2e_triton.formats import RecordError
from i2e_triton.io.tar import read_at, read_samples


class TarRecords(Records):
    """The samples of uncompressed tars, read by offset.

    Opening reads all headers and labels once, which takes about 30 microseconds per file in the tar. The files of a
    sample share the name up to the first dot and need not be adjacent. The events are in the file that ends in ``.npy``
    or ``.npz``. The label is the number in the ``.cls`` file, or ``label`` in the ``.json`` file, or -1 if the sample
    has neither. Other files, and samples without events, are ignored.

    Args:
        paths: the tars of one split.
        classes: class names in the order of the labels, or None.

    Raises:
        RecordError: if a file is not a tar, or is compressed or truncated, or if a sample has two events, ``.cls`` or
            ``.json`` files, or an invalid label or number of timesteps.
    """

    def __init__(self, paths: Sequence[Path], classes: tuple[str, ...] | None) -> None:
        self._paths = tuple(paths)
        self.classes = classes
        tars = [_index(path) for path in self._paths]
        self._samples = np.concatenate(tars)  # offset, size, label and timesteps
        self._first = np.cumsum([0, *map(len, tars)])  # number of each tar's first sample

    def __len__(self) -> int:
        return len(self._samples)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the label of every sample."""
        return self._samples[:, 2]

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)``, one tar after the other."""
        for tar, positions in by_group(rows, self._first):
            path = self._paths[tar]
            try:
                with path.open("rb") as file:
                    for position in positions:
                        offset, size, label, timesteps = self._samples[rows[position]].tolist()
                        where = f"{path}: sample {rows[position] - self._first[tar]}"
                        content = read_at(file, offset, size)
                        if len(content) != size:
                            raise RecordError(
                                f"{where}: only {len(content):,} of {size:,} bytes could be read; the tar has changed"
                            )
                        yield position, EventRow(content, label, timesteps, where)
            except OSError as error:
                raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def _index(path: Path) -> npt.NDArray[np.int64]:
    """Return offset, size, label and timesteps of each sample, ``[samples, 4]``."""
    rows = []
    try:
        for sample in read_samples(path, lambda extension: extension.rpartition(".")[2] in ("npy", "npz")):
            timesteps = sample.metadata.get("timesteps", PACKED_TIMESTEPS)
            if type(timesteps) is not int or not 1 <= timesteps <= PACKED_TIMESTEPS:
                raise ValueError(f"{path}: the sample {sample.key!r} must have 1 to 8 timesteps, got {timesteps!r:.80}")
            rows.append((sample.offset, sample.size, sample.label, timesteps))
    except ValueError as error:
        raise RecordError(str(error)) from error
    return np.array(rows, dtype=np.int64).reshape(-1, 4)
