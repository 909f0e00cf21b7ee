"""``row_shifts`` draws reproducible and independent motion vectors for the rows of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from i2e_triton import row_shifts
from i2e_triton.shifts import splitmix64
from tests.i2e_triton.paper_vectors import ORDERS, PAIRS, assert_uniform, groups_as_numbers, vector


def splitmix64_in_python(seed: int, position: int) -> int:
    """Return one number of a SplitMix64 stream, computed with Python integers."""
    number = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def row_shifts_in_python(seed: int, row: int, groups: str) -> list[list[int]]:
    stream = splitmix64_in_python(seed, row)
    numbers = [splitmix64_in_python(stream, "abcdefgh".index(group)) % 2**63 for group in groups]
    return [vector(PAIRS[group][number % 12 % len(PAIRS[group])]) for number, group in zip(numbers, groups)]


def test_splitmix64_gives_the_published_numbers() -> None:
    numbers = splitmix64(torch.tensor(1234567), torch.arange(5))
    assert [number % 2**64 for number in numbers.tolist()] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821
    ]  # fmt: skip


def test_vectors_of_a_row_do_not_change_between_versions() -> None:
    """Existing data sets were converted with these vectors."""
    assert row_shifts(7, 41).tolist() == row_shifts_in_python(7, 41, "efghabcd")
    assert row_shifts(7, 41).tolist() == [
        [0, 1, -1, -1], [1, -1, 0, 1], [-1, 1, 1, 0], [1, 0, -1, -1],
        [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, -1, 1], [1, 1, 0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_vectors_of_a_row_depend_on_seed_row_number_and_group(seed: int) -> None:
    rows = [0, 1, 2, 1000, 2**31, 2**40 + 3, 2**63 - 1, -1]
    for _, _, groups in ORDERS:
        expected = [row_shifts_in_python(seed, row, groups) for row in rows]
        order = groups_as_numbers(groups)
        for same in (rows, torch.tensor(rows), np.array(rows), tuple(rows)):
            drawn = row_shifts(seed, same, order=order)
            assert drawn.dtype == torch.int32
            assert drawn.tolist() == expected
        assert row_shifts(np.uint64(seed), rows, order=order, timesteps=3).tolist() == [row[:3] for row in expected]
        assert [row_shifts(seed, row, order=order).tolist() for row in rows] == expected


def test_vectors_of_a_row_do_not_depend_on_its_batch(generator: torch.Generator) -> None:
    seed = int(torch.randint(2**40, (), generator=generator))
    whole = row_shifts(seed, range(500))
    order = torch.randperm(500, generator=generator)
    for part in (order, *order.split(37), order.int(), order[:0], order[::3]):
        assert torch.equal(row_shifts(seed, part), whole[part.long()])
    state = torch.get_rng_state()
    row_shifts(seed, order)
    assert torch.equal(torch.get_rng_state(), state)
    assert row_shifts(seed, torch.arange(5, device="meta")).device.type == "meta"
    with torch.device("meta"):
        assert row_shifts(seed, 3).tolist() == whole[3].tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_vectors_of_rows_are_uniform_over_each_group(seed: int) -> None:
    drawn = row_shifts(seed, range(6000), order=0)
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)
    # Also uniform for one row of each of many seeds.
    drawn = torch.stack([row_shifts(s, seed % 100, order=0) for s in range(1500)])
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)


def test_vectors_of_rows_groups_and_seeds_are_independent() -> None:
    """Chi-square test of the joint draws of two groups, of neighbouring rows and of two seeds."""
    numbers = [pair_indices(row_shifts(seed, range(4000), order=0)[:, :2], "ab") for seed in (5, 6)]
    for one, other in (
        (numbers[0][:, 0], numbers[0][:, 1]),
        (numbers[0][:-1, 0], numbers[0][1:, 0]),
        (numbers[0][:, 0], numbers[1][:, 0]),
    ):
        counts = torch.bincount(6 * one + other, minlength=36).double()
        expected = len(one) / 36
        assert float(((counts - expected) ** 2 / expected).sum()) < 89.95  # 35 degrees of freedom, significance 1e-6


def pair_indices(drawn: Tensor, groups: str) -> Tensor:
    """Return the index of each vector ``[N, T, 4]`` in its group: ``[N, T]``."""
    return torch.tensor(
        [
            [[vector(pair) for pair in PAIRS[group]].index(step) for step, group in zip(row, groups)]
            for row in drawn.tolist()
        ]
    )


@pytest.mark.parametrize(
    ("seed", "rows", "error", "message"),
    [
        (1.5, 0, TypeError, r"seed must be an int, got float 1\.5"),
        (True, 0, TypeError, "seed must be an int, got bool True"),
        (-1, 0, ValueError, r"seed must be 0 to 2\^64 - 1, got -1"),
        (2**64, 0, ValueError, r"seed must be 0 to 2\^64 - 1, got 18446744073709551616"),
        (0, 1.5, TypeError, r"rows must be an int, several ints or an integer tensor, got 1\.5"),
        (0, [1, 2.0], TypeError, r"rows must be an int.*got \[1, 2\.0\]"),
        (0, torch.ones(3), TypeError, r"rows must be integers, got torch\.float32; convert them with \.long\(\)"),
        (0, torch.ones(3).bool(), TypeError, r"rows must be integers, got torch\.bool"),
        (0, torch.ones(3, 2).long(), ValueError, r"a tensor \[B\], got shape \[3, 2\]"),
    ],
)
def test_wrong_seed_or_row_raises_error(seed: Any, rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        row_shifts(seed, rows)
