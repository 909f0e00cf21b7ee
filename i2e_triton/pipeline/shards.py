"""Encode the events of one shard, write its files and record it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2e_triton.formats import encode_records, save_npz
from i2e_triton.functional import unpack
from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.manifest import ShardRecord, SkippedRow, record_shard
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.writers import EncodedRow, write_shard


def complete_shard(
    out: Path, shard: Shard, batches: Iterable[EventBatch], config: ConversionConfig, classes: tuple[str, ...] | None
) -> ShardRecord:
    """Encode and write the batches of a shard in order, then record that the shard is finished.

    Raises:
        OSError: if a file cannot be written. The shard is then not recorded.
    """
    encoder = _Encoder(config)
    files = write_shard(out, shard, encoder.encode_rows(batches), config, classes)
    record = ShardRecord(
        name=shard.name,
        split=shard.split,
        rows=encoder.rows,
        paths=files.paths,
        bytes=files.bytes,
        sha256=files.sha256,
        labels_sha256=digest_labels(encoder.labels),
        events=tuple((int(on), int(off)) for on, off in encoder.events),
        pixels=encoder.pixels,
        skipped=tuple(encoder.skipped),
    )
    record_shard(out, record)
    return record


class _Encoder:
    """Encodes the rows of a shard and counts rows, pixels and events."""

    def __init__(self, config: ConversionConfig) -> None:
        self._config = config
        self.rows = 0
        self.pixels = 0
        self.events = np.zeros((config.timesteps, 2), dtype=np.int64)
        self.labels: list[int] = []
        self.skipped: list[SkippedRow] = []

    def encode_rows(self, batches: Iterable[EventBatch]) -> Iterator[EncodedRow]:
        """Yield the rows of the batches in the order of their numbers."""
        for batch in batches:
            self.skipped += batch.skipped
            records: dict[int, bytes] = {}
            for numbers, packed in batch.groups:
                self.rows += len(numbers)
                self.pixels += packed.shape[0] * packed.shape[2] * packed.shape[3]
                self.events += count_events(packed, self._config.timesteps)
                records.update(zip(numbers, encode(packed, self._config)))
            for number in sorted(records):
                key, label = batch.keys_and_labels[number]
                self.labels.append(label)
                yield EncodedRow(number, key, label, records[number])


def encode(packed: Tensor, config: ConversionConfig) -> list[bytes]:
    """Encode packed events ``[B, 2, H, W]`` as records, or as npz files if ``config.format`` is ``"npz"``."""
    if config.format != "npz":
        return encode_records(packed, config.timesteps, config.bits)
    files = []
    for events in packed:
        file = io.BytesIO()
        save_npz(file, unpack(events, config.timesteps, torch.bool))
        files.append(file.getvalue())
    return files


def count_events(packed: Tensor, timesteps: int) -> np.ndarray:
    """Count packed events ``[B, 2, H, W]`` by timestep and polarity: int64 ``[timesteps, 2]``."""
    bits = np.arange(256)[:, None] >> np.arange(timesteps) & 1
    histograms = [np.bincount(packed[:, polarity].numpy().ravel(), minlength=256) for polarity in (0, 1)]
    return np.stack([histogram @ bits for histogram in histograms], axis=1)


def digest_labels(labels: npt.ArrayLike) -> str:
    """Return the SHA-256 of labels as little-endian int64."""
    return hashlib.sha256(np.asarray(labels, dtype="<i8").tobytes()).hexdigest()
