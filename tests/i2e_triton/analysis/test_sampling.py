"""Evenly spaced samples of a source."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.analysis import sampling
from i2e_triton.analysis.sampling import sample_images, sample_rows
from i2e_triton.sources import prepare
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, png, some_images


@given(rows=st.integers(1, 10_000), count=st.integers(1, 300))
def test_rows_are_spread_evenly(rows: int, count: int) -> None:
    chosen = sample_rows(rows, count)
    assert len(chosen) == min(rows, count)
    steps = [after - before for before, after in pairwise(chosen)]
    assert all(1 <= step <= rows // count + 1 for step in steps)
    ends = chosen[0], rows - 1 - chosen[-1]
    assert abs(ends[0] - ends[1]) <= 1
    if count >= rows:
        assert chosen == list(range(rows))


def test_an_empty_source_has_no_rows() -> None:
    assert sample_rows(0, 5) == []


def test_images_are_prepared_in_order(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_BATCH_ROWS", 2)
    files = [png(image) for image in some_images(9, generator)]
    files[4] = DAMAGED
    done: list[int] = []
    batches = list(sample_images(MemorySource(files), 5, (6, 7), "bilinear", done.append))
    rows = [0, 2, 4, 6, 8]
    assert done == [2, 2, 1]
    assert [list(batch.damaged) for batch in batches] == [[], [0], []]
    prepared = [image for batch in batches for _, images in batch.groups for image in images]
    expected = [prepare(files[row], (6, 7), "bilinear") for row in rows if row != 4]
    assert all(torch.equal(image, wanted) for image, wanted in zip(prepared, expected, strict=True))
