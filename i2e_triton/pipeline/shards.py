"""One shard, from its converted batches to its files and its record."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2e_triton.formats import encode_records, save_npz
from i2e_triton.functional import unpack
from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.finished import record_shard
from i2e_triton.pipeline.manifest import ShardRecord, Skipped
from i2e_triton.pipeline.plan import Settings, Shard
from i2e_triton.pipeline.writers import Sample, write_shard


def complete_shard(
    out: Path, shard: Shard, batches: Iterable[EventBatch], settings: Settings, classes: tuple[str, ...] | None
) -> ShardRecord:
    """Encode and write the batches of a shard, in their order, then record that it is finished.

    Raises:
        OSError: if a file cannot be written; the shard then is neither there nor recorded.
    """
    tally = _Tally(settings)
    written = write_shard(out, shard, tally.samples(batches), settings, classes)
    events = tuple((int(on), int(off)) for on, off in tally.events)
    record = ShardRecord(
        name=shard.name,
        split=shard.split,
        rows=tally.rows,
        paths=written.paths,
        bytes=written.bytes,
        sha256=written.sha256,
        events=events,
        pixels=tally.pixels,
        skipped=tuple(tally.skipped),
    )
    record_shard(out, record)
    return record


class _Tally:
    """Counts what goes into a shard while it passes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rows = 0
        self.pixels = 0
        self.events = np.zeros((settings.timesteps, 2), dtype=np.int64)
        self.skipped: list[Skipped] = []

    def samples(self, batches: Iterable[EventBatch]) -> Iterator[Sample]:
        for batch in batches:
            self.skipped += batch.skipped
            records: dict[int, bytes] = {}
            for rows, packed in batch.groups:
                self.rows += len(rows)
                self.pixels += packed.shape[0] * packed.shape[2] * packed.shape[3]
                self.events += count_events(packed, self._settings.timesteps)
                records.update(zip(rows, encode(packed, self._settings)))
            for row in sorted(records):
                key, label = batch.about[row]
                yield Sample(row, key, label, records[row])


def encode(packed: Tensor, settings: Settings) -> list[bytes]:
    """Encode packed events ``[B, 2, H, W]`` as the records, or the npz files, that the settings ask for."""
    if settings.format != "npz":
        return encode_records(packed, settings.timesteps, settings.bits)
    files = []
    for events in packed:
        file = io.BytesIO()
        save_npz(file, unpack(events, settings.timesteps, torch.bool))
        files.append(file.getvalue())
    return files


def count_events(packed: Tensor, timesteps: int) -> np.ndarray:
    """Count the events of packed ``[B, 2, H, W]`` by timestep and polarity: int64 ``[timesteps, 2]``."""
    bits = np.arange(256)[:, None] >> np.arange(timesteps) & 1
    histograms = [np.bincount(packed[:, polarity].numpy().ravel(), minlength=256) for polarity in (0, 1)]
    return np.stack([histogram @ bits for histogram in histograms], axis=1)
