from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard
from i2e_triton.pipeline.shard_writers import ShardWriters

A, B = Shard("a", 0, 1, 0, 20), Shard("b", 0, 1, 0, 20)


def batches(shard: Shard) -> list[EventBatch]:
    return [EventBatch(row_range, [], {}, []) for row_range in shard.row_ranges(1)]


def record(shard: Shard, rows: int) -> ShardRecord:
    return ShardRecord(shard.name, shard.split, rows, (), 0, "", (), 0, ())


def put_both(writers: ShardWriters) -> None:
    """Put the batches of both shards alternately."""
    with writers:
        for pair in zip(batches(A), batches(B)):
            for batch in pair:
                writers.put(batch)


def test_each_shard_receives_its_batches_in_order() -> None:
    got: dict[str, list[int]] = {}
    finished: list[ShardRecord] = []

    def complete(shard: Shard, incoming: Iterator[EventBatch]) -> ShardRecord:
        got[shard.name] = [batch.row_range.start for batch in incoming]
        return record(shard, len(got[shard.name]))

    put_both(ShardWriters(complete, 2, finished.append))
    assert got == {A.name: list(range(20)), B.name: list(range(20))}
    assert sorted(done.name for done in finished) == [A.name, B.name]


def test_failing_writer_abandons_other_shards_and_raises() -> None:
    begun, abandoned = threading.Event(), threading.Event()

    def complete(shard: Shard, incoming: Iterator[EventBatch]) -> ShardRecord:
        if shard == A:
            begun.wait(10)
            raise OSError(28, "No space left on device")
        begun.set()
        try:
            return record(shard, len(list(incoming)))
        except Exception:
            abandoned.set()
            raise

    finished: list[ShardRecord] = []
    with pytest.raises(OSError, match="No space"):
        put_both(ShardWriters(complete, 2, finished.append))
    assert abandoned.is_set()
    assert not finished


def test_error_in_block_abandons_shards_even_with_full_queues() -> None:
    go, ends = threading.Event(), []

    def complete(shard: Shard, incoming: Iterator[EventBatch]) -> ShardRecord:
        go.wait(10)
        try:
            list(incoming)
        except Exception as error:
            ends.append(type(error).__name__)
            raise
        return record(shard, 0)

    def stop_in_the_middle() -> None:
        with ShardWriters(complete, 1, lambda _: None) as writers:
            for batch in batches(A)[:4]:
                writers.put(batch)
            go.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    assert ends == ["_AbandonedError"]


def test_number_of_open_shards_is_limited() -> None:
    finished: list[ShardRecord] = []
    unfinished = []

    def complete(shard: Shard, incoming: Iterator[EventBatch]) -> ShardRecord:
        rows = len(list(incoming))
        time.sleep(0.01)
        return record(shard, rows)

    with ShardWriters(complete, 1, finished.append) as writers:
        for i in range(8):
            writers.put(batches(Shard(str(i), 0, 1, 0, 1))[0])
            unfinished.append(i + 1 - len(finished))
    assert len(finished) == 8
    assert max(unfinished) == 2
