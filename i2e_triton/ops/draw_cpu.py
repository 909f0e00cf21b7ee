"""The draws of ``ops/draw.py`` on the CPU. They equal those of ``kernels/draw.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Coefficients of the polynomial that approximates exp(x), the highest power first, as in kernels/draw.py.
EXP_COEFFICIENTS = tuple(1 / math.factorial(power) for power in range(10, -1, -1))
_UINT32 = 2**32 - 1
_ROUNDS = 10
_NEXT_CALL = torch.tensor([0, 1], device="cpu")
#: Up to this number of blocks, Python's integers are faster: 5 us for each block on one EPYC core. Tensors take 300 us.
_FEW_BLOCKS = 48


class ResizedBox(NamedTuple):
    """Boxes of random area and aspect ratio: both numbers are ``word * step + smallest``."""

    smallest_area: float  # in pixels
    area_step: float
    smallest_log_ratio: float  # logarithm of the aspect ratio, divided by 16
    log_ratio_step: float
    centre_height: int  # the central box, which is used if no try fits into the image
    centre_width: int


def words(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, first_block: int, blocks: int) -> Tensor:
    """Return the words of some blocks in the random stream of each image, and add 1 to the call number.

    Returns:
        int64 tensor ``[B, 4 * blocks]`` of 32-bit numbers.
    """
    key, call_number = state.tolist()
    state.add_(_NEXT_CALL)
    key += seed_offset
    if batch * blocks <= _FEW_BLOCKS:
        numbers = range(batch) if rows is None else rows.tolist()
        drawn = [
            philox(key, call_number, row, block)
            for row in numbers
            for block in range(first_block, first_block + blocks)
        ]
        words = torch.tensor(drawn, dtype=torch.int64, device="cpu")
    else:
        rows = torch.arange(batch, device="cpu") if rows is None else rows
        block = torch.arange(first_block, first_block + blocks, device="cpu")
        words = torch.stack(philox(key, call_number, *torch.broadcast_tensors(rows[:, None], block)), dim=2)
    return words.view(batch, 4 * blocks)


def philox(key: int, call_number: int, row: Any, block: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four words of a block, by Philox 4x32-10 (Salmon et al., SC 2011).

    Row and block are Python integers, or int64 tensors of one shape. A product wraps around in int64; its bits are
    those of the product in uint64.
    """
    key0, key1 = key & _UINT32, key >> 32 & _UINT32
    word0, word1, word2 = row & _UINT32, row >> 32 & _UINT32, call_number & _UINT32
    word3 = (call_number >> 32 << 16 | block) & _UINT32
    for _ in range(_ROUNDS):
        product0, product2 = word0 * 0xD2511F53, word2 * 0xCD9E8D57
        word0, word1 = product2 >> 32 & _UINT32 ^ word1 ^ key0, product2 & _UINT32
        word2, word3 = product0 >> 32 & _UINT32 ^ word3 ^ key1, product0 & _UINT32
        key0, key1 = key0 + 0x9E3779B9 & _UINT32, key1 + 0xBB67AE85 & _UINT32
    return word0, word1, word2, word3


def flips(words: Tensor, flip_threshold: int) -> Tensor:
    """Return bool ``[B]`` from word 0."""
    return words[:, 0] < flip_threshold


def crop(words: Tensor, size: Sequence[int], box: Sequence[int], padding: int) -> Tensor:
    """Return boxes of fixed size, int32 ``[B, 4]``, from words 1 and 2."""
    free = [length + 2 * padding - side + 1 for length, side in zip(size, box)]
    boxes = torch.tensor([-padding, -padding, *box], dtype=torch.int32, device="cpu").repeat(len(words), 1)
    boxes[:, :2] += below(words[:, 1:3], torch.tensor(free, device="cpu"))
    return boxes


def resized_crop(words: Tensor, size: Sequence[int], box: ResizedBox) -> Tensor:
    """Return boxes of random area and aspect ratio, int32 ``[B, 4]``, from words 1, 2 and those from 4 on."""
    image, centre = torch.tensor([size, (box.centre_height, box.centre_width)], device="cpu")
    areas, logs = words[:, 4:].to(torch.float64).unflatten(1, (-1, 2)).unbind(2)
    logs = logs * box.log_ratio_step + box.smallest_log_ratio
    sides = square_roots(areas * box.area_step + box.smallest_area)
    tries = exp(torch.stack([-logs, logs], dim=2)).mul_(sides[..., None]).add_(0.5).long()  # [B, tries, 2]
    found, first = ((tries > 0) & (tries <= image)).all(2).max(1, keepdim=True)
    lengths = torch.where(found, tries.gather(1, first[..., None].expand(-1, 1, 2))[:, 0], centre)
    corners = torch.where(found, below(words[:, 1:3], image - lengths + 1), (image - centre) // 2)
    return torch.cat([corners, lengths], dim=1).to(torch.int32)


def square_roots(numbers: Tensor) -> Tensor:
    """Return correctly rounded square roots of float64. With MKL, ``torch.sqrt`` rounds 1 % of them incorrectly."""
    roots = [math.sqrt(number) for number in numbers.flatten().tolist()]
    return torch.tensor(roots, dtype=torch.float64, device="cpu").view(numbers.shape)


def exp(logs: Tensor) -> Tensor:
    """Return ``exp(8 * logs)`` with products and sums only, which every device rounds alike."""
    power = logs * EXP_COEFFICIENTS[0] + EXP_COEFFICIENTS[1]
    for coefficient in EXP_COEFFICIENTS[2:]:
        power.mul_(logs).add_(coefficient)
    return power.square_().square_().square_()


def shifts(words: Tensor, candidates: Tensor) -> Tensor:
    """Return motion vectors, int32 ``[B, T, 4]``, from the first T words; candidates are ``[N, T, 4]``."""
    count, timesteps, _ = candidates.shape
    drawn = below(words[:, :timesteps], count)
    return candidates.gather(0, drawn[..., None].expand(-1, -1, 4))


def below(words: Tensor, count: Tensor | int) -> Tensor:
    """Return uniform integers from 0 to ``count - 1``."""
    return words * count >> 32
