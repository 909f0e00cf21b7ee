"""Convert shards on this machine: worker processes prepare images, threads encode and write."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from i2e_triton.pipeline.batches import EventBatch, EventBatches, ImageBatch, ImageBatches, convert_batch
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import ConversionConfig, RowRange, Shard
from i2e_triton.pipeline.shard_writers import Complete, ShardWriters
from i2e_triton.pipeline.worker_watch import WorkerWatch
from i2e_triton.sources import Source

_PARENT_CHECK_S = 1.0


@dataclass(frozen=True)
class EngineOptions:
    """How an engine uses the machine. The options do not change the result."""

    workers: int  #: processes that read and prepare images; 0 uses the main process
    batch_rows: int
    device: torch.device
    shard_writers: int = 1  #: shards written at the same time


@dataclass(frozen=True)
class Failure:
    """An error of another process, as data.

    An exception that leaves a worker by itself contains the whole traceback in its message, and some exceptions cannot
    be pickled.
    """

    kind: str  #: OSError or ValueError
    message: str

    @staticmethod
    def of(error: OSError | ValueError) -> Failure:
        """Return the failure that describes ``error``."""
        return Failure("OSError" if isinstance(error, OSError) else "ValueError", str(error))

    def error(self) -> OSError | ValueError:
        """Return an exception of the same kind with the same message."""
        return OSError(self.message) if self.kind == "OSError" else ValueError(self.message)


def convert_shards(
    shards: Sequence[Shard],
    sources: Mapping[str, Source],
    config: ConversionConfig,
    complete: Complete,
    *,
    options: EngineOptions,
    stopping: threading.Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards. When ``stopping`` is set, finish the open shards and start no others.

    Raises:
        OSError: if a shard cannot be written, a source cannot be read, or a worker is killed.
        ValueError: if a source is damaged.
    """
    prepared = _loader(_RowRanges(shards, options, stopping), sources, config, options)
    try:
        with WorkerWatch() as workers, ShardWriters(complete, options.shard_writers, shard_done) as writers:
            while (batch := workers.next(prepared)) is not None:
                if isinstance(batch, Failure):
                    raise batch.error()
                if isinstance(batch, ImageBatch):
                    batch = convert_batch(batch, config, options.device)
                writers.put(batch)
                rows_done(batch.row_range.stop - batch.row_range.start)
    finally:
        del prepared  # stops the workers; the traceback of an error would keep them running


def _loader(
    row_ranges: _RowRanges, sources: Mapping[str, Source], config: ConversionConfig, options: EngineOptions
) -> Iterator[ImageBatch | EventBatch | Failure]:
    on_cpu = options.device.type == "cpu"
    loader: DataLoader[ImageBatch | EventBatch | Failure] = DataLoader(
        # On the CPU the workers convert as well, to use all cores. On a GPU the main process converts.
        _BatchesOrFailures(EventBatches(sources, config) if on_cpu else ImageBatches(sources, config)),
        sampler=row_ranges,
        batch_size=None,
        num_workers=options.workers,
        pin_memory=not on_cpu,
        worker_init_fn=partial(_start_worker, parent=os.getpid()),
    )
    return iter(loader)


class _BatchesOrFailures(Dataset[ImageBatch | EventBatch | Failure]):
    """Returns read errors as failures."""

    def __init__(self, batches: ImageBatches | EventBatches) -> None:
        self._batches = batches

    def __getitem__(self, row_range: RowRange) -> ImageBatch | EventBatch | Failure:
        try:
            return self._batches[row_range]
        except (OSError, ValueError) as error:
            return Failure.of(error)


def _start_worker(_worker: int, parent: int) -> None:
    """Ignore Ctrl-C, which a terminal sends to all processes, and exit when the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # PyTorch's watchdog misses a parent that is killed while its workers start.
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


class _RowRanges(Sampler[RowRange]):
    """The row ranges of all shards, alternating between ``options.shard_writers`` shards."""

    def __init__(self, shards: Sequence[Shard], options: EngineOptions, stopping: threading.Event) -> None:
        self._shards = shards
        self._options = options
        self._stopping = stopping

    def __iter__(self) -> Iterator[RowRange]:
        waiting = iter(self._shards)
        open_shards: list[Iterator[RowRange]] = []
        while True:
            while len(open_shards) < self._options.shard_writers and not self._stopping.is_set():
                shard = next(waiting, None)
                if shard is None:
                    break
                open_shards.append(shard.row_ranges(self._options.batch_rows))
            if not open_shards:
                return
            for row_ranges in open_shards.copy():
                row_range = next(row_ranges, None)
                if row_range is None:
                    open_shards.remove(row_ranges)
                else:
                    yield row_range
