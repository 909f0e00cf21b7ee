"""The operators that draw random numbers, on the CPU: Philox, reproducibility, ``opcheck``, fake tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from i2e_triton.ops import draw, draw_cpu
from tests.draw_cases import DRAWS, with_operator

#: Known answers of Philox 4x32-10, published with Random123: the counter, the key and the result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def int64(*words: int) -> int:
    """Return the int64 of these 32-bit words, the lowest one first."""
    bits = sum(word << 32 * i for i, word in enumerate(words))
    return bits - 2**64 if bits >= 2**63 else bits


@pytest.mark.parametrize("batch", [1, 100])  # computed with Python's integers and with tensors
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter: str, key: str, expected: str, batch: int) -> None:
    words = [int(word, 16) for word in counter.split()]
    state = torch.tensor([int64(*(int(word, 16) for word in key.split())), words[2] + (words[3] >> 16 << 32)])
    rows = torch.full((batch,), int64(*words[:2]))
    drawn = torch.ops.i2e_triton.draw_words(state, rows, 0, batch, words[3] % 2**16, 1)
    assert drawn.tolist() == [[int(word, 16) for word in expected.split()]] * batch


def test_draws_do_not_change_between_versions() -> None:
    """Training that is resumed with a newer version must draw the same."""
    expected = {
        "words": [594623637, 3523680557, 131481597, 653598084],
        "crop": [0, 3, 30, 40],
        "resized crop": [3, 10, 25, 27],
        "shifts": [1, 1, 0, -1],
    }
    for name, numbers in expected.items():
        drawn = with_operator(name, torch.tensor([2**40 + 12, 3]), None, 5, 9)[0]
        assert drawn[8].flatten()[:4].tolist() == numbers


@pytest.mark.parametrize("name", DRAWS)
def test_each_call_increases_the_call_number(name: str) -> None:
    state = torch.tensor([-5, 2**32 - 1])
    first, second = (with_operator(name, state, None, 0, 50) for _ in range(2))
    assert state.tolist() == [-5, 2**32 + 1]
    for number, drawn in ((2**32 - 1, first), (2**32, second)):
        again = with_operator(name, torch.tensor([-5, number]), None, 0, 50)
        assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))


@pytest.mark.parametrize("name", ["words", "crop", "resized crop", "shifts"])
def test_draw_depends_on_seed_offset_call_number_and_row(name: str) -> None:
    def drawn(seed: int, number: int, rows: Tensor | None = None, seed_offset: int = 0) -> Tensor:
        return with_operator(name, torch.tensor([seed, number]), rows, seed_offset, 200)[0]

    whole, rows = drawn(1, 2), torch.arange(200)
    assert torch.equal(drawn(1, 2, rows), whole)
    assert torch.equal(drawn(1, 2, rows.flip(0)), whole.flip(0))
    assert torch.equal(drawn(4, 2, seed_offset=-3), whole)
    assert torch.equal(drawn(2**63 - 1, 2, seed_offset=2), drawn(-(2**63) + 1, 2))  # wraps around
    one = with_operator(name, torch.tensor([1, 2]), torch.tensor([17]), 0, 1)[0]
    assert torch.equal(one[0], whole[17])
    others = drawn(1, 3), drawn(1, 2 + 2**32), drawn(2, 2), drawn(1 + 2**32, 2), drawn(1, 2, rows + 2**32)
    for other in others:
        assert not torch.equal(other, whole)


def test_few_and_many_images_draw_the_same() -> None:
    for batch in (1, 47, 48, 49, 100):
        words = torch.ops.i2e_triton.draw_words(torch.tensor([1, 2]), None, 0, batch, 5, 1)
        expected = [draw_cpu.philox(1, 2, row, 5) for row in range(batch)]
        assert words.tolist() == [list(block) for block in expected]


def test_square_roots_are_correctly_rounded(generator: torch.Generator) -> None:
    numbers = torch.rand(100, 100, dtype=torch.float64, generator=generator) * 2.0**40
    assert torch.equal(draw_cpu.square_roots(numbers), torch.from_numpy(np.sqrt(numbers.numpy())))


def test_words_are_uniform_and_independent() -> None:
    """Chi-square test of the highest and lowest 4 bits of each word, and of pairs of words, images and calls."""
    state = torch.tensor([0, 0])
    first, second = (torch.ops.i2e_triton.draw_words(state, None, 0, 40_000, 0, 2) for _ in range(2))
    high, low = first >> 28, first & 15
    for i in range(8):
        for one, other in (
            (high[:, i], low[:, i]),
            (high[:, i], high[:, (i + 1) % 8]),
            (high[1:, i], high[:-1, i]),
            (high[:, i], second[:, i] >> 28),
        ):
            counts = torch.bincount(16 * one + other, minlength=256).double()
            expected = len(one) / 256
            assert float(((counts - expected) ** 2 / expected).sum()) < 390  # 255 degrees of freedom, significance 1e-7


@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (0.1, 10.0), (1.0, 1.0), (0.01, 0.02)])
def test_aspect_ratios_are_accurate(ratio: tuple[float, float]) -> None:
    box = draw._resized_box((30, 40), (0.1, 1.0), ratio)
    for word in (0, 1, 2**31, 2**32 - 1):
        log = math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * word / 2**32
        root = draw_cpu.exp(torch.tensor(word, dtype=torch.float64) * box.log_ratio_step + box.smallest_log_ratio)
        assert float(root) ** 2 == pytest.approx(math.exp(log), rel=1e-9)


@pytest.mark.parametrize("rows", [None, torch.tensor([3, -1, 2**40])])
@pytest.mark.parametrize("name", ["words", "crop", "resized crop", "shifts"])
def test_operators_pass_opcheck(name: str, rows: Tensor | None) -> None:
    operator, arguments = DRAWS[name]
    given = (torch.tensor([1, 2]), rows, 4, 3, *arguments)
    results = torch.library.opcheck(getattr(torch.ops.i2e_triton, operator).default, given)
    assert results == dict.fromkeys(results, "SUCCESS")
    assert {"test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"} <= set(results)


@pytest.mark.parametrize("name", DRAWS)
def test_fake_result_has_the_metadata_of_the_real_one(name: str) -> None:
    state = torch.tensor([1, 2])
    real = with_operator(name, state, None, 0, 3)
    with FakeTensorMode() as mode:
        fake = with_operator(name, mode.from_tensor(state), None, 0, 3)
    for others in (fake, with_operator(name, state.to("meta"), None, 0, 3)):
        for one, other in zip(real, others, strict=True):
            assert (other.shape, other.stride(), other.dtype) == (one.shape, one.stride(), one.dtype)
    for key in ("CPU", "CUDA", "Meta"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"i2e_triton::{DRAWS[name][0]}", key)


def test_first_draw_in_inference_mode() -> None:
    with torch.inference_mode():
        state = torch.tensor([1, 2])
        inside = with_operator("shifts", state, None, 0, 2)[0]
    assert torch.equal(with_operator("shifts", torch.tensor([1, 2]), None, 0, 2)[0], inside)
