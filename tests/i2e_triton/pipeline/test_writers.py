from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.writers import ROW_GROUP_BYTES, EncodedRow, write_shard
from tests.i2e_triton.pipeline.builders import files_in

CLASSES = ("cat", "dog")
SHARD = Shard("train", 1, 3, 10, 20)


@pytest.fixture
def rows(generator: torch.Generator) -> list[EncodedRow]:
    def record(length: int) -> bytes:
        return torch.randint(0, 256, (length,), dtype=torch.uint8, generator=generator).numpy().tobytes()

    return [EncodedRow(10 + i, f"cat/{i}.v2", i % 2, record(20 + i)) for i in range(5)]


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_digest_and_size_match_the_files(tmp_path: Path, rows: list[EncodedRow], format: str) -> None:
    written = write_shard(tmp_path, SHARD, rows, ConversionConfig(0.1, format=format, compression="zstd"), CLASSES)
    files = files_in(tmp_path)
    content = b"".join(files[path] for path in written.paths)
    assert sorted(files) == sorted(written.paths)
    assert (written.bytes, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_parquet_has_the_official_schema(tmp_path: Path, rows: list[EncodedRow]) -> None:
    write_shard(tmp_path, SHARD, rows, ConversionConfig(0.1, timesteps=5, bits="packed"), CLASSES)
    path = tmp_path / "train-00001-of-00003.parquet"
    table = pq.read_table(path)
    assert table.column_names == ["data", "label"]
    assert [str(column.type) for column in table.columns] == ["binary", "int64"]
    assert table["data"].to_pylist() == [row.record for row in rows]
    assert table["label"].to_pylist() == [row.label for row in rows]
    assert table.schema.metadata[b"i2e.timesteps"] == b"5"
    assert table.schema.metadata[b"i2e.bits"] == b"packed"
    data, label = map(pq.ParquetFile(path).metadata.row_group(0).column, (0, 1))
    assert data.compression == "ZSTD"
    assert (data.is_stats_set, label.is_stats_set) == (False, True)


def test_datasets_library_reads_records_and_class_names(tmp_path: Path, rows: list[EncodedRow]) -> None:
    write_shard(tmp_path / "set", SHARD, rows, ConversionConfig(0.1), CLASSES)
    (tmp_path / "set" / "manifest.json").write_text("{}")
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == list(CLASSES)
    assert [row["data"] for row in loaded] == [row.record for row in rows]
    assert loaded["label"][:] == [row.label for row in rows]


def test_row_group_ends_with_the_row_that_fills_it(tmp_path: Path) -> None:
    third = b"x" * (ROW_GROUP_BYTES // 3 + 1)
    rows = [EncodedRow(i, str(i), 0, third) for i in range(7)]
    write_shard(tmp_path, SHARD, iter(rows), ConversionConfig(0.1), None)
    metadata = pq.ParquetFile(tmp_path / "train-00001-of-00003.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 1]


def test_tar_has_webdataset_members(tmp_path: Path, rows: list[EncodedRow]) -> None:
    write_shard(tmp_path, SHARD, rows, ConversionConfig(0.1, format="tar", timesteps=3), CLASSES)
    with tarfile.open(tmp_path / "train-00001-of-00003.tar") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for row in rows:
        name = f"{row.row:09d}"
        assert contents.pop(f"{name}.npy") == row.record
        assert contents.pop(f"{name}.cls") == str(row.label).encode()
        assert json.loads(contents.pop(f"{name}.json")) == {"key": row.key, "timesteps": 3}
    assert not contents


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (("cat", "dog", "owl"), ["0", "2", "unlabelled"]),
        (tuple("abcdefghijk"), ["00", "02", "unlabelled"]),  # 11 classes
        (("n01440764", "n01443537", "n01484850"), ["n01440764", "n01484850", "unlabelled"]),
        (("n01440764", "n01443537", "tench"), ["0", "2", "unlabelled"]),
        (("n01440764", "n01443537", "n01440764"), ["0", "2", "unlabelled"]),  # two classes of one name
        (None, ["00000", "00002", "unlabelled"]),
    ],
)
def test_npz_files_are_in_label_folders(tmp_path: Path, classes: tuple[str, ...] | None, folders: list[str]) -> None:
    rows = [EncodedRow(8 + i, "../key", label, b"%d" % i) for i, label in enumerate((0, 2, -1))]
    written = write_shard(tmp_path, SHARD, rows, ConversionConfig(0.1, format="npz"), classes)
    assert written.paths == tuple(f"train/{name}/{row:09d}.npz" for row, name in zip((8, 9, 10), folders))
    assert files_in(tmp_path) == {path: b"%d" % i for i, path in enumerate(written.paths)}


def test_npz_files_of_validation_are_in_the_folder_of_the_official_notebooks(tmp_path: Path) -> None:
    rows = [EncodedRow(0, "0", 1, b"")]
    shard = replace(SHARD, split="validation")
    assert write_shard(tmp_path, shard, rows, ConversionConfig(0.1, format="npz"), CLASSES).paths == (
        "val/1/000000000.npz",
    )


@pytest.mark.parametrize("format", ["parquet", "tar"])
def test_failing_source_leaves_no_files(tmp_path: Path, rows: list[EncodedRow], format: str) -> None:
    def fail():  # type: ignore[no-untyped-def]
        yield from rows[:2]
        raise OSError("source disconnected")

    with pytest.raises(OSError, match="disconnected"):
        write_shard(tmp_path, SHARD, fail(), ConversionConfig(0.1, format=format), CLASSES)
    assert files_in(tmp_path) == {}
