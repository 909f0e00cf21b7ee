"""Tests of the accepted forms of events, and of grids."""

from __future__ import annotations

import pytest
import torch

from i2e_triton import convert, pack
from i2e_triton.visualize.grid import as_batch, as_grid
from tests.samples import assert_same_events, noise


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 12, 10), (5, 3, 12, 10)])
def test_dense_and_packed_events_give_the_same_batch(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> None:
    events = convert(noise(shape, torch.uint8, generator), dtype=dtype)
    expected = (events if events.dim() == 5 else events[:, None]) != 0
    assert_same_events(as_batch(events), expected)
    assert_same_events(as_batch(pack(events)), expected)


def test_packed_decides_where_values_do_not() -> None:
    first_timestep_only = torch.ones(8, 2, 4, 4, dtype=torch.uint8)
    assert as_batch(first_timestep_only).shape == (8, 1, 2, 4, 4)
    assert as_batch(first_timestep_only, packed=True).shape == (8, 8, 2, 4, 4)


@pytest.mark.parametrize(
    ("events", "packed"),
    [
        (torch.zeros(8, 3, 4, 4), None),
        (torch.zeros(2, 4, 4), None),
        (torch.zeros(4, 4), None),
        (torch.zeros(8, 2, 0, 4), None),
        (torch.zeros(8, 2, 4, 4), True),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), False),
        (torch.zeros(8, 1, 2, 4, 4, dtype=torch.uint8), True),
    ],
)
def test_other_shapes_are_refused_with_the_shape(events: torch.Tensor, packed: bool | None) -> None:
    with pytest.raises(ValueError, match=r"packed uint8 \[2, H, W\]") as caught:
        as_batch(events, packed)
    assert str(list(events.shape)) in str(caught.value)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a tensor, got list"):
        as_batch([1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "size", "rows", "columns"),
    [(1, (5, 7), 1, 1), (4, (8, 8), 2, 2), (5, (8, 8), 2, 3), (3, (4, 400), 3, 1), (3, (400, 4), 1, 3)],
)
def test_grid_contains_every_image_and_is_about_square(
    batch: int, size: tuple[int, int], rows: int, columns: int
) -> None:
    images = torch.arange(1, batch + 1).view(-1, 1, 1, 1).expand(-1, 3, *size)
    grid = as_grid(images, fill=-1)
    height, width = size
    gap = max(2, round(max(size) / 20))
    assert grid.shape == (3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for index in range(batch):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        assert (grid[:, top : top + height, left : left + width] == index + 1).all()
    assert int((grid == -1).sum()) == grid.numel() - images.numel()
