"""Convert one shard: read, decode, convert, encode and write its rows, and record it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2e_triton.formats import encode_records
from i2e_triton.formats.npz import save_packed_npz
from i2e_triton.io.atomic import sync_files
from i2e_triton.pipeline.batches import convert_batch, read_batch
from i2e_triton.pipeline.manifest import ShardRecord, SkippedRow, record_shard
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.writers import EncodedRow, WrittenFiles, write_shard
from i2e_triton.sources import ImageRow, Source


def convert_shard(
    source: Source, shard: Shard, config: ConversionConfig, out: Path, *, rows_done: Callable[[int], None]
) -> ShardRecord:
    """Convert one shard, write its files into the folder ``out``, and record that it is finished.

    Args:
        source: the split that contains the shard.
        shard: the rows to convert.
        config: determines the bytes of the result.
        out: output folder.
        rows_done: called after each batch, with its number of rows. If it raises, the incomplete file is removed.

    Raises:
        MemoryError: if memory is short. The message names the image.
        OSError: if a file cannot be read or written. The shard is then not recorded.
        ValueError: if the source is damaged.
    """
    counts = ShardCounts(config.timesteps)
    key = shard.name  # of the last row that was read

    def numbered_rows() -> Iterator[tuple[int, ImageRow]]:
        nonlocal key
        for number, row in enumerate(source.read(shard.start, shard.stop), shard.start):
            key = row.key
            yield number, row

    try:
        rows = _encoded_rows(numbered_rows(), config, counts, rows_done)
        files = write_shard(out, shard, rows, config, source.classes)
    except (MemoryError, RuntimeError) as error:
        # PyTorch's CPU allocator raises RuntimeError.
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(f"out of memory while converting {key}; use fewer --workers, or free memory") from error
    return record_files(out, shard, files, counts)


class ShardCounts:
    """Counts the rows, pixels and events of a shard."""

    def __init__(self, timesteps: int) -> None:
        self.rows = 0
        self.pixels = 0
        self.events = np.zeros((timesteps, 2), dtype=np.int64)
        self.skipped: list[SkippedRow] = []

    def add(self, packed: Tensor) -> None:
        """Count packed events ``[B, 2, H, W]``."""
        self.rows += len(packed)
        self.pixels += packed.shape[0] * packed.shape[2] * packed.shape[3]
        self.events += count_events(packed, len(self.events))


def record_files(out: Path, shard: Shard, files: WrittenFiles, counts: ShardCounts) -> ShardRecord:
    """Sync the files of a shard, record that it is finished, and return the record."""
    sync_files([out / path for path in files.paths])
    record = ShardRecord(
        name=shard.name,
        split=shard.split,
        rows=counts.rows,
        paths=files.paths,
        bytes=files.bytes,
        sha256=files.sha256,
        events=tuple((int(on), int(off)) for on, off in counts.events),
        pixels=counts.pixels,
        skipped=tuple(counts.skipped),
    )
    record_shard(out, record)
    return record


def _encoded_rows(
    rows: Iterator[tuple[int, ImageRow]],
    config: ConversionConfig,
    counts: ShardCounts,
    rows_done: Callable[[int], None],
) -> Iterator[EncodedRow]:
    """Convert, count and encode numbered rows. Yield them in order, without the skipped ones."""
    while (batch := read_batch(rows, config)).rows:
        counts.skipped += batch.skipped
        records: dict[int, bytes] = {}
        groups = convert_batch(batch, config)
        batch.groups.clear()  # free the memory of the images
        while groups:
            numbers, packed = groups.pop()
            counts.add(packed)
            records.update(zip(numbers, encode(packed, config)))
            del packed
        for number in sorted(records):
            key, label = batch.rows[number]
            yield EncodedRow(number, key, label, records.pop(number))
        rows_done(len(batch.rows))


def encode(packed: Tensor, config: ConversionConfig) -> list[bytes]:
    """Encode packed events ``[B, 2, H, W]`` as records, or as npz files if ``config.format`` is ``"npz"``."""
    if config.format != "npz":
        return encode_records(packed, config.timesteps, config.bits)
    files = []
    for events in packed:
        file = io.BytesIO()
        save_packed_npz(file, events, config.timesteps)
        files.append(file.getvalue())
    return files


def count_events(packed: Tensor, timesteps: int) -> np.ndarray:
    """Count packed events ``[B, 2, H, W]`` by timestep and polarity: int64 ``[timesteps, 2]``."""
    bits = np.arange(256)[:, None] >> np.arange(timesteps) & 1
    # np.bincount would copy uint8 as int64, which takes 8 times the memory and 2 to 20 times as long.
    histograms = [torch.bincount(packed[:, polarity].flatten(), minlength=256) for polarity in (0, 1)]
    return np.stack([histogram.numpy() @ bits for histogram in histograms], axis=1)
