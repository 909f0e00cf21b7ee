"""Event data sets with Hugging Face ``datasets``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch.utils.data import DataLoader

from i2e_triton.datasets import EventDataset, RecordError, decode_batch
from tests.i2e_triton.datasets.builders import (
    official_record,
    packed,
    packed_record,
    random_events,
    write_parquet,
)
from tests.samples import assert_same_events


def load(path: Path) -> Any:
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_huggingface_datasets_reads_events(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(5, generator)
    names = ["a", "b", "c", "d", "e"]
    path = write_parquet(tmp_path / "x.parquet", list(map(official_record, events)), range(5), names=names)
    rows = load(path)
    assert rows.features["label"].names == names == EventDataset(path).classes
    dense = rows.with_transform(decode_batch)
    assert dense[3]["label"] == 3
    assert_same_events(dense[3]["events"], events[3].float())
    assert dense["label"][:] == [0, 1, 2, 3, 4]
    (batch,) = DataLoader(rows.with_transform(partial(decode_batch, packed=True, timesteps=5)), batch_size=5)
    assert set(batch) == {"events", "label"}
    assert_same_events(batch["events"], packed(events))


def test_huggingface_datasets_reads_packed_records(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(2, generator)
    path = write_parquet(tmp_path / "x.parquet", list(map(packed_record, events)), range(2))
    rows = load(path).with_transform(partial(decode_batch, timesteps=5, dtype=torch.bool))
    assert_same_events(rows[1]["events"], events[1])


def test_damaged_record_error_names_the_row_of_the_batch() -> None:
    good = official_record(torch.ones(8, 2, 3, 3, dtype=torch.bool))
    with pytest.raises(RecordError, match=r"^row 1 of the batch: "):
        decode_batch({"data": [good, good[:-1]], "label": [0, 0]})
    with pytest.raises(RecordError, match=r"^row 0 of the batch: the record has 8 timesteps instead of 5"):
        decode_batch({"data": [good]}, packed=True, timesteps=5)
    with pytest.raises(RecordError, match=r"^row 1 of the batch: data is null"):
        decode_batch({"data": [good, None]})
