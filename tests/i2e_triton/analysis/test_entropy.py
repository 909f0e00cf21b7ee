"""Entropies compared with their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.analysis import entropy, image_entropies
from i2e_triton.analysis.entropy import binary_entropy
from tests.i2e_triton.analysis.definition import entropy_of
from tests.samples import PHOTOGRAPHS, noise, photograph


@given(st.lists(st.integers(0, 5), min_size=1))
def test_entropy_equals_definition(symbols: list[int]) -> None:
    assert entropy(np.bincount(symbols)) == pytest.approx(entropy_of(symbols), abs=1e-12)


@pytest.mark.parametrize("bits", range(9))
def test_entropy_of_equally_frequent_symbols_is_log2_of_their_number(bits: int) -> None:
    assert entropy(np.full(2**bits, 7)) == bits


def test_entropy_without_symbols_is_zero() -> None:
    assert entropy(np.zeros(4, dtype=np.int64)) == 0


@given(st.integers(0, 100))
def test_binary_entropy_equals_entropy_of_two_symbols(events: int) -> None:
    assert binary_entropy(events / 100) == pytest.approx(entropy(np.array([events, 100 - events])), abs=1e-12)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_entropies_of_photographs_equal_definition(name: str) -> None:
    image = photograph(name)[:, :61, :67]
    value, grey = image_entropies(image)
    assert value == pytest.approx(entropy_of(image.amax(0).flatten().tolist()), abs=1e-12)
    red, green, blue = image
    levels = (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)
    assert grey == pytest.approx(entropy_of(levels.flatten().tolist()), abs=1e-12)


def test_both_entropies_of_a_grey_image_are_equal(generator: torch.Generator) -> None:
    image = noise((1, 13, 17), torch.float32, generator)
    expected = pytest.approx(entropy_of(image.flatten().tolist()), abs=1e-12)
    assert image_entropies(image) == (expected, expected)
