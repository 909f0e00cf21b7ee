from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.sources.parquet import ParquetSource
from i2e_triton.sources.source import ImageRow, SourceError
from tests.i2e_triton.sources.builders import assert_holds, encoded, noise_image, png

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def features(**columns: Any) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"img": {"_type": "Image"}, **columns}}})}


def written(
    path: Path, images: Sequence[bytes | None], *, group: int = 4, metadata: Any = None, **columns: Any
) -> Path:
    stored = pa.array([{"bytes": image, "path": f"{n}.png"} for n, image in enumerate(images)], IMAGE)
    table = pa.table({"img": stored, **columns}).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=group, compression="none")
    return path


@pytest.fixture
def images(generator: torch.Generator) -> list[bytes]:
    return [png(generator) for _ in range(10)]


def test_rows_of_several_files(tmp_path: Path, images: list[bytes]) -> None:
    labels = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    metadata = features(label={"names": list("abcdefghij"), "_type": "ClassLabel"})
    paths = [
        written(tmp_path / "train-0.parquet", images[:7], label=labels[:7], metadata=metadata),
        written(tmp_path / "train-1.parquet", [], label=pa.array([], pa.int64()), metadata=metadata),
        written(tmp_path / "train-2.parquet", images[7:], label=labels[7:], metadata=metadata),
    ]
    source = ParquetSource(paths)
    assert source.classes == tuple("abcdefghij")
    assert_holds(source, [ImageRow(str(n), image, label) for n, (image, label) in enumerate(zip(images, labels))])
    assert source.nbytes() == sum(path.stat().st_size for path in paths)


def test_files_of_the_datasets_library_are_read(tmp_path: Path, generator: torch.Generator) -> None:
    decoded = [noise_image(generator) for _ in range(5)]
    images, labels = [encoded(image) for image in decoded], [4, 0, 2, 2, 1]
    columns = {
        "image": [{"bytes": image, "path": None} for image in images],
        "fine_label": labels,
        "coarse_label": [0, 0, 1, 1, 1],
    }
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "fine_label": datasets.ClassLabel(names=["ant", "bee", "cow", "dog", "elk"]),
            "coarse_label": datasets.ClassLabel(names=["big", "small"]),
        }
    )
    datasets.Dataset.from_dict(columns, kinds).to_parquet(str(tmp_path / "train.parquet"))
    source = ParquetSource([tmp_path / "train.parquet"])
    assert source.classes == ("ant", "bee", "cow", "dog", "elk")
    assert_holds(source, [ImageRow(str(n), image, label) for n, (image, label) in enumerate(zip(images, labels))])


def test_files_without_labels_or_bytes(tmp_path: Path, images: list[bytes]) -> None:
    source = ParquetSource([written(tmp_path / "a.parquet", [images[0], None, images[2]])])
    assert source.classes is None
    assert_holds(source, [ImageRow("0", images[0], -1), ImageRow("1", b"", -1), ImageRow("2", images[2], -1)])
    labels = pa.array([7, None, 0], pa.uint8())
    source = ParquetSource([written(tmp_path / "b.parquet", [images[0], None, images[2]], labels=labels)])
    assert source.classes is None
    assert [row.label for row in source.read(0, 3)] == [7, -1, 0]


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary()])
def test_rows_without_an_image_are_empty(binary: pa.DataType, tmp_path: Path, images: list[bytes]) -> None:
    kind = pa.struct([("path", pa.string()), ("bytes", binary)])
    column = pa.array([{"bytes": images[0], "path": None}, None, {"bytes": images[1], "path": ""}], kind)
    pq.write_table(pa.table({"image": column}), tmp_path / "train.parquet")
    source = ParquetSource([tmp_path / "train.parquet"])
    assert [row.image for row in source.read(0, 3)] == [images[0], b"", images[1]]


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        ([0, 2], ["a", "b"], "must be 0 to 1, or -1 for no label, got 2"),
        ([-2, 1], ["a", "b"], "must be 0 to 1, or -1 for no label, got -2"),
        ([0, 2**31], None, "must be 0 to 2147483647, or -1 for no label, got 2147483648"),
    ],
)
def test_invalid_labels_raise(
    labels: list[int], names: list[str] | None, reason: str, tmp_path: Path, images: list[bytes]
) -> None:
    metadata = features(label={"names": names})
    source = ParquetSource([written(tmp_path / "a.parquet", images[:2], label=labels, metadata=metadata)])
    with pytest.raises(SourceError, match=rf"a\.parquet: labels {reason}$"):
        list(source.read(0, 1))
    source = ParquetSource([written(tmp_path / "a.parquet", images[:2], label=[-1, 1], metadata=metadata)])
    assert [row.label for row in source.read(0, 2)] == [-1, 1]


def test_changed_file_raises(tmp_path: Path, images: list[bytes]) -> None:
    source = ParquetSource([written(tmp_path / "train.parquet", images, group=10)])
    for changed in (images[:3], [*images, *images]):
        written(tmp_path / "train.parquet", changed, group=20)
        for start in (0, 5):
            with pytest.raises(SourceError, match=rf"t: row group 0 must have 10 rows, got {len(changed)}"):
                list(source.read(start, 10))
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(SourceError, match=r"train\.parquet: row group 0 cannot be read \(.*No such file"):
        list(source.read(0, 10))


def test_only_the_row_groups_of_a_range_are_read(tmp_path: Path, images: list[bytes]) -> None:
    path = written(tmp_path / "train.parquet", images, label=list(range(10)))
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(1)
    start = group.column(0).data_page_offset
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    source = ParquetSource([path])
    assert [row.image for row in source.read(0, 4)] == images[:4]
    assert [row.image for row in source.read(8, 10)] == images[8:]
    with pytest.raises(SourceError, match=r"train\.parquet: row group 1 cannot be read \("):
        list(source.read(3, 9))


def test_row_group_is_read_in_batches_from_any_row(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2e_triton.sources.parquet._BATCH_ROWS", 7)
    content = [bytes([row]) * (row + 1) for row in range(100)]
    source = ParquetSource([written(tmp_path / "train.parquet", content, group=60, label=list(range(100)))])
    ranges = [(0, 100), (3, 4), (58, 70), (59, 60), (60, 61), (99, 100), (0, 1), (13, 14), (14, 21)]
    starts = torch.randint(0, 100, (200,), generator=generator).tolist()
    for start, stop in [*ranges, *((start, min(100, start + start % 13 + 1)) for start in starts)]:
        rows = list(source.read(start, stop))
        assert [row.image for row in rows] == content[start:stop]
        assert [row.label for row in rows] == list(range(start, stop))


def test_row_group_larger_than_its_file_takes_little_memory(tmp_path: Path) -> None:
    rows = 4000
    source = ParquetSource([written(tmp_path / "train.parquet", [bytes(50_000)] * rows, group=rows)])
    assert (tmp_path / "train.parquet").stat().st_size < 200_000
    assert [row.image for row in source.read(rows - 1, rows)] == [bytes(50_000)]
    assert source._batch is not None
    assert source._batch.nbytes < 10_000_000 < 50_000 * rows


def test_file_name_that_is_not_utf8_is_read(tmp_path: Path, images: list[bytes]) -> None:
    path = written(tmp_path / "train.parquet", images).rename(tmp_path / os.fsdecode(b"caf\xe9.parquet"))
    source = ParquetSource([path])
    assert [row.image for row in source.read(0, 10)] == images
    assert source.fingerprint() != ParquetSource([path.rename(tmp_path / "train.parquet")]).fingerprint()


def test_invalid_columns_raise(tmp_path: Path, images: list[bytes]) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"data": [b"1"], "label": [1]}), path)
    with pytest.raises(SourceError, match=r"one column of images.* got none \(columns: data, label\)"):
        ParquetSource([path])
    written(path, images[:1], depth=pa.array([{"bytes": b"", "path": ""}], IMAGE))
    with pytest.raises(SourceError, match=r"one column of images.* got img, depth"):
        ParquetSource([path])
    written(path, images[:1], label=["dog"])
    with pytest.raises(SourceError, match="the column 'label' must contain integers, got string"):
        ParquetSource([path])


def test_files_with_different_columns_raise(tmp_path: Path, images: list[bytes]) -> None:
    names = [features(label={"names": names, "_type": "ClassLabel"}) for names in (["a", "b"], ["b", "a"])]
    paths = [written(tmp_path / f"{n}.parquet", images[:1], label=[0], metadata=names[n]) for n in (0, 1)]
    with pytest.raises(SourceError, match=r"1\.parquet and .*0\.parquet differ in columns or classes"):
        ParquetSource(paths)


def test_fingerprint_changes_with_the_files(tmp_path: Path, images: list[bytes]) -> None:
    (tmp_path / "moved").mkdir()
    paths = [written(tmp_path / f"{n}.parquet", images, label=list(range(10))) for n in (0, 1)]
    before = ParquetSource(paths).fingerprint()
    moved = [written(tmp_path / f"moved/{n}.parquet", images, label=list(range(10))) for n in (0, 1)]
    assert ParquetSource(moved).fingerprint() == before
    assert ParquetSource(paths[:1]).fingerprint() != before
    assert ParquetSource(paths[::-1]).fingerprint() != before
    written(paths[1], images, label=[*range(9), 10])
    assert ParquetSource(paths).fingerprint() != before
    written(paths[1], [images[0] + b"\0", *images[1:]], label=list(range(10)))
    assert ParquetSource(paths).fingerprint() != before
