"""Damaged and malicious files raise an error that names file and row, before memory is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.datasets import EventDataset, EventStream, RecordError, parquet
from tests.i2e_triton.datasets.builders import (
    npy,
    official_record,
    random_events,
    tar_members,
    write_npz,
    write_official,
    write_parquet,
    write_tar,
)


@pytest.fixture
def records(generator: torch.Generator) -> list[bytes]:
    return [official_record(sample) for sample in random_events(9, generator)]


def test_damaged_record_error_names_file_and_row(records: list[bytes], tmp_path: Path) -> None:
    good = write_parquet(tmp_path / "a-00000-of-00002.parquet", records, range(9), row_group_size=4)
    records[6] = records[6][:-1]
    bad = write_parquet(tmp_path / "a-00001-of-00002.parquet", records, range(9), row_group_size=4)
    for packed in (False, True):
        dataset = EventDataset(tmp_path, packed=packed)
        assert len(dataset.__getitems__([row for row in range(18) if row != 15])) == 17
        for rows in ([15], [2, 15, 3]):
            with pytest.raises(RecordError, match=rf"^{bad}: row 6: "):
                dataset.__getitems__(rows)
        stream = EventStream(tmp_path, packed=packed, shuffle=False)
        seen: list[int] = []
        with pytest.raises(RecordError, match=rf"^{bad}: row 6: "):
            seen.extend(label for _, label in stream)
    assert len(EventDataset(good)) == 9


@pytest.mark.parametrize(
    ("record", "label", "reason"),
    [
        (None, 0, "data is null"),
        (b"", 0, "not written by np.save"),
        (npy(np.array([{}], dtype=object)), 0, "Python objects"),
        (
            npy(np.frombuffer(np.array([8, 2, 60000, 60000], "<u2").tobytes(), np.uint8)),
            0,
            "take more than 2,147,483,648 bytes",
        ),
        (b"PK\x03\x04 but no zip", 0, "not written by np.savez"),
        (..., None, "label is null"),
        (..., 2, "label 2 is not one of the 2 classes"),
        (..., -2, "label -2 is not one of the 2 classes"),
    ],
)
def test_invalid_rows_raise(record: Any, label: int | None, reason: str, records: list[bytes], tmp_path: Path) -> None:
    rows = [records[0], records[1] if record is ... else record]
    path = write_parquet(tmp_path / "a.parquet", rows, [1, label], names=["a", "b"])
    dataset = EventDataset(path)
    assert dataset[0][1] == 1
    with pytest.raises(RecordError, match=rf"^{path}: row 1: .*{reason}"):
        dataset[1]


def test_targets_with_null_labels_raise(records: list[bytes], tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", records[:3], [1, None, 2])
    with pytest.raises(RecordError, match="3 rows have 3 labels, 1 of them null"):
        _ = EventDataset(path).targets


def test_targets_larger_than_int64_raise(records: list[bytes], tmp_path: Path) -> None:
    for label, fits in ((2**63 - 1, True), (2**63, False)):
        columns = [pa.array(records[:1], pa.binary()), pa.array([label], pa.uint64())]
        pq.write_table(pa.table(columns, names=["data", "label"]), tmp_path / "a.parquet")
        dataset = EventDataset(tmp_path / "a.parquet")
        if fits:
            assert dataset.targets == [label]
        else:
            with pytest.raises(RecordError, match=r"a\.parquet: the labels cannot be read: .*9223372036854775808"):
                _ = dataset.targets


def test_packed_events_of_different_timesteps_raise(tmp_path: Path, generator: torch.Generator) -> None:
    shapes = [(4, 2, 3, 3), (5, 2, 3, 3), (9, 2, 3, 3)]
    events = [random_events(1, generator, shape)[0] for shape in shapes]
    path = write_parquet(tmp_path / "a.parquet", list(map(official_record, events)), range(3))
    dataset = EventDataset(path, packed=True)
    assert dataset.timesteps == 4
    for row, reason in ((1, "5 timesteps instead of 4"), (2, "9 timesteps")):
        with pytest.raises(RecordError, match=rf"row {row}: the record has {reason}"):
            dataset[row]
        write_npz(tmp_path / "npz" / "class" / f"{row}.npz", events[row])
    npz = EventDataset(tmp_path / "npz", packed=True)
    assert npz.timesteps == 5
    with pytest.raises(
        RecordError, match=r"2\.npz: row 1: the record has 9 timesteps, but packed events have at most 8"
    ):
        npz[1]


def test_damaged_row_group_raises(records: list[bytes], tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", records, range(9), row_group_size=3, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = group.dictionary_page_offset
    content[start : start + group.total_compressed_size] = bytes(group.total_compressed_size)
    path.write_bytes(content)
    dataset = EventDataset(path)
    assert [dataset[row][1] for row in (0, 2, 6, 8)] == [0, 2, 6, 8]
    with pytest.raises(RecordError, match=rf"^{path}: row 3 and up to 2 rows after it: "):
        dataset[4]


@pytest.mark.parametrize(
    "columns",
    [
        {"data": [b"x"]},
        {"label": [1]},
        {"data": ["text"], "label": [1]},
        {"data": [b"x"], "label": [1.0]},
    ],
)
def test_wrong_columns_raise(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"a\.parquet: the columns must be data: binary and label: int64, got "):
        EventDataset(tmp_path)


def test_duplicate_column_raises(tmp_path: Path) -> None:
    columns = [pa.array([b"x"]), pa.array([1]), pa.array([2])]
    pq.write_table(pa.table(columns, names=["data", "label", "label"]), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match="got data: binary, label: int64, label: int64"):
        EventDataset(tmp_path)


@pytest.mark.parametrize("timesteps", ["0", "9", "many"])
def test_invalid_number_of_timesteps_raises(timesteps: str, records: list[bytes], tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", records, range(9), metadata={"i2e.timesteps": timesteps})
    with pytest.raises(RecordError, match=r"'i2e\.timesteps' must be 1 to 8"):
        EventDataset(tmp_path)


def test_shards_with_different_metadata_raise(records: list[bytes], tmp_path: Path) -> None:
    a = write_parquet(tmp_path / "a.parquet", records, [0] * 9, names=["x"])
    b = write_parquet(tmp_path / "b.parquet", records, [0] * 9, names=["y"])
    c = write_parquet(tmp_path / "c.parquet", records, [0] * 9, names=["x"], metadata={"i2e.timesteps": "3"})
    with pytest.raises(RecordError, match=rf"{b} and {a} have different classes"):
        EventDataset([a, b])
    with pytest.raises(RecordError, match=rf"{c} and {a} have different timesteps"):
        EventDataset([a, c])


def test_too_large_row_group_raises(tmp_path: Path) -> None:
    rows = 2**20 + 1
    table = pa.table({"data": pa.array([b""] * rows), "label": pa.array(np.zeros(rows, np.int64))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows)
    with pytest.raises(RecordError, match=r"row group 0 has 1,048,577 rows .* smaller row_group_size"):
        EventDataset(tmp_path)


def test_decompression_bomb_in_parquet_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary repeats one record of 4 MB a thousand times."""
    monkeypatch.setattr(parquet, "_MAX_GROUP_BYTES", 2**26)
    rows, record = 1000, npy(np.zeros(2**22, np.uint8))
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([record], pa.binary()))
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"data": repeated, "label": np.zeros(rows, np.int64)}), path, store_schema=False)
    assert path.stat().st_size < 2**20
    dataset = EventDataset(path)
    with pytest.raises(RecordError, match=r"bomb\.parquet: row 0 .*: its row group takes more than 67,108,864 bytes"):
        dataset[0]


def test_too_many_rows_in_a_file_raise(records: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MAX_FILE_ROWS", 8)
    write_parquet(tmp_path / "a.parquet", records[:8], range(8))
    assert len(EventDataset(tmp_path / "a.parquet")) == 8
    write_parquet(tmp_path / "a.parquet", records, range(9))
    with pytest.raises(RecordError, match=r"a\.parquet: the file has more than 8 rows"):
        EventDataset(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
def test_file_that_is_removed_after_opening_raises(suffix: str, tmp_path: Path, generator: torch.Generator) -> None:
    events, path = random_events(3, generator), tmp_path / f"a.{suffix}"
    write_official(path, events) if suffix == "parquet" else write_tar(path, tar_members(events))
    dataset = EventDataset(path)
    path.unlink()
    with pytest.raises(RecordError, match=rf"^{path}"):
        dataset[1]
    if suffix == "parquet":
        with pytest.raises(RecordError, match=rf"^{path}"):
            _ = dataset.targets


def test_damaged_npz_raises(tmp_path: Path, generator: torch.Generator) -> None:
    for row, sample in enumerate(random_events(3, generator)):
        path = write_npz(tmp_path / "class" / f"{row}.npz", sample)
    path.write_bytes(path.read_bytes()[:-30])
    dataset = EventDataset(tmp_path)
    assert dataset[1][1] == 0
    with pytest.raises(RecordError, match=rf"^{path}: row 2: "):
        dataset[2]
    path.unlink()
    with pytest.raises(RecordError, match=rf"^{path}: row 2: cannot be read: No such file or directory"):
        dataset[2]
