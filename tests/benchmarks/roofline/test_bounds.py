"""Upper bounds on the instructions per pixel that write events, from machine code for sm_90."""

from __future__ import annotations

import pytest

from benchmarks.roofline.estimate import H100, kernel_costs
from i2e_triton import random_shifts

#: (images, events): instructions per pixel with the default motion vectors, and with random ones.
BOUNDS = {
    ("uint8", "packed"): (35, 55),
    ("uint8", "bool"): (45, 67),
    ("uint8", "bfloat16"): (47, 74),
    ("uint8", "float32"): (64, 90),
    ("float32", "float32"): (142, 170),
    ("float32", "packed"): (98, 192),
}


@pytest.mark.parametrize("vectors", ["default", "random"])
@pytest.mark.parametrize(("input", "format"), BOUNDS)
def test_instructions_per_pixel_stay_below_their_bound(input: str, format: str, vectors: str) -> None:
    shifts = random_shifts() if vectors == "random" else None
    (kernel,) = kernel_costs(input, format, 128, H100, shifts)
    assert kernel.spilled == 0
    assert kernel.writing is not None
    assert kernel.writing <= BOUNDS[input, format][vectors == "random"]
