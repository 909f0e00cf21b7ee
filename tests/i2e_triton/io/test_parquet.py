"""The metadata of damaged Parquet files, and class names in the metadata of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2e_triton.datasets import EventDataset, RecordError
from i2e_triton.io.parquet import label_names, read_metadata
from i2e_triton.sources import SourceError
from i2e_triton.sources.parquet import ParquetSource

#: The classes that read Parquet files, and the error that each one raises.
READERS: list[Any] = [(ParquetSource, SourceError), (EventDataset, RecordError)]


def written(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a file that is valid for both classes, except for its metadata."""
    image = pa.array([{"bytes": b"", "path": ""}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": image, "data": [b""], "label": [0], "unique_name": [1]})
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="none")
    return path


def features(**columns: Any) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": columns}})}


@pytest.mark.parametrize("kept", [0, 3, 11, -1, -9])
@pytest.mark.parametrize(("reader", "error"), READERS)
def test_truncated_or_missing_file_raises(kept: int, reader: Any, error: type[Exception], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(error, match=rf"^{path}: not a Parquet file, or damaged"):
        reader([path])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.parquet"):
        reader([path])


@pytest.mark.parametrize("bad", [b"\xff", b"\xe2"])
def test_column_name_that_is_not_utf8_raises(bad: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes().replace(b"unique_name", bad + b"nique_name"))
    with pytest.raises(ValueError, match=rf"^{path}: not a Parquet file, or damaged"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"huggingface": "{"}, "'huggingface' is not JSON"),
        ({"huggingface": "[" * 100_000}, "'huggingface' is not JSON"),
        (features(label={"names": "ab"}), "must be a list of strings"),
        (features(label={"names": [1, 2]}), "must be a list of strings"),
    ],
)
@pytest.mark.parametrize(("reader", "error"), READERS)
def test_damaged_class_names_raise(
    metadata: dict[str, str], reason: str, reader: Any, error: type[Exception], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.parquet", metadata)
    with pytest.raises(error, match=rf"^{path}: .*{reason}"):
        reader([path])


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        (features(label={"names": ["b", "a"], "_type": "ClassLabel"}), ("b", "a")),
        (None, None),
        ({"huggingface": "[]"}, None),
        ({"huggingface": '{"info": 1}'}, None),
        (features(label=["a"]), None),
        (features(label={"dtype": "int64", "_type": "Value"}), None),
        (features(fine_label={"names": ["a"]}), None),
    ],
)
def test_class_names(metadata: dict[str, str] | None, names: tuple[str, ...] | None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", metadata)
    schema, _ = read_metadata(path)
    assert label_names(path, schema, "label") == names
