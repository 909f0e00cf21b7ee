"""Write several shards at the same time. One thread per shard encodes, compresses and writes."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard

_QUEUED_BATCHES = 4
_PUT_TIMEOUT_S = 0.2

Complete = Callable[[Shard, Iterator[EventBatch]], ShardRecord]


class _AbandonedError(Exception):
    """The remaining batches of a shard will not arrive."""


_Batches = queue.Queue[EventBatch | _AbandonedError | None]


class ShardWriters:
    """Passes batches to the writers of their shards. When a ``with`` block ends, all shards are finished.

    Batches of one shard must arrive in order; batches of different shards may alternate. If a writer fails, the block
    raises its error. If the block raises an error, all open shards are abandoned.

    Args:
        complete: writes the batches of one shard.
        shards: number of shards whose batches alternate.
        finished: called in the main thread with the record of each finished shard.
    """

    def __init__(self, complete: Complete, shards: int, finished: Callable[[ShardRecord], None]) -> None:
        self._complete = complete
        self._finished = finished
        self._most_open = shards + 1  # one shard may still be written when the next one starts
        self._threads = ThreadPoolExecutor(self._most_open, thread_name_prefix="i2e-shard")
        self._open: dict[str, _Batches] = {}
        self._writing: dict[str, Future[ShardRecord]] = {}

    def __enter__(self) -> ShardWriters:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for writing in list(self._writing.values()):
                    self._finished(writing.result())
        finally:
            for batches in self._open.values():
                _replace_all(batches, _AbandonedError())
            self._threads.shutdown(cancel_futures=True)

    def put(self, batch: EventBatch) -> None:
        """Pass a batch to the writer of its shard. Blocks while the queue of that writer is full.

        Raises:
            OSError: if a shard cannot be written.
        """
        shard = batch.row_range.shard
        if shard.name not in self._open:
            while len(self._writing) >= self._most_open:
                wait(self._writing.values(), return_when=FIRST_COMPLETED)
                self._collect()
            batches: _Batches = queue.Queue(_QUEUED_BATCHES)
            self._open[shard.name] = batches
            self._writing[shard.name] = self._threads.submit(self._complete, shard, _until_end(batches))
        self._put(shard.name, batch)
        if batch.row_range.last:
            self._put(shard.name, None)
            del self._open[shard.name]
        self._collect()

    def _put(self, name: str, batch: EventBatch | None) -> None:
        while True:
            try:
                return self._open[name].put(batch, timeout=_PUT_TIMEOUT_S)
            except queue.Full:
                self._collect()

    def _collect(self) -> None:
        for name in [name for name, writing in self._writing.items() if writing.done()]:
            self._finished(self._writing.pop(name).result())


def _until_end(batches: _Batches) -> Iterator[EventBatch]:
    while (batch := batches.get()) is not None:
        if isinstance(batch, _AbandonedError):
            raise batch
        yield batch


def _replace_all(batches: _Batches, last: _AbandonedError) -> None:
    while True:
        try:
            return batches.put_nowait(last)
        except queue.Full:
            with contextlib.suppress(queue.Empty):  # the writer may have taken it in between
                batches.get_nowait()
