from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.formats import decode_record
from i2e_triton.functional import unpack
from i2e_triton.pipeline import batches
from i2e_triton.pipeline.manifest import SkippedRow, finished_shards
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.shards import convert_shard, count_events, encode
from tests.child import output_of
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, expected_events, png, some_images
from tests.samples import assert_same_events


@pytest.mark.parametrize("timesteps", [1, 5, 8])
def test_events_are_counted_by_timestep_and_polarity(generator: torch.Generator, timesteps: int) -> None:
    packed = torch.randint(0, 1 << timesteps, (5, 2, 7, 9), dtype=torch.uint8, generator=generator)
    expected = unpack(packed, timesteps, torch.bool).sum(dim=(1, 3, 4))
    assert count_events(packed, timesteps).tolist() == expected.tolist()


def test_shard_contains_rows_in_order_and_is_recorded(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = some_images(4, generator) + some_images(4, generator, (6, 17))
    images[1], images[5] = images[5], images[1]  # a batch contains both shapes
    encoded = [png(image) for image in images]
    encoded[3] = DAMAGED
    source, config, shard = MemorySource(encoded), ConversionConfig(0.1, timesteps=6), Shard("train", 0, 1, 0, 8)
    monkeypatch.setattr(batches, "BATCH_PIXELS", 300)
    done: list[int] = []
    record = convert_shard(source, shard, config, tmp_path, rows_done=done.append)
    assert len(done) > 1
    assert sum(done) == 8

    rows = [row for row in range(8) if row != 3]
    table = pq.read_table(tmp_path / "train-00000-of-00001.parquet")
    assert table["label"].to_pylist() == [source.label(row) for row in rows]
    events = [expected_events(images[row], config) for row in rows]
    for data, expected in zip(table["data"].to_pylist(), events, strict=True):
        assert_same_events(decode_record(data), expected)
    assert (record.rows, record.pixels) == (7, sum(images[row][0].numel() for row in rows))
    assert record.events == tuple(
        (int(sum(e[t, 0].sum() for e in events)), int(sum(e[t, 1].sum() for e in events))) for t in range(6)
    )
    assert [(skipped.row, skipped.key) for skipped in record.skipped] == [(3, "3")]
    assert isinstance(record.skipped[0], SkippedRow)
    assert record.skipped[0].reason
    assert finished_shards(tmp_path) == {shard.name: record}


def test_npz_files_contain_the_events(generator: torch.Generator) -> None:
    packed = torch.randint(0, 32, (3, 2, 5, 4), dtype=torch.uint8, generator=generator)
    files = encode(packed, ConversionConfig(0.1, timesteps=5, format="npz"))
    for file, events in zip(files, packed, strict=True):
        with np.load(io.BytesIO(file), allow_pickle=False) as archive:
            assert archive.files == ["arr_0"]
            assert_same_events(torch.from_numpy(archive["arr_0"]), unpack(events, 5, torch.bool))


CONVERT_LARGE_IMAGES = """
import tempfile
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.shards import convert_shard
from tests.i2e_triton.pipeline.builders import MemorySource, png


def convert(side, images, format):
    source = MemorySource([png(torch.zeros(3, side, side, dtype=torch.uint8))] * images)
    config = ConversionConfig(0.1, format=format)
    with tempfile.TemporaryDirectory() as out:
        convert_shard(source, Shard("train", 0, 1, 0, images), config, Path(out), rows_done=lambda rows: None)


for format in ("parquet", "npz"):
    convert(8, 1, format)  # libraries allocate memory of their own
limit_memory(24 * SIDE**2)
convert(SIDE, 12, "parquet")
convert(SIDE, 2, "npz")
"""


@pytest.mark.slow
def test_memory_is_limited_by_pixels_and_not_by_rows() -> None:
    # One image takes 19 bytes per pixel. All images together take 24 with their packed events alone, and the dense
    # events of one image take 16.
    output_of(f"SIDE = 2100\n{CONVERT_LARGE_IMAGES}")
