"""A conversion on this machine: workers read and prepare, one call a batch converts, threads encode and write."""

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
from i2e_triton.pipeline.failure import Failure
from i2e_triton.pipeline.lanes import Complete, Lanes
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Piece, Settings, Shard
from i2e_triton.pipeline.worker_watch import WorkerWatch
from i2e_triton.sources import Source

_WATCH_S = 1.0


@dataclass(frozen=True)
class Machine:
    """How a machine is used; nothing of it changes a byte of the result."""

    workers: int  #: processes that read and prepare; 0 does it in this one
    batch_rows: int
    device: torch.device
    lanes: int = 1  #: shards written at the same time


def convert_shards(
    shards: Sequence[Shard],
    sources: Mapping[str, Source],
    settings: Settings,
    complete: Complete,
    *,
    machine: Machine,
    stopping: threading.Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards; when ``stopping`` is set, those in hand are finished and no other is begun.

    Raises:
        OSError: if a shard cannot be written, a source cannot be read, or a worker is killed.
        ValueError: if a source is damaged.
    """
    prepared = _loader(_Pieces(shards, machine, stopping), sources, settings, machine)
    with WorkerWatch() as workers, Lanes(complete, machine.lanes, shard_done) as lanes:
        while (batch := workers.next(prepared)) is not None:
            if isinstance(batch, Failure):
                raise batch.error()
            if isinstance(batch, ImageBatch):
                batch = convert_batch(batch, settings, machine.device)
            lanes.put(batch)
            rows_done(batch.piece.stop - batch.piece.start)


def _loader(
    pieces: _Pieces, sources: Mapping[str, Source], settings: Settings, machine: Machine
) -> Iterator[ImageBatch | EventBatch | Failure]:
    on_cpu = machine.device.type == "cpu"
    loader: DataLoader[ImageBatch | EventBatch | Failure] = DataLoader(
        # The CPU's cores are the workers: there the conversion is theirs. A GPU is this process's.
        _Attempts(EventBatches(sources, settings) if on_cpu else ImageBatches(sources, settings)),
        sampler=pieces,
        batch_size=None,
        num_workers=machine.workers,
        pin_memory=not on_cpu,
        worker_init_fn=partial(_start_worker, parent=os.getpid()),
    )
    return iter(loader)


class _Attempts(Dataset[ImageBatch | EventBatch | Failure]):
    """Batches, or why there is none."""

    def __init__(self, batches: ImageBatches | EventBatches) -> None:
        self._batches = batches

    def __getitem__(self, piece: Piece) -> ImageBatch | EventBatch | Failure:
        try:
            return self._batches[piece]
        except (OSError, ValueError) as error:
            return Failure.of(error)


def _start_worker(_worker: int, parent: int) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the main process, and end when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # PyTorch's own watch misses a parent that is killed while its workers start.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


class _Pieces(Sampler[Piece]):
    """The pieces of shards, of as many shards in turn as there are lanes."""

    def __init__(self, shards: Sequence[Shard], machine: Machine, stopping: threading.Event) -> None:
        self._shards = shards
        self._machine = machine
        self._stopping = stopping

    def __iter__(self) -> Iterator[Piece]:
        waiting = iter(self._shards)
        lanes: list[Iterator[Piece]] = []
        while True:
            while len(lanes) < self._machine.lanes and not self._stopping.is_set():
                shard = next(waiting, None)
                if shard is None:
                    break
                lanes.append(shard.pieces(self._machine.batch_rows))
            if not lanes:
                return
            for lane in lanes.copy():
                piece = next(lane, None)
                if piece is None:
                    lanes.remove(lane)
                else:
                    yield piece
