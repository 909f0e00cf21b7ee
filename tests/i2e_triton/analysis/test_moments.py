"""Mean and standard deviation of batches, compared with PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.analysis.moments import Moments


@given(
    values=st.lists(st.floats(0, 1), min_size=2, max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
)
def test_moments_do_not_depend_on_the_batch_boundaries(values: list[float], cuts: list[int]) -> None:
    moments = Moments()
    for batch in np.split(np.array(values), sorted(min(cut, len(values)) for cut in cuts)):
        moments.add(batch)
    expected = torch.tensor(values, dtype=torch.float64)
    assert moments.count == len(values)
    assert float(moments.mean) == pytest.approx(float(expected.mean()), abs=1e-14)
    assert float(moments.std) == pytest.approx(float(expected.std()), abs=1e-14)


def test_equal_values_have_zero_std() -> None:
    moments = Moments((2,))
    for _ in range(1000):
        moments.add(np.array([[0.1, 0.3]]))
    for index, value in enumerate((0.1, 0.3)):
        spread = moments.spread(index)
        assert (spread.mean, spread.std) == (pytest.approx(value, abs=1e-15), 0)


def test_std_of_one_image_is_nan() -> None:
    moments = Moments()
    moments.add(np.array([0.5]))
    assert moments.spread().mean == 0.5
    assert math.isnan(moments.spread().std)
