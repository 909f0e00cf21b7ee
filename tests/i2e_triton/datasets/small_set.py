"""A small data set in the format of the official ones, for the tests of their base class."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from i2e_triton.datasets.official import OfficialDataset, OfficialSet
from tests.i2e_triton.datasets.builders import official_record, random_events, write_parquet

ROWS = {"train": 7, "validation": 4}
CLASSES = ("ant", "bee", "cat")


class Small(OfficialDataset):
    info = OfficialSet("I2E-Small", "mnist", CLASSES, ROWS)


def write_small(
    root: Path, generator: torch.Generator, split: str = "validation", names: tuple[str, ...] | None = ("0", "1", "2")
) -> Tensor:
    """Write a split in two shards with the labels 0, 1, 2, 0, ... and return its events, bool."""
    events = random_events(ROWS[split], generator, (8, 2, 32, 32))
    for shard, rows in enumerate(torch.arange(len(events)).tensor_split(2)):
        path = root / "I2E-Small" / f"{split}-{shard:05d}-of-00002.parquet"
        write_parquet(path, [official_record(events[row]) for row in rows], (rows % 3).tolist(), names=names)
    return events
