from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2e_triton.pipeline.manifest import (
    MANIFEST_NAME,
    WORK_FOLDER,
    Manifest,
    ManifestError,
    ShardRecord,
    SkippedRow,
    check_same,
    finished_shards,
    read_manifest,
    record_shard,
    write_json,
)
from i2e_triton.pipeline.plan import ConversionConfig

CONTENT = b"events"
RECORD = ShardRecord(
    "train-00000-of-00001",
    "train",
    7,
    ("train-00000-of-00001.parquet",),
    len(CONTENT),
    "ab" * 32,
    ((6, 3), (0, 12)),
    60,
    (SkippedRow(4, "cat/4", "damaged"),),
)
ONE_SHARD = Manifest(
    ConversionConfig(0.1, (3, 4), timesteps=2).as_json(),
    {"kind": "folder", "bytes": 9, "fingerprints": {"train": "x"}},
    ("cat", "dog"),
    {"train": 8},
)


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest = replace(ONE_SHARD, complete=True, shards=(RECORD,))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / MANIFEST_NAME).read_text())["event_rate"] == [[0.1, 0.05], [0.0, 0.2]]


def test_flipped_bit_in_any_byte_of_a_manifest_is_found(tmp_path: Path) -> None:
    replace(ONE_SHARD, complete=True, shards=(RECORD,)).write(tmp_path)
    path = tmp_path / MANIFEST_NAME
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ManifestError, match="is damaged"):
            read_manifest(tmp_path)


def test_missing_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b'{"digest": 1}', b"\xff\xfe", b"[" * 100_000])
def test_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


# Each case replaces one value of a manifest, at a path of keys.
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings",), []),
        (("settings", "timesteps"), "8"),
        (("settings", "timesteps"), 10**12),
        (("settings", "format"), "cat"),
        (("settings", "resize"), None),
        (("source", "bytes"), "many"),
        (("rows", "train"), -1),
        (("rows", "train"), True),
        (("classes",), "cat"),
        (("classes",), [1]),
        (("shards", 0), 3),
        (("shards", 0, "rows"), 6),
        (("shards", 0, "split"), "test"),
        (("shards", 0, "events"), [[1, 2]]),
        (("shards", 0, "events", 1), [10**400, 2]),
        (("shards", 0, "events", 1), [1, 2, 3]),
        (("shards",), []),
        (("shards", 0, "skipped", 0), []),
        (("shards", 0, "skipped", 0, "key"), 4),
    ],
)
def test_manifest_with_wrong_value_is_refused(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    replace(ONE_SHARD, complete=True, shards=(RECORD,)).write(tmp_path)
    fields = json.loads((tmp_path / MANIFEST_NAME).read_text())
    inner = fields
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    write_json(tmp_path / MANIFEST_NAME, fields)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


def test_complete_manifest_with_duplicate_shard_is_refused(tmp_path: Path) -> None:
    replace(ONE_SHARD, complete=True, shards=(RECORD, RECORD)).write(tmp_path)
    with pytest.raises(ManifestError, match="the split 'train' has 8 rows, its shards have 16"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside", "", "a\0b", "\ud800"])
def test_path_outside_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    replace(ONE_SHARD, shards=(replace(RECORD, paths=(path,)),)).write(tmp_path)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": ConversionConfig(0.2, (3, 4), timesteps=2).as_json()}, "ratio was 0.1 and is 0.2"),
        ({"source": {"kind": "folder", "bytes": 9, "fingerprints": {"train": "y"}}}, "the source's fingerprints was"),
        ({"version": "0.0.0"}, "the version of i2e-triton was"),
    ],
)
def test_resume_with_difference_is_refused(change: dict[str, Any], message: str) -> None:
    check_same(ONE_SHARD, ONE_SHARD)
    with pytest.raises(ManifestError, match=message):
        check_same(ONE_SHARD, replace(ONE_SHARD, **change))


def test_shard_is_finished_if_its_record_is_intact_and_its_file_has_the_recorded_size(tmp_path: Path) -> None:
    record_shard(tmp_path, RECORD)
    assert finished_shards(tmp_path) == {}
    (tmp_path / RECORD.paths[0]).write_bytes(CONTENT)
    assert finished_shards(tmp_path) == {RECORD.name: RECORD}
    (tmp_path / RECORD.paths[0]).write_bytes(CONTENT[:-1])
    assert finished_shards(tmp_path) == {}
    (tmp_path / RECORD.paths[0]).write_bytes(CONTENT)
    path = tmp_path / WORK_FOLDER / f"{RECORD.name}.json"
    for damaged in (path.read_bytes().replace(b'"rows": 7', b'"rows": 6'), b'{"name": '):
        path.write_bytes(damaged)
        assert finished_shards(tmp_path) == {}


@pytest.mark.parametrize("path", ["../outside", "a\0b"])
def test_shard_with_a_path_outside_the_folder_is_not_finished(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_bytes(CONTENT)
    record_shard(tmp_path / "out", replace(RECORD, paths=(path,)))
    assert finished_shards(tmp_path / "out") == {}
