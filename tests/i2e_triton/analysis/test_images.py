"""Tests of the entropies of a source's images."""

from __future__ import annotations

import pytest
import torch

from i2e_triton.analysis import image_entropies, measure_images
from i2e_triton.sources import prepare
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, png, some_images


def test_entropies_are_averaged_over_resized_images(generator: torch.Generator) -> None:
    files = [png(image) for image in some_images(5, generator)]
    done: list[int] = []
    found = measure_images(MemorySource([*files, DAMAGED]), 6, (9, 8), "bicubic", done.append)
    expected = torch.tensor([image_entropies(prepare(file, (9, 8))) for file in files], dtype=torch.float64)
    assert (found.images, sum(done)) == (5, 6)
    for spread, values in zip((found.value_entropy, found.grey_entropy), expected.T):
        assert spread.mean == pytest.approx(float(values.mean()), abs=1e-12)
        assert spread.std == pytest.approx(float(values.std()), abs=1e-12)


def test_source_without_readable_images_is_refused() -> None:
    with pytest.raises(ValueError, match="no image of the sample is readable"):
        measure_images(MemorySource([DAMAGED]), 1, None, "bicubic", lambda rows: None)
