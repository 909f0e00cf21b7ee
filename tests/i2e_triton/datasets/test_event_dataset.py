"""EventDataset returns the same rows from every container, dense and packed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import DatasetFolder

from i2e_triton import unpack
from i2e_triton.checks import EVENT_DTYPES
from i2e_triton.datasets import EventDataset
from i2e_triton.formats import encode_records
from tests.i2e_triton.datasets.builders import (
    SHAPE,
    official_record,
    packed,
    packed_record,
    random_events,
    tar_members,
    write_npz,
    write_official,
    write_parquet,
    write_tar,
)
from tests.samples import assert_same_events

ROWS = 11


def as_official_parquet(folder: Path, events: Tensor) -> None:
    write_official(folder / "data" / "train-00000-of-00002.parquet", events[:7], row_group_size=3)
    write_official(folder / "data" / "train-00001-of-00002.parquet", events[7:], first=7, row_group_size=3)


def as_packed_parquet(folder: Path, events: Tensor) -> None:
    records = encode_records(packed(events), events.shape[1], bits="packed")
    metadata = {"i2e.timesteps": str(events.shape[1]), "i2e.bits": "packed"}
    write_parquet(folder / "train-00000-of-00001.parquet", records, range(len(events)), metadata=metadata)


def as_npz(folder: Path, events: Tensor) -> None:
    for label, sample in enumerate(events):
        write_npz(folder / "train" / f"{label:02d}" / "0.npz", sample)


def as_tars(folder: Path, events: Tensor) -> None:
    write_tar(folder / "train-00000-of-00002.tar", tar_members(events[:7]))
    write_tar(folder / "train-00001-of-00002.tar", tar_members(events[7:], first=7))


def as_tar_of_npz_and_packed(folder: Path, events: Tensor) -> None:
    members = [("README.txt", b"not a sample"), ("manifest.json", b"{}")]
    for row, sample in enumerate(events):
        if row % 2:
            path = write_npz(folder / "temporary.npz", sample)
            members += [(f"./{row}.npz", path.read_bytes()), (f"./{row}.json", b'{"label": %d}' % row)]
            path.unlink()
        else:
            metadata = json.dumps({"label": row, "timesteps": len(sample)}).encode()
            # The files of a sample need not be adjacent.
            members = [(f"./{row}.json", metadata), *members, (f"./{row}.i2e.npy", packed_record(sample))]
    write_tar(folder / "train.tar", members)


CONTAINERS = (as_official_parquet, as_packed_parquet, as_npz, as_tars)
Container = Callable[[Path, Tensor], None]


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_returns_the_rows(container: Container, tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(ROWS, generator)
    container(tmp_path, events)
    dataset = EventDataset(tmp_path, "train")
    assert len(dataset) == ROWS
    assert dataset.targets == list(range(ROWS))
    assert dataset.timesteps == SHAPE[0]
    for row in range(ROWS):
        found, label = dataset[row]
        assert label == row
        assert_same_events(found, events[row].float())
    with pytest.raises(IndexError, match="row 11 is out of range for a data set of 11 rows"):
        dataset[ROWS]


@pytest.mark.parametrize("container", CONTAINERS)
def test_packed_events_unpack_to_the_dense_events(
    container: Container, tmp_path: Path, generator: torch.Generator
) -> None:
    events = random_events(ROWS, generator)
    container(tmp_path, events)
    dataset = EventDataset(tmp_path, packed=True)
    order = torch.randperm(ROWS, generator=generator)
    loader = DataLoader(dataset, batch_size=ROWS, sampler=order.tolist())
    (batch,) = loader
    assert_same_events(batch[0], packed(events[order]))
    assert torch.equal(batch[1], order)
    assert_same_events(unpack(batch[0], dataset.timesteps).transpose(0, 1), events[order].float())


def test_tar_with_npz_packed_records_and_scattered_members(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(ROWS, generator)
    as_tar_of_npz_and_packed(tmp_path, events)
    dataset = EventDataset(tmp_path / "train.tar", packed=True)
    assert sorted(dataset.targets) == list(range(ROWS))
    for (found, label), target in zip((dataset[row] for row in range(ROWS)), dataset.targets):
        assert label == target
        assert_same_events(found, packed(events[label]))


@pytest.mark.parametrize("dtype", EVENT_DTYPES)
def test_every_event_dtype_is_returned(dtype: torch.dtype, tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(2, generator)
    path = write_official(tmp_path / "some.parquet", events)
    assert_same_events(EventDataset(path, dtype=dtype)[1][0], events[1].to(dtype))


def test_other_dtypes_raise(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"torch\.int64"):
        EventDataset(tmp_path, dtype=torch.int64)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 8), st.just(2), st.integers(1, 20), st.integers(1, 20)),
    group=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_and_row_group(
    shape: tuple[int, ...], group: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = random_events(5, torch.Generator().manual_seed(seed), shape)
    path = write_official(tmp_path_factory.mktemp("any") / "x.parquet", events, row_group_size=group)
    for dataset, expected in (
        (EventDataset(path, dtype=torch.bool), events),
        (EventDataset(path, packed=True), packed(events)),
    ):
        found = dataset.__getitems__([4, 0, 2, 2, -2])
        assert [label for _, label in found] == [4, 0, 2, 2, 3]
        for sample, label in found:
            assert_same_events(sample, expected[label])


def test_more_than_8_timesteps_are_read_as_dense_events(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(2, generator, (11, 2, 3, 5))
    path = write_official(tmp_path / "long.parquet", events)
    dataset = EventDataset(path, dtype=torch.bool)
    assert dataset.timesteps == 11
    assert_same_events(dataset[1][0], events[1])


def test_transforms(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(3, generator)
    path = write_official(tmp_path / "some.parquet", events)
    dataset = EventDataset(path, transform=lambda found: found.sum(), target_transform=lambda label: label + 100)
    assert dataset[2] == (events[2].sum(), 102)
    assert dataset.targets == [0, 1, 2]


def test_class_names(tmp_path: Path, generator: torch.Generator) -> None:
    records = [official_record(sample) for sample in random_events(3, generator)]
    named = EventDataset(write_parquet(tmp_path / "named.parquet", records, [1, 0, -1], names=["zebra", "ant"]))
    assert named.classes == ["zebra", "ant"]
    assert named.class_to_idx == {"zebra": 0, "ant": 1}
    assert named.targets == [1, 0, -1]
    assert named[2][1] == -1
    nameless = EventDataset(write_parquet(tmp_path / "nameless.parquet", records, [1, 0, -1]))
    assert nameless.classes is None
    assert nameless.class_to_idx == {}


def read_as_official(path: str) -> Tensor:
    """Return the events of an npz file, read as the official training code does."""
    return torch.from_numpy(np.load(path)["arr_0"]).float()


def test_official_npz_rows_equal_the_official_code(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(96, generator)
    for number, sample in enumerate(events):
        inner = "hdbgacef"[number % 8] if number > 11 else "."
        write_npz(tmp_path / "val" / f"{number % 12:02d}" / inner / f"{number}.npz", sample)
    official = DatasetFolder(str(tmp_path / "val"), read_as_official, extensions=(".npz",))
    for dataset in (EventDataset(tmp_path, "val"), EventDataset(tmp_path / "val")):
        assert dataset.classes == official.classes
        assert dataset.class_to_idx == official.class_to_idx
        assert dataset.targets == official.targets
        for (found, label), (expected, target) in zip((dataset[row] for row in range(96)), official):
            assert label == target
            assert_same_events(found, expected)


def test_opening_and_targets_read_no_events(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_official_parquet(tmp_path, random_events(ROWS, generator))
    monkeypatch.delattr(pq.ParquetFile, "iter_batches")
    assert EventDataset(tmp_path).targets == list(range(ROWS))


@pytest.mark.parametrize("container", CONTAINERS)
def test_pickled_copies_read_the_rows(container: Container, tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(ROWS, generator)
    container(tmp_path, events)
    dataset = EventDataset(tmp_path, dtype=torch.bool)
    fresh = len(pickle.dumps(dataset))
    dataset[0]
    sent = pickle.dumps(dataset)
    assert len(sent) == fresh  # without the cached row groups
    for copied in (pickle.loads(sent), copy.deepcopy(dataset)):
        assert_same_events(copied[3][0], events[3])


@pytest.mark.parametrize(
    ("container", "context", "workers"),
    # A spawned worker takes seconds to import PyTorch.
    [(as_official_parquet, "fork", 2), (as_tars, "fork", 2), (as_official_parquet, "spawn", 1)],
)
def test_workers_read_every_row(
    container: Container, context: str, workers: int, tmp_path: Path, generator: torch.Generator
) -> None:
    events = random_events(ROWS, generator)
    container(tmp_path, events)
    dataset = EventDataset(tmp_path, packed=True)
    dataset[0]  # forked workers inherit a cache that is not empty
    loader = DataLoader(dataset, batch_size=3, shuffle=True, num_workers=workers, multiprocessing_context=context)
    seen: list[int] = []
    for found, labels in loader:
        assert_same_events(found, packed(events[labels]))
        seen += labels.tolist()
    assert sorted(seen) == list(range(ROWS))


def test_empty_data_set(tmp_path: Path) -> None:
    dataset = EventDataset(write_parquet(tmp_path / "empty.parquet", [], []))
    assert len(dataset) == 0
    assert dataset.targets == []
    with pytest.raises(ValueError, match="empty"):
        _ = dataset.timesteps


def test_npz_file_names_that_are_not_utf8(tmp_path: Path, generator: torch.Generator) -> None:
    (events,) = random_events(1, generator)
    write_npz(tmp_path / "train" / "cat" / os.fsdecode(b"caf\xe9.npz"), events)
    dataset = pickle.loads(pickle.dumps(EventDataset(tmp_path)))
    found, label = dataset[0]
    assert torch.equal(found.bool(), events)
    assert label == 0


def test_threads_read_the_same_tar(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(60, generator)
    write_tar(tmp_path / "train-00000-of-00001.tar", tar_members(events))
    dataset = EventDataset(tmp_path, "train", dtype=torch.bool)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # forces thread switches within reads

    def read(start: int) -> bool:
        return all(torch.equal(dataset[(start + 7 * i) % 60][0], events[(start + 7 * i) % 60]) for i in range(100))

    try:
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read, range(16)))
    finally:
        sys.setswitchinterval(before)
