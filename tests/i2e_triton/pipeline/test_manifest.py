from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2e_triton.pipeline.manifest import (
    MANIFEST,
    Manifest,
    ManifestError,
    ShardRecord,
    Skipped,
    check_same,
    read_manifest,
)
from i2e_triton.pipeline.plan import Settings

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
    Settings(0.1, (3, 4), timesteps=2).as_json(),
    {"kind": "folder", "bytes": 9, "fingerprints": {"train": "x"}},
    ("cat", "dog"),
    {"train": 8},
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


# Each is a manifest with one thing replaced, by a path of keys.
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings",), []),
        (("settings", "timesteps"), "8"),
        (("settings", "timesteps"), 10**12),
        (("settings", "format"), "cat"),
        (("settings", "format"), {}),
        (("settings", "resize"), None),
        (("source", "bytes"), "many"),
        (("source", "bytes"), 2**63),
        (("rows", "train"), "x"),
        (("rows", "train"), -1),
        (("rows", "train"), True),
        (("classes",), "cat"),
        (("classes",), [1]),
        (("complete",), 1),
        (("version",), None),
        (("shards",), {}),
        (("shards", 0), 3),
        (("shards", 0, "rows"), 1.5),
        (("shards", 0, "rows"), 6),
        (("shards", 0, "split"), "test"),
        (("shards", 0, "paths"), "abc"),
        (("shards", 0, "events"), [[1, 2]]),
        (("shards", 0, "events", 1), [10**400, 2]),
        (("shards", 0, "events", 1), [1, 2, 3]),
        (("shards", 0, "events", 1), 7),
        (("shards", 0, "events", 1), ["a", "b"]),
        (("shards",), []),
        (("shards", 0, "skipped", 0), []),
        (("shards", 0, "skipped", 0, "key"), 4),
    ],
)
def test_a_manifest_of_other_types_or_numbers_is_damaged(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    replace(MANIFEST_OF_ONE, complete=True, shards=(RECORD,)).write(tmp_path)
    fields = json.loads((tmp_path / MANIFEST).read_text())
    inner = fields
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (tmp_path / MANIFEST).write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


def test_a_complete_manifest_has_every_shard_once(tmp_path: Path) -> None:
    replace(MANIFEST_OF_ONE, complete=True, shards=(RECORD, RECORD)).write(tmp_path)
    with pytest.raises(ManifestError, match="the split 'train' has 8 rows, its shards have 16"):
        read_manifest(tmp_path)


def test_a_manifest_too_deep_to_read_is_damaged(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside", "", "a\0b", "\ud800"])
def test_paths_that_lead_out_of_the_folder_or_name_no_file_are_damage(tmp_path: Path, path: str) -> None:
    replace(MANIFEST_OF_ONE, shards=(replace(RECORD, paths=(path,)),)).write(tmp_path)
    with pytest.raises(ManifestError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": Settings(0.2, (3, 4), timesteps=2).as_json()}, "ratio was 0.1 and is 0.2"),
        ({"source": {"kind": "folder", "bytes": 9, "fingerprints": {"train": "y"}}}, "the source's fingerprints was"),
        ({"version": "0.0.0"}, "the version of i2e-triton was"),
    ],
)
def test_other_circumstances_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    check_same(MANIFEST_OF_ONE, MANIFEST_OF_ONE)
    with pytest.raises(ManifestError, match=said):
        check_same(MANIFEST_OF_ONE, replace(MANIFEST_OF_ONE, **change))
