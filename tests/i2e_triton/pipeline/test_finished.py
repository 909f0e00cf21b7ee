from __future__ import annotations

from pathlib import Path

from i2e_triton.pipeline.finished import WORK, finished_shards, record_shard
from tests.i2e_triton.pipeline.test_manifest import RECORD


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
