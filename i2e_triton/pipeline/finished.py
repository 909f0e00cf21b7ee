"""Shards that are finished, recorded one by one while a data set is made, so that a later run goes on from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from i2e_triton.pipeline.json_files import UNFIT, write_json
from i2e_triton.pipeline.manifest import ShardRecord

#: The folder of these records, and of the lock; it is gone when the data set is complete.
WORK = ".i2e"


def record_shard(out: Path, record: ShardRecord) -> None:
    """Write down that a shard is finished, after it is."""
    write_json(out / WORK / f"{record.name}.json", asdict(record))


def finished_shards(out: Path) -> dict[str, ShardRecord]:
    """Find the shards that are finished: recorded, and their files there with the recorded bytes."""
    records = {}
    for path in (out / WORK).glob("*.json"):
        try:
            record = ShardRecord.from_json(json.loads(path.read_bytes()))
        except UNFIT:
            continue  # a record that cannot be read is none: its shard is made again
        if bytes_on_disk(out, record) == record.bytes:
            records[record.name] = record
    return records


def bytes_on_disk(out: Path, record: ShardRecord) -> int | None:
    """Return how many bytes a shard's files have; None where one is not there."""
    try:
        return sum((out / path).stat().st_size for path in record.paths)
    except FileNotFoundError:
        return None
