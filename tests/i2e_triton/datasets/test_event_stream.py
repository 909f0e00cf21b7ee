"""EventStream returns every row once, divides rows evenly, shuffles them, and resumes."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from i2e_triton import unpack
from i2e_triton.datasets import EventStream, event_stream
from tests.i2e_triton.datasets.builders import (
    packed,
    random_events,
    row_groups_read,
    tar_members,
    write_npz,
    write_official,
    write_tar,
)
from tests.samples import assert_same_events

ROWS = 47


@pytest.fixture
def events(generator: torch.Generator) -> Tensor:
    return random_events(ROWS, generator)


@pytest.fixture
def folder(events: Tensor, tmp_path: Path) -> Path:
    """Write 47 rows to three shards with row groups of 4 rows. The second shard is empty."""
    for index, (first, last) in enumerate(((0, 20), (20, 20), (20, ROWS))):
        path = tmp_path / f"train-{index:05d}-of-00003.parquet"
        write_official(path, events[first:last], first, row_group_size=4)
    return tmp_path


def labels_of(stream: Any) -> list[int]:
    return [int(label) for _, label in stream]


def test_every_row_is_returned_once(folder: Path, events: Tensor) -> None:
    dense = EventStream(folder, "train", dtype=torch.bool)
    assert sorted(labels_of(dense)) == list(range(ROWS))
    for found, label in dense:
        assert_same_events(found, events[label])
    stream = EventStream(folder, packed=True, transform=lambda found: found + 0, target_transform=lambda label: -label)
    for found, label in stream:
        assert_same_events(unpack(found, stream.timesteps), events[-label].float())


def test_npz_and_tars_are_streamed(events: Tensor, tmp_path: Path) -> None:
    for row, sample in enumerate(events):
        write_npz(tmp_path / "npz" / f"{row:02d}" / "x.npz", sample)
    write_tar(tmp_path / "train.tar", tar_members(events))
    for location in (tmp_path / "npz", tmp_path / "train.tar"):
        stream = EventStream(location, dtype=torch.bool, buffer_size=16)
        assert sorted(labels_of(stream)) == list(range(ROWS))
        for found, label in stream:
            assert_same_events(found, events[label])


def test_rows_without_shuffling_are_in_order(folder: Path) -> None:
    assert labels_of(EventStream(folder, shuffle=False)) == list(range(ROWS))
    halves = [labels_of(EventStream(folder, shuffle=False, rank=rank, world_size=2)) for rank in (0, 1)]
    assert halves == [list(range(23)), list(range(23, ROWS))]


def test_order_depends_on_seed_and_epoch(folder: Path) -> None:
    stream = EventStream(folder, seed=1)
    first = labels_of(stream)
    assert first == labels_of(stream) == labels_of(EventStream(folder, seed=1))
    assert first != labels_of(EventStream(folder, seed=2))
    stream.set_epoch(1)
    assert stream.epoch == 1
    second = labels_of(stream)
    assert second != first
    assert sorted(second) == list(range(ROWS))
    stream.set_epoch(0)
    assert labels_of(stream) == first
    for epoch, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match=f"epoch must be .*{epoch}"):
            stream.set_epoch(epoch)  # type: ignore[arg-type]


@pytest.fixture
def twelve_groups(tmp_path: Path, generator: torch.Generator) -> Path:
    """Write twelve row groups of 4 rows."""
    return write_official(tmp_path / "twelve.parquet", random_events(48, generator), row_group_size=4)


def test_buffer_shuffles_the_rows_of_several_groups(twelve_groups: Path) -> None:
    labels = labels_of(EventStream(twelve_groups, buffer_size=10))
    groups = [label // 4 for label in labels]
    assert len({tuple(label % 4 for label in labels[start : start + 12]) for start in range(0, 48, 12)}) == 4
    for start in range(0, 48, 12):
        block = groups[start : start + 12]
        assert set(Counter(block).values()) == {4}  # three complete row groups
        assert block != sorted(block, key=block.index)  # mixed
    unmixed = [label // 4 for label in labels_of(EventStream(twelve_groups, buffer_size=1))]
    assert unmixed == sorted(unmixed, key=unmixed.index)  # one group after the other
    assert unmixed[::4] != list(range(12))


def test_rows_are_freed_when_they_are_returned(folder: Path) -> None:
    rows = EventStream(folder)._in_order(np.arange(10))
    first = weakref.ref(next(rows))
    assert first() is None
    assert len(list(rows)) == 9


def test_every_position_is_equally_likely(folder: Path) -> None:
    """A chi-squared test of the position of row 0 over many seeds, in quarters of the epoch."""
    positions: Counter[int] = Counter()
    for seed in range(200):
        blocks = EventStream(folder, seed=seed, buffer_size=16)._blocks()
        positions[list(chain(*blocks)).index(0) * 4 // ROWS] += 1
    chi_squared = sum((positions[quarter] - 50) ** 2 / 50 for quarter in range(4))
    assert chi_squared < 25  # a correct shuffle exceeds this once in 60,000 runs; seeds are fixed


@settings(max_examples=25, deadline=None)
@given(world_size=st.integers(1, 9), buffer_size=st.integers(1, 60), shuffle=st.booleans(), seed=st.integers(0, 2**64))
def test_ranks_share_the_rows_evenly(
    world_size: int, buffer_size: int, shuffle: bool, seed: int, shared_folder: Path
) -> None:
    streams = [
        EventStream(
            shared_folder, rank=rank, world_size=world_size, shuffle=shuffle, buffer_size=buffer_size, seed=seed
        )
        for rank in range(world_size)
    ]
    shares = [labels_of(stream) for stream in streams]
    assert sorted(chain(*shares)) == list(range(ROWS))
    assert {len(share) for share in shares} <= {ROWS // world_size, ROWS // world_size + 1}
    assert {stream.rows for stream in streams} == {ROWS // world_size}


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_official(folder / "a.parquet", random_events(ROWS, torch.Generator().manual_seed(0)), row_group_size=5)
    return folder


def test_more_workers_than_row_groups(events: Tensor, tmp_path: Path) -> None:
    path = write_official(tmp_path / "one.parquet", events[:5])
    loader = DataLoader(EventStream(path, rank=1, world_size=2), batch_size=None, num_workers=2)
    rank_1 = labels_of(loader)
    rank_0 = labels_of(EventStream(path, rank=0, world_size=2))
    assert sorted(rank_0 + rank_1) == list(range(5))
    of_seven_ranks = [labels_of(EventStream(path, rank=rank, world_size=7)) for rank in range(7)]
    assert sorted(chain(*of_seven_ranks)) == list(range(5))


def test_persistent_workers_use_the_new_epoch(folder: Path, events: Tensor) -> None:
    stream = EventStream(folder, packed=True, buffer_size=8)
    labels_of(islice(stream, 9))  # the forked workers inherit a stream that has been read
    loader = DataLoader(stream, batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    orders = []
    for epoch in (0, 0, 1):
        stream.set_epoch(epoch)
        order: list[int] = []
        for found, labels in loader:
            assert_same_events(found, packed(events[labels]))
            order += labels.tolist()
        assert sorted(order) == list(range(ROWS))
        orders.append(order)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.slow
def test_spawned_worker_reads_the_same_order(folder: Path) -> None:
    loader = DataLoader(EventStream(folder), batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert labels_of(loader) == labels_of(EventStream(folder))


@pytest.mark.parametrize("taken", [0, 1, 17, 18, ROWS - 1, ROWS])
def test_resume_continues_after_the_last_row(taken: int, folder: Path) -> None:
    options: dict[str, Any] = {"buffer_size": 8, "seed": 3, "rank": 0, "world_size": 1}
    whole = EventStream(folder, **options)
    whole.set_epoch(2)
    expected = labels_of(whole)
    stopped = EventStream(folder, **options)
    stopped.set_epoch(2)
    assert labels_of(islice(iter(stopped), taken)) == expected[:taken]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = EventStream(folder, **options)
    resumed.load_state_dict(state)
    assert resumed.epoch == 2
    resumed.set_epoch(2)  # as a training loop does
    assert resumed.state_dict() == state
    assert labels_of(resumed) == expected[taken:]
    assert labels_of(resumed) == expected  # the next iteration starts at the beginning
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert resumed.state_dict()["taken"] == 0
    assert len(labels_of(resumed)) == ROWS


def test_resume_skips_finished_row_groups(twelve_groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = EventStream(twelve_groups, buffer_size=8)
    expected = labels_of(stopped)
    labels_of(islice(stopped, 41))
    resumed = EventStream(twelve_groups, buffer_size=8)
    resumed.load_state_dict(stopped.state_dict())
    groups = row_groups_read(monkeypatch)
    assert labels_of(resumed) == expected[41:]
    assert sorted(groups) == sorted({label // 4 for label in expected[40:]})


def test_loader_without_workers_resumes_at_a_batch(folder: Path) -> None:
    stream = EventStream(folder)
    batches = [labels.tolist() for _, labels in DataLoader(stream, batch_size=6)]
    iterator = iter(DataLoader(stream, batch_size=6))
    assert [next(iterator)[1].tolist() for _ in range(3)] == batches[:3]
    resumed = EventStream(folder)
    resumed.load_state_dict(stream.state_dict())
    assert [labels.tolist() for _, labels in DataLoader(resumed, batch_size=6)] == batches[3:]


def test_worker_resumes_its_own_share(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in torchdata's StatefulDataLoader, which saves and loads the state of each worker's stream."""
    monkeypatch.setattr(event_stream, "get_worker_info", lambda: SimpleNamespace(id=1, num_workers=2))
    stopped = EventStream(folder, buffer_size=8)
    expected = labels_of(stopped)
    assert len(expected) == 24
    assert labels_of(islice(stopped, 7)) == expected[:7]
    resumed = EventStream(folder, buffer_size=8)
    resumed.load_state_dict(stopped.state_dict())
    assert labels_of(resumed) == expected[7:]


def test_state_of_another_order_raises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = EventStream(folder, seed=1).state_dict()
    with pytest.raises(
        ValueError, match="seed is 1 in the state and 2 in the stream, buffer_size is 2048 in the state and 9 in"
    ):
        EventStream(folder, seed=2, buffer_size=9).load_state_dict(state)
    with pytest.raises(ValueError, match="world_size is 1 in the state and 2 in the stream"):
        EventStream(folder, seed=1, rank=0, world_size=2).load_state_dict(state)
    stream = EventStream(folder, seed=1)
    stream.load_state_dict(state)
    monkeypatch.setattr(event_stream, "get_worker_info", lambda: SimpleNamespace(id=1, num_workers=2))
    with pytest.raises(
        ValueError, match="worker is 0 in the state and 1 in the stream, workers is 0 in the state and 2 in the"
    ):
        next(iter(stream))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"taken": -1}, ValueError, "taken of the state must be at least 0, got -1"),
        ({"taken": "3"}, TypeError, "taken of the state must be an int, got str '3'"),
        ({"epoch": None}, TypeError, "epoch of the state must be an int, got NoneType None"),
        ({"epoch": -2}, ValueError, "epoch of the state must be at least 0, got -2"),
    ],
)
def test_damaged_state_raises(change: dict[str, Any], error: type[Exception], message: str, folder: Path) -> None:
    stream = EventStream(folder)
    with pytest.raises(error, match=message):
        stream.load_state_dict(stream.state_dict() | change)
    assert len(labels_of(stream)) == ROWS


def test_state_that_is_not_a_dict_raises(folder: Path) -> None:
    with pytest.raises(TypeError, match="state must be the dict that state_dict returns, got NoneType"):
        EventStream(folder).load_state_dict(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"buffer_size": 2.5}, TypeError, "buffer_size must be an int"),
        ({"seed": "1"}, TypeError, "seed must be an int"),
        ({"rank": 0.0, "world_size": 2}, TypeError, "rank must be an int"),
        ({"buffer_size": 0}, ValueError, "buffer_size must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"rank": 1}, ValueError, "pass rank and world_size together, got 1 and None"),
        ({"world_size": 1}, ValueError, "pass rank and world_size together, got None and 1"),
        ({"rank": 2, "world_size": 2}, ValueError, "rank must be less than world_size, got 2 of 2"),
        ({"rank": -1, "world_size": 2}, ValueError, "rank must be at least 0, got -1"),
    ],
)
def test_invalid_arguments_raise(options: dict[str, Any], error: type[Exception], message: str, folder: Path) -> None:
    with pytest.raises(error, match=message):
        EventStream(folder, **options)


def test_empty_data_set_yields_nothing(tmp_path: Path, generator: torch.Generator) -> None:
    path = write_official(tmp_path / "empty.parquet", random_events(0, generator))
    assert labels_of(EventStream(path, packed=True)) == []


def test_default_rank_comes_from_torch_distributed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created_early, with_rank = EventStream(folder), EventStream(folder, rank=0, world_size=1)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    assert labels_of(EventStream(folder)) == labels_of(EventStream(folder, rank=1, world_size=2))
    assert len(labels_of(with_rank)) == ROWS
    with pytest.raises(ValueError, match=r"before torch\.distributed was initialized"):
        next(iter(created_early))
