"""EventDataset reads each row group of a Parquet file once per batch, and caches row groups."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.datasets import EventDataset, parquet
from i2e_triton.datasets.records import EventRow
from tests.i2e_triton.datasets.builders import official_record, random_events, row_groups_read, write_official
from tests.samples import assert_same_events


def test_batch_reads_each_row_group_once(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_official(tmp_path / "some.parquet", random_events(12, generator), row_group_size=3)
    dataset = EventDataset(path)
    read_log = row_groups_read(monkeypatch)
    monkeypatch.setattr(parquet, "_CACHED_BYTES", 0)
    assert [label for _, label in dataset.__getitems__([11, 0, 10, 1, 2, 9, 0])] == [11, 0, 10, 1, 2, 9, 0]
    assert read_log == [0, 3]
    dataset[11]
    assert read_log == [0, 3]  # the row group read last is always cached
    dataset[3]
    dataset[11]
    assert read_log == [0, 3, 1, 3]


@pytest.mark.parametrize(("groups_in_cache", "expected"), [(1, [0, 1, 2, 0, 2]), (2, [0, 1, 2, 0]), (3, [0, 1, 2])])
def test_full_cache_is_emptied(
    groups_in_cache: int,
    expected: list[int],
    tmp_path: Path,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_official(tmp_path / "some.parquet", random_events(9, generator), row_group_size=3)
    dataset = EventDataset(path)
    dataset[0]
    (group,) = dataset._records._cache.values()  # type: ignore[attr-defined]
    monkeypatch.setattr(parquet, "_CACHED_BYTES", groups_in_cache * group.nbytes)
    dataset = EventDataset(path)
    read_log = row_groups_read(monkeypatch)
    for row in (0, 3, 6, 0, 6):
        dataset[row]
        assert len(dataset._records._cache) <= groups_in_cache  # type: ignore[attr-defined]
    assert read_log == expected


def test_failed_row_group_is_not_cached(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = EventDataset(write_official(tmp_path / "some.parquet", random_events(3, generator)))
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "_MAX_GROUP_BYTES", 0)
        for _ in range(2):
            with pytest.raises(parquet.RecordError, match="its row group takes more than 0 bytes"):
                dataset[0]
    _, label = dataset[1]
    assert label == 1


def test_records_are_views_of_the_row_group(tmp_path: Path, generator: torch.Generator) -> None:
    path = write_official(tmp_path / "some.parquet", random_events(3, generator))
    ((_, row),) = EventDataset(path)._records.read([1])
    assert isinstance(row, EventRow)
    assert isinstance(row.content, memoryview)


def test_large_binary_and_dictionary_encoded_columns_are_read(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(4, generator)
    records = [official_record(events[row % 2]) for row in range(4)]
    schema = pa.schema([("label", pa.int32()), ("more", pa.string()), ("data", pa.large_binary())])
    table = pa.table([[3, 2, 1, 0], ["a"] * 4, records], schema=schema)
    pq.write_table(table, tmp_path / "other.parquet", use_dictionary=True)
    dataset = EventDataset(tmp_path / "other.parquet", dtype=torch.bool)
    assert dataset.targets == [3, 2, 1, 0]
    for row in range(4):
        assert_same_events(dataset[row][0], events[row % 2])
