"""The motion vectors against the paper's table, written out here once more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import i2e_triton
from i2e_triton import canonical_shifts, random_shifts, row_shifts
from i2e_triton.shifts import candidate_shifts, complete_order, convolution_weight, order_of_weight, splitmix64

#: The pairs of each group; the digits number the 3x3 neighbourhood 1 to 9 in reading order, and 5 is the pixel itself.
PAIRS = {
    "a": (56, 12, 23, 45, 78, 89),
    "b": (52, 41, 63, 74, 85, 96),
    "c": (53, 42, 75, 86),
    "d": (51, 62, 84, 95),
    "e": (94, 61),
    "f": (43, 76),
    "g": (38, 27),
    "h": (81, 92),
}
LENGTHS = {"a": 1.0, "b": 1.0, "c": math.sqrt(2), "d": math.sqrt(2)} | dict.fromkeys("efgh", math.sqrt(5))
#: Name, Greek name and groups of the six orders, at the place of their published number.
ORDERS = (
    ("alpha-beta-gamma", "αβγ", "abcdefgh"),
    ("alpha-gamma-beta", "αγβ", "abefghcd"),
    ("beta-alpha-gamma", "βαγ", "cdabefgh"),
    ("beta-gamma-alpha", "βγα", "cdefghab"),
    ("gamma-alpha-beta", "γαβ", "efghabcd"),
    ("gamma-beta-alpha", "γβα", "efghcdab"),
)
POSITIONS = {  # (dy, dx) of the numbers
    1: (-1, -1), 2: (-1, 0), 3: (-1, 1),
    4: (0, -1), 5: (0, 0), 6: (0, 1),
    7: (1, -1), 8: (1, 0), 9: (1, 1),
}  # fmt: skip


def vector(pair: int) -> list[int]:
    start, end = divmod(pair, 10)
    return [*POSITIONS[start], *POSITIONS[end]]


def canonical(groups: str) -> Tensor:
    return torch.tensor([vector(PAIRS[group][0]) for group in groups], dtype=torch.int32)


def assert_same_vectors(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == torch.int32
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("number", range(6))
def test_an_order_by_name_greek_name_number_and_groups(number: int) -> None:
    name, greek, groups = ORDERS[number]
    numbers = ["abcdefgh".index(group) for group in groups]
    orders: list[Any] = [name, name.upper(), greek, number, tuple(numbers), list(numbers), np.array(numbers)]
    for order in orders:
        assert_same_vectors(canonical_shifts(order), canonical(groups))
    assert list(i2e_triton.ORDERS)[number] == name
    assert list(i2e_triton.ORDERS[name]) == numbers


def test_the_default_is_the_published_one() -> None:
    expected = [
        [1, 1, 0, -1],
        [0, -1, -1, 1],
        [-1, 1, 1, 0],
        [1, 0, -1, -1],
        [0, 0, 0, 1],
        [0, 0, -1, 0],
        [0, 0, -1, 1],
        [0, 0, -1, -1],
    ]
    assert canonical_shifts().tolist() == expected
    assert canonical_shifts().device.type == "cpu"
    assert canonical_shifts(device="meta").device.type == "meta"


@pytest.mark.parametrize("timesteps", range(1, 9))
def test_fewer_timesteps_are_a_prefix(timesteps: int) -> None:
    for name, _, groups in ORDERS:
        assert_same_vectors(canonical_shifts(name, timesteps), canonical(groups[:timesteps]))
        drawn = random_shifts(order=name, timesteps=timesteps)
        assert [row in [vector(pair) for pair in PAIRS[group]] for row, group in zip(drawn.tolist(), groups)] == (
            [True] * timesteps
        )


def test_timesteps_of_any_integer_type() -> None:
    same: list[Any] = [np.int64(3), np.uint8(3), torch.tensor(3)]
    for timesteps in same:
        assert_same_vectors(canonical_shifts(timesteps=timesteps), canonical("efg"))
        assert random_shifts(2, timesteps=timesteps).shape == (2, 3, 4)


def test_a_complete_order_has_the_groups_left_out_last() -> None:
    assert complete_order((7, 2, 0)) == (7, 2, 0, 1, 3, 4, 5, 6)
    assert complete_order("αβγ") == (0, 1, 2, 3, 4, 5, 6, 7)


def test_groups_of_ones_own_in_any_number() -> None:
    assert_same_vectors(canonical_shifts((7, 2), 2), canonical("hc"))
    assert_same_vectors(canonical_shifts((7, 2, 0), 1), canonical("h"))


def test_every_vector_of_a_group_has_the_papers_length() -> None:
    for (_, _, groups), timestep in ((order, t) for order in ORDERS for t in range(8)):
        vectors = candidate_shifts(groups_as_numbers(groups))[:, timestep].tolist()
        for dy0, dx0, dy1, dx1 in vectors:
            assert math.hypot(dy1 - dy0, dx1 - dx0) == pytest.approx(LENGTHS[groups[timestep]])


def groups_as_numbers(groups: str) -> tuple[int, ...]:
    return tuple("abcdefgh".index(group) for group in groups)


def assert_uniform(rows: list[list[int]], group: str) -> None:
    """Each vector of a group, and nothing else, as often as the others: chi-square with one chance in a million."""
    counts = [rows.count(vector(pair)) for pair in PAIRS[group]]
    assert sum(counts) == len(rows)
    expected = len(rows) / len(counts)
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_square < {2: 23.93, 4: 30.67, 6: 35.89}[len(counts)]


def test_a_draw_per_sample_is_uniform_over_each_group(generator: torch.Generator) -> None:
    drawn = random_shifts(6000, generator, order=0)
    assert drawn.dtype == torch.int32
    assert drawn.shape == (6000, 8, 4)
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)
    # Timesteps are drawn apart: e and f agree on the place of their pair in half of all samples.
    together = (drawn[:, 4, 0] == 1) == (drawn[:, 5, 0] == 0)
    assert 0.45 < together.double().mean() < 0.55


def test_a_draw_per_batch_is_uniform_over_each_group(generator: torch.Generator) -> None:
    drawn = torch.stack([random_shifts(None, generator) for _ in range(1500)])
    assert drawn.shape == (1500, 8, 4)
    for timestep, group in enumerate("efghabcd"):
        assert_uniform(drawn[:, timestep].tolist(), group)


def test_a_generator_repeats_its_draws() -> None:
    first = random_shifts(50, torch.Generator().manual_seed(5))
    assert torch.equal(first, random_shifts(50, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, random_shifts(50, torch.Generator().manual_seed(6)))
    state = torch.get_rng_state()
    random_shifts(50, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)  # the global one is left alone


def test_without_a_generator_the_global_one_draws() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first, second = random_shifts(50), random_shifts(50)
        assert not torch.equal(first, second)
        torch.manual_seed(5)
        assert torch.equal(first, random_shifts(50))


def test_no_sample_has_no_vectors() -> None:
    assert random_shifts(0).shape == (0, 8, 4)
    assert random_shifts(0, timesteps=3).shape == (0, 3, 4)


def splitmix64_by_hand(seed: int, place: int) -> int:
    """One number of a SplitMix64 stream, in Python's integers."""
    number = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def row_shifts_by_hand(seed: int, row: int, groups: str) -> list[list[int]]:
    stream = splitmix64_by_hand(seed, row)
    numbers = [splitmix64_by_hand(stream, "abcdefgh".index(group)) % 2**63 for group in groups]
    return [vector(PAIRS[group][number % 12 % len(PAIRS[group])]) for number, group in zip(numbers, groups)]


def test_splitmix64_gives_the_numbers_that_others_publish() -> None:
    numbers = splitmix64(torch.tensor(1234567), torch.arange(5))
    assert [number % 2**64 for number in numbers.tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_the_vectors_of_a_row_are_written_down() -> None:
    """What a data set was made with must not change with a version of anything."""
    assert row_shifts(7, 41).tolist() == row_shifts_by_hand(7, 41, "efghabcd")
    assert row_shifts(7, 41).tolist() == [
        [0, 1, -1, -1],
        [1, -1, 0, 1],
        [-1, 1, 1, 0],
        [1, 0, -1, -1],
        [0, -1, 0, 0],
        [0, 0, -1, 0],
        [0, 0, -1, 1],
        [1, 1, 0, 0],
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_vectors_of_a_row_follow_from_seed_number_and_group(seed: int) -> None:
    rows = [0, 1, 2, 1000, 2**31, 2**40 + 3, 2**63 - 1, -1]
    for _, _, groups in ORDERS:
        expected = [row_shifts_by_hand(seed, row, groups) for row in rows]
        order = groups_as_numbers(groups)
        for same in (rows, torch.tensor(rows), np.array(rows), tuple(rows)):
            drawn = row_shifts(seed, same, order=order)
            assert drawn.dtype == torch.int32
            assert drawn.tolist() == expected
        assert row_shifts(np.uint64(seed), rows, order=order, timesteps=3).tolist() == [row[:3] for row in expected]
        assert [row_shifts(seed, row, order=order).tolist() for row in rows] == expected


def test_rows_draw_alike_in_any_batch(generator: torch.Generator) -> None:
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
def test_rows_draw_uniformly_over_each_group(seed: int) -> None:
    drawn = row_shifts(seed, range(6000), order=0)
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)
    # Also one group of one row over many seeds.
    drawn = torch.stack([row_shifts(s, seed % 100, order=0) for s in range(1500)])
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)


def test_rows_timesteps_and_seeds_draw_apart() -> None:
    """Neither the next row, nor the next group, nor the next seed says anything about a draw: chi-square of pairs."""
    numbers = [group_places(row_shifts(seed, range(4000), order=0)[:, :2], "ab") for seed in (5, 6)]
    for one, other in (
        (numbers[0][:, 0], numbers[0][:, 1]),
        (numbers[0][:-1, 0], numbers[0][1:, 0]),
        (numbers[0][:, 0], numbers[1][:, 0]),
    ):
        counts = torch.bincount(6 * one + other, minlength=36).double()
        expected = len(one) / 36
        assert float(((counts - expected) ** 2 / expected).sum()) < 89.95  # 35 degrees, one chance in a million


def group_places(drawn: Tensor, groups: str) -> Tensor:
    """Which pair of its group each vector ``[N, T, 4]`` is: ``[N, T]``."""
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
        (0, 1.5, TypeError, r"a row number, or several, or a tensor of them; got 1\.5"),
        (0, [1, 2.0], TypeError, r"a row number.*got \[1, 2\.0\]"),
        (0, torch.ones(3), TypeError, r"whole numbers, got torch\.float32; convert them with \.long\(\)"),
        (0, torch.ones(3).bool(), TypeError, r"whole numbers, got torch\.bool"),
        (0, torch.ones(3, 2).long(), ValueError, r"a tensor \[B\], got shape \[3, 2\]"),
    ],
)
def test_what_is_no_seed_or_row_is_refused(seed: Any, rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        row_shifts(seed, rows)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("gamma-delta", "gamma-alpha-beta.*got 'gamma-delta'"),
        ("", "got ''"),
        (6, "0 to 5; got 6"),
        (-1, "0 to 5; got -1"),
        (True, "got True"),
        ((0, 1, 2, 3, 4, 5, 6, 8), "distinct group numbers 0 to 7.*8"),
        ((0, 1, 2, 3, 4, 5, 6, 6), "distinct group numbers 0 to 7.*6, 6"),
        ((0, 1, 2), "3 groups, too few for 8 timesteps"),
    ],
)
def test_an_unknown_order_is_refused(order: Any, message: str) -> None:
    for call in (canonical_shifts, lambda order: random_shifts(order=order)):
        with pytest.raises(ValueError, match=message):
            call(order)


@pytest.mark.parametrize("order", [None, 2.0, (4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0), tuple("efghabcd")])
def test_an_order_of_the_wrong_type_is_refused(order: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="order must"):
        canonical_shifts(order)


@pytest.mark.parametrize("timesteps", [0, 9, -1])
def test_timesteps_out_of_range_are_refused(timesteps: int) -> None:
    for call in (canonical_shifts, random_shifts):
        with pytest.raises(ValueError, match=f"timesteps must be 1 to 8, got {timesteps}"):
            call(timesteps=timesteps)


@pytest.mark.parametrize("timesteps", [2.0, "2", None, True])
def test_timesteps_of_the_wrong_type_are_refused(timesteps: Any) -> None:
    for call in (canonical_shifts, random_shifts):
        with pytest.raises(TypeError, match=f"timesteps must be an int, got {type(timesteps).__name__} {timesteps!r}"):
            call(timesteps=timesteps)


def test_a_batch_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be at least 0, got -1"):
        random_shifts(-1)
    for batch in (2.0, "2", True):
        with pytest.raises(TypeError, match=f"batch must be an int, got {type(batch).__name__} {batch!r}"):
            random_shifts(batch)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    assert random_shifts(np.int64(3), timesteps=np.int8(2)).shape == (3, 2, 4)  # type: ignore[arg-type]
    for number in range(6):
        assert torch.equal(canonical_shifts(np.int64(number)), canonical_shifts(number))  # type: ignore[arg-type]
    assert torch.equal(canonical_shifts(np.arange(8)), canonical_shifts(tuple(range(8))))  # type: ignore[arg-type]


def test_the_convolution_of_a_vector() -> None:
    weight = convolution_weight(torch.tensor([[1, 1, 0, -1], [0, 0, 0, 0]]))
    assert weight.dtype == torch.float32
    assert weight.tolist() == [[[[0, 0, 0], [1, 0, 0], [0, 0, -1]]], [[[0, 0, 0], [0, 0, 0], [0, 0, 0]]]]
    longer = convolution_weight(torch.tensor([[0, 0, -2, 1]]))
    assert longer.shape == (1, 1, 5, 5)
    assert longer.nonzero().tolist() == [[0, 0, 0, 3], [0, 0, 2, 2]]


def test_the_convolution_of_the_longest_vector_of_the_smallest_type() -> None:
    for dy in (-128, 127):
        weight = convolution_weight(torch.tensor([[dy, 0, -dy - 1, 0]], dtype=torch.int8))
        assert weight.shape == (1, 1, 257, 257)
        assert weight[0, 0, :, 128].nonzero().flatten().tolist() == [0, 255]
        assert weight[0, 0, 128 + dy, 128] == -1


def test_the_convolution_is_float32_whatever_the_default_is() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert convolution_weight(canonical_shifts()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_order_is_read_back_from_its_convolution(generator: torch.Generator) -> None:
    order = torch.randperm(8, generator=generator).tolist()
    for shifts in (canonical_shifts(order), random_shifts(None, generator, order=order)):
        for weight in (convolution_weight(shifts), convolution_weight(shifts).half()):
            assert order_of_weight(weight) == tuple(order)


@pytest.mark.parametrize("seed", range(3))
def test_a_convolution_that_is_not_the_papers_is_refused(seed: int) -> None:
    for wrong in (torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(seed)), torch.zeros(8, 1, 3, 3)):
        with pytest.raises(ValueError, match=r"one \+1, one -1 and else zeros"):
            order_of_weight(wrong)
    for wrong in (-convolution_weight(canonical_shifts()), convolution_weight(canonical_shifts())[[0] * 8]):
        with pytest.raises(ValueError, match="each of the paper's motion vectors once"):
            order_of_weight(wrong)
