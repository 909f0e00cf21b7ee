"""Shards written at the same time, each by a thread of its own: encoding, compression and files off the main one."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard

_BATCHES_IN_HAND = 4
_PATIENCE_S = 0.2

Complete = Callable[[Shard, Iterator[EventBatch]], ShardRecord]


class _AbandonedError(Exception):
    """The rest of a shard will not come."""


_Batches = queue.Queue[EventBatch | _AbandonedError | None]


class Lanes:
    """Hands batches to the writers of their shards; at the end of a ``with`` block all shards are complete.

    Batches of a shard come in order, those of different shards in any. A writer that fails ends the block with its
    error; an error in the block abandons the shards in hand.
    """

    def __init__(self, complete: Complete, lanes: int, finished: Callable[[ShardRecord], None]) -> None:
        self._complete = complete
        self._finished = finished
        # One more: a shard may still be at its end when the next begins.
        self._in_hand = lanes + 1
        self._threads = ThreadPoolExecutor(self._in_hand, thread_name_prefix="i2e-shard")
        self._open: dict[str, _Batches] = {}
        self._writing: dict[str, Future[ShardRecord]] = {}

    def __enter__(self) -> Lanes:
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
        """Pass a batch to its shard's writer, waiting while that, or all of them, have enough in hand.

        Raises:
            OSError: if a shard could not be written.
        """
        shard = batch.piece.shard
        if shard.name not in self._open:
            while len(self._writing) >= self._in_hand:
                wait(self._writing.values(), return_when=FIRST_COMPLETED)
                self._collect()
            batches: _Batches = queue.Queue(_BATCHES_IN_HAND)
            self._open[shard.name] = batches
            self._writing[shard.name] = self._threads.submit(self._complete, shard, _until_end(batches))
        self._pass_on(shard.name, batch)
        if batch.piece.last:
            self._pass_on(shard.name, None)
            del self._open[shard.name]
        self._collect()

    def _pass_on(self, name: str, batch: EventBatch | None) -> None:
        while True:
            try:
                return self._open[name].put(batch, timeout=_PATIENCE_S)
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
            with contextlib.suppress(queue.Empty):  # the writer has just taken one
                batches.get_nowait()
