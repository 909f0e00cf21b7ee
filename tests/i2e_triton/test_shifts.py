"""The motion vectors equal the paper's table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import i2e_triton
from i2e_triton import canonical_shifts, random_shifts
from i2e_triton.shifts import candidate_shifts, complete_order, convolution_weight, order_of_weight
from tests.i2e_triton.paper_vectors import LENGTHS, ORDERS, PAIRS, assert_uniform, canonical, groups_as_numbers, vector


def assert_same_vectors(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == torch.int32
    assert actual.tolist() == expected.tolist()


@pytest.mark.parametrize("number", range(6))
def test_order_by_name_greek_name_number_and_groups(number: int) -> None:
    name, greek, groups = ORDERS[number]
    numbers = ["abcdefgh".index(group) for group in groups]
    orders: list[Any] = [
        name,
        name.upper(),
        greek,
        number,
        np.int64(number),
        tuple(numbers),
        list(numbers),
        np.array(numbers),
    ]
    for order in orders:
        assert_same_vectors(canonical_shifts(order), canonical(groups))
    assert list(i2e_triton.ORDERS)[number] == name
    assert list(i2e_triton.ORDERS[name]) == numbers


def test_default_is_the_official_microsaccade() -> None:
    expected = [
        [1, 1, 0, -1], [0, -1, -1, 1], [-1, 1, 1, 0], [1, 0, -1, -1],
        [0, 0, 0, 1], [0, 0, -1, 0], [0, 0, -1, 1], [0, 0, -1, -1],
    ]  # fmt: skip
    assert canonical_shifts().tolist() == expected
    assert canonical_shifts().device.type == "cpu"
    assert canonical_shifts(device="meta").device.type == "meta"


@pytest.mark.parametrize("timesteps", range(1, 9))
def test_fewer_timesteps_are_the_first_ones(timesteps: int) -> None:
    for name, _, groups in ORDERS:
        assert_same_vectors(canonical_shifts(name, timesteps), canonical(groups[:timesteps]))
        drawn = random_shifts(order=name, timesteps=timesteps)
        assert [row in [vector(pair) for pair in PAIRS[group]] for row, group in zip(drawn.tolist(), groups)] == (
            [True] * timesteps
        )


def test_timesteps_and_batch_of_any_integer_type() -> None:
    same: list[Any] = [np.int64(3), np.uint8(3), torch.tensor(3)]
    for timesteps in same:
        assert_same_vectors(canonical_shifts(timesteps=timesteps), canonical("efg"))
        assert random_shifts(2, timesteps=timesteps).shape == (2, 3, 4)
    assert random_shifts(np.int64(3), timesteps=np.int8(2)).shape == (3, 2, 4)  # type: ignore[arg-type]


def test_complete_order_appends_omitted_groups() -> None:
    assert complete_order((7, 2, 0)) == (7, 2, 0, 1, 3, 4, 5, 6)
    assert complete_order("αβγ") == (0, 1, 2, 3, 4, 5, 6, 7)


def test_order_of_fewer_groups() -> None:
    assert_same_vectors(canonical_shifts((7, 2), 2), canonical("hc"))
    assert_same_vectors(canonical_shifts((7, 2, 0), 1), canonical("h"))


def test_vectors_of_a_group_have_the_papers_length() -> None:
    for (_, _, groups), timestep in ((order, t) for order in ORDERS for t in range(8)):
        vectors = candidate_shifts(groups_as_numbers(groups))[:, timestep].tolist()
        for dy0, dx0, dy1, dx1 in vectors:
            assert math.hypot(dy1 - dy0, dx1 - dx0) == pytest.approx(LENGTHS[groups[timestep]])


def test_draw_per_image_is_uniform_over_each_group() -> None:
    drawn = random_shifts(6000, torch.Generator().manual_seed(1), order=0)
    assert drawn.dtype == torch.int32
    assert drawn.shape == (6000, 8, 4)
    for timestep, group in enumerate("abcdefgh"):
        assert_uniform(drawn[:, timestep].tolist(), group)
    # Timesteps are independent: for half of the images, groups e and f draw the pair of the same index.
    equal = (drawn[:, 4, 0] == 1) == (drawn[:, 5, 0] == 0)
    assert 0.45 < equal.double().mean() < 0.55


def test_draw_per_batch_is_uniform_over_each_group() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([random_shifts(None, generator) for _ in range(1500)])
    assert drawn.shape == (1500, 8, 4)
    for timestep, group in enumerate("efghabcd"):
        assert_uniform(drawn[:, timestep].tolist(), group)


def test_same_generator_seed_draws_the_same() -> None:
    first = random_shifts(50, torch.Generator().manual_seed(5))
    assert torch.equal(first, random_shifts(50, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, random_shifts(50, torch.Generator().manual_seed(6)))
    state = torch.get_rng_state()
    random_shifts(50, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not used


def test_default_generator_is_the_global_one() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first, second = random_shifts(50), random_shifts(50)
        assert not torch.equal(first, second)
        torch.manual_seed(5)
        assert torch.equal(first, random_shifts(50))


def test_batch_of_0_has_no_vectors() -> None:
    assert random_shifts(0).shape == (0, 8, 4)
    assert random_shifts(0, timesteps=3).shape == (0, 3, 4)


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
def test_unknown_order_raises_error(order: Any, message: str) -> None:
    for call in (canonical_shifts, random_shifts):
        with pytest.raises(ValueError, match=message):
            call(order=order)


@pytest.mark.parametrize("order", [None, 2.0, (4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0), tuple("efghabcd")])
def test_order_of_the_wrong_type_raises_error(order: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="order must"):
        canonical_shifts(order)


WRONG_NUMBERS: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({"timesteps": t}, ValueError, f"timesteps must be 1 to 8, got {t}") for t in (0, 9, -1)),
    *(
        ({"timesteps": t}, TypeError, f"timesteps must be an int, got {type(t).__name__} {t!r}")
        for t in (2.0, "2", True)
    ),
    ({"timesteps": None}, TypeError, "timesteps must be an int, got NoneType None"),
    ({"batch": -1}, ValueError, "batch must be at least 0, got -1"),
    *(({"batch": b}, TypeError, f"batch must be an int, got {type(b).__name__} {b!r}") for b in (2.0, "2", True)),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_NUMBERS, ids=[str(case[0]) for case in WRONG_NUMBERS])
def test_wrong_timesteps_or_batch_raise_error(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    for call in (random_shifts, canonical_shifts):
        if call is random_shifts or "batch" not in arguments:
            with pytest.raises(error, match=message):
                call(**arguments)


def test_convolution_of_a_vector() -> None:
    weight = convolution_weight(torch.tensor([[1, 1, 0, -1], [0, 0, 0, 0]]))
    assert weight.dtype == torch.float32
    assert weight.tolist() == [[[[0, 0, 0], [1, 0, 0], [0, 0, -1]]], [[[0, 0, 0], [0, 0, 0], [0, 0, 0]]]]
    longer = convolution_weight(torch.tensor([[0, 0, -2, 1]]))
    assert longer.shape == (1, 1, 5, 5)
    assert longer.nonzero().tolist() == [[0, 0, 0, 3], [0, 0, 2, 2]]


def test_convolution_of_the_longest_int8_vector() -> None:
    for dy in (-128, 127):
        weight = convolution_weight(torch.tensor([[dy, 0, -dy - 1, 0]], dtype=torch.int8))
        assert weight.shape == (1, 1, 257, 257)
        assert weight[0, 0, :, 128].nonzero().flatten().tolist() == [0, 255]
        assert weight[0, 0, 128 + dy, 128] == -1


def test_convolution_is_float32_for_every_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert convolution_weight(canonical_shifts()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_order_of_weight_inverts_convolution_weight(generator: torch.Generator) -> None:
    order = torch.randperm(8, generator=generator).tolist()
    for shifts in (canonical_shifts(order), random_shifts(None, generator, order=order)):
        for weight in (convolution_weight(shifts), convolution_weight(shifts).half()):
            assert order_of_weight(weight) == tuple(order)


@pytest.mark.parametrize("seed", range(3))
def test_order_of_another_convolution_raises_error(seed: int) -> None:
    for wrong in (torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(seed)), torch.zeros(8, 1, 3, 3)):
        with pytest.raises(ValueError, match=r"one \+1, one -1 and zeros"):
            order_of_weight(wrong)
    for wrong in (-convolution_weight(canonical_shifts()), convolution_weight(canonical_shifts())[[0] * 8]):
        with pytest.raises(ValueError, match="one vector of each of the paper's groups"):
            order_of_weight(wrong)
