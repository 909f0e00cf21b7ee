"""Rows of augmented images that lie alike between those of their boxes."""

from __future__ import annotations

import torch

from i2e_triton.ops.augment_places import Phases, places


def phases(size: int, *lengths: int, nearest: bool = False) -> tuple[tuple[bool, ...], tuple[float, ...]] | None:
    images = torch.zeros(len(lengths), 1, 40, 40)
    crop = torch.tensor([[0, 0, length, 7] for length in lengths])
    rows, _ = places(images, crop, None, (size, 9), torch.float32, nearest)
    return (rows.above, rows.ways) if isinstance(rows, Phases) else None


def test_rows_lie_alike_in_phases_or_not_at_all() -> None:
    assert phases(128, 32) == ((True, True, False, False), (0.625, 0.875, 0.125, 0.375))
    assert phases(64, 32) == ((True, False), (0.75, 0.25))
    assert phases(32, 32, 32) == ((False,), (0.0,))
    assert phases(32, 1) is None
    assert phases(128, 32, 31) is None
    assert phases(100, 32) is None
    assert phases(16, 32) is None
    assert phases(128, 32, nearest=True) is None
    assert phases(90, 30) is None  # thirds are rounded, each place differently
