from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2e_triton.conversion.manifest import (
    MANIFEST,
    WORK,
    Manifest,
    ManifestError,
    ShardRecord,
    Skipped,
    check_same,
    finish,
    finished_shards,
    read_manifest,
    record_shard,
)

RECORD = ShardRecord(
    "train-00000-of-00001",
    "train",
    7,
    ("train-00000-of-00001.parquet",),
    5,
    "ab" * 32,
    ((6, 3), (0, 12)),
    60,
    (Skipped(4, "cat/4", "damaged"),),
)
MANIFEST_OF_ONE = Manifest(
    {"ratio": 0.1, "size": [3, 4]}, {"kind": "folder", "fingerprints": {"train": "x"}}, ("cat", "dog"), {"train": 8}
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = replace(MANIFEST_OF_ONE, complete=True, shards=(RECORD,))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / MANIFEST).read_text())["event_rate"] == [[0.1, 0.05], [0.0, 0.2]]


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b'{"settings": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside"])
def test_paths_that_lead_out_of_the_folder_are_damage(tmp_path: Path, path: str) -> None:
    replace(MANIFEST_OF_ONE, shards=(replace(RECORD, paths=(path,)),)).write(tmp_path)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"ratio": 0.2, "size": [3, 4]}}, "ratio was 0.1 and is 0.2"),
        ({"source": {"kind": "folder", "fingerprints": {"train": "y"}}}, "the source's fingerprints was"),
        ({"version": "0.0.0"}, "the version of i2e-triton was"),
    ],
)
def test_other_circumstances_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    check_same(MANIFEST_OF_ONE, MANIFEST_OF_ONE)
    with pytest.raises(ManifestError, match=said):
        check_same(MANIFEST_OF_ONE, replace(MANIFEST_OF_ONE, **change))


def test_a_shard_is_finished_while_its_file_has_its_bytes(tmp_path: Path) -> None:
    record_shard(tmp_path, RECORD)
    assert finished_shards(tmp_path) == {}
    (tmp_path / RECORD.paths[0]).write_bytes(b"12345")
    assert finished_shards(tmp_path) == {RECORD.name: RECORD}
    (tmp_path / RECORD.paths[0]).write_bytes(b"123")
    assert finished_shards(tmp_path) == {}


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / RECORD.paths[0]).write_bytes(b"12345")
    (tmp_path / WORK).mkdir()
    (tmp_path / WORK / "shard.json").write_bytes(b'{"name": ')
    assert finished_shards(tmp_path) == {}


def test_the_end_leaves_the_manifest_alone(tmp_path: Path) -> None:
    record_shard(tmp_path, RECORD)
    finish(tmp_path, replace(MANIFEST_OF_ONE, shards=(RECORD,), complete=True))
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]
