from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from i2e_triton.pipeline.batches import EventBatch
from i2e_triton.pipeline.lanes import Lanes
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard

A, B = Shard("a", 0, 1, 0, 20), Shard("b", 0, 1, 0, 20)


def batches(shard: Shard) -> list[EventBatch]:
    return [EventBatch(piece, [], {}, []) for piece in shard.pieces(1)]


def record(shard: Shard, rows: int) -> ShardRecord:
    return ShardRecord(shard.name, shard.split, rows, (), 0, "", (), 0, ())


def put_both(lanes: Lanes) -> None:
    """Put the batches of both shards in turn."""
    with lanes:
        for pair in zip(batches(A), batches(B)):
            for batch in pair:
                lanes.put(batch)


def test_each_shard_gets_its_batches_in_order() -> None:
    got: dict[str, list[int]] = {}
    finished: list[ShardRecord] = []

    def complete(shard: Shard, coming: Iterator[EventBatch]) -> ShardRecord:
        got[shard.name] = [batch.piece.start for batch in coming]
        return record(shard, len(got[shard.name]))

    put_both(Lanes(complete, 2, finished.append))
    assert got == {A.name: list(range(20)), B.name: list(range(20))}
    assert sorted(done.name for done in finished) == [A.name, B.name]


def test_a_writer_that_fails_ends_the_others_and_the_block() -> None:
    begun, abandoned = threading.Event(), threading.Event()

    def complete(shard: Shard, coming: Iterator[EventBatch]) -> ShardRecord:
        if shard == A:
            begun.wait(10)
            raise OSError(28, "No space left on device")
        begun.set()
        try:
            return record(shard, len(list(coming)))
        except Exception:
            abandoned.set()
            raise

    finished: list[ShardRecord] = []
    with pytest.raises(OSError, match="No space"):
        put_both(Lanes(complete, 2, finished.append))
    assert abandoned.is_set()
    assert not finished


def test_an_error_in_the_block_abandons_shards_even_with_full_queues() -> None:
    go, ends = threading.Event(), []

    def complete(shard: Shard, coming: Iterator[EventBatch]) -> ShardRecord:
        go.wait(10)
        try:
            list(coming)
        except Exception as error:
            ends.append(type(error).__name__)
            raise
        return record(shard, 0)

    def stop_in_the_middle() -> None:
        with Lanes(complete, 1, lambda _: None) as lanes:
            for batch in batches(A)[:4]:
                lanes.put(batch)
            go.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    assert ends == ["_AbandonedError"]


def test_few_shards_are_in_hand_however_slow_their_writers_are() -> None:
    finished: list[ShardRecord] = []
    in_hand = []

    def complete(shard: Shard, coming: Iterator[EventBatch]) -> ShardRecord:
        rows = len(list(coming))
        time.sleep(0.01)
        return record(shard, rows)

    with Lanes(complete, 1, finished.append) as lanes:
        for i in range(8):
            lanes.put(batches(Shard(str(i), 0, 1, 0, 1))[0])
            in_hand.append(i + 1 - len(finished))
    assert len(finished) == 8
    assert max(in_hand) == 2
