"""The operators that draw random numbers: crop boxes and flips, motion vectors, and plain random words.

The random numbers come from Philox 4x32-10 (Salmon et al., SC 2011), which maps a 64-bit key and a 128-bit counter to a
block of four 32-bit words. Here, each image has 65,536 blocks in each call:

* ``state``, int64 ``[2]``, contains the seed and the call number. The operator adds 1 to the call number on the device,
  so that the next call and the next replay of a CUDA graph draw new values. The key is ``seed + seed_offset``.
* Words 0 and 1 of the counter are the row number of the image: ``rows[i]``, or ``i`` without ``rows``. Word 2 is the
  low half of the call number. Word 3 is 16 more bits of the call number, above the 16 bits of the block number.

The CPU, a GPU and Triton's interpreter draw the same integers: the only operations on floating-point numbers are
products, sums and square roots in float64, which every device rounds alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from i2e_triton.ops import draw_cpu
from i2e_triton.ops.draw_cpu import ResizedBox
from i2e_triton.ops.operator import load_kernels
from i2e_triton.shifts import candidate_shifts, copied_to

Size = Sequence[int]
Range = Sequence[float]

#: Number of boxes that torchvision tries before it falls back to the central one.
TRIES = 10
# Block 0 of a stream has the flip, top and left; blocks 1 to 5 have the area and the aspect ratio of each try.
_SHIFTS_BLOCK = 16
#: First block that the operators for boxes and motion vectors do not use.
FIRST_UNUSED_BLOCK = 64

_FIRST = "Tensor(a!) state, Tensor? rows, int seed_offset, SymInt batch"
_library = torch.library.Library("i2e_triton", "FRAGMENT")
for _schema in (
    f"draw_words({_FIRST}, int first, int blocks) -> Tensor",
    f"draw_crop({_FIRST}, SymInt[] size, float flip, int[] box, int padding) -> (Tensor, Tensor)",
    f"draw_resized_crop({_FIRST}, SymInt[] size, float flip, float[] scale, float[] ratio) -> (Tensor, Tensor)",
    f"draw_shifts({_FIRST}, int[] groups) -> Tensor",
):
    _library.define(_schema, tags=torch.Tag.pt2_compliant_tag)


def _words_cuda(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, first: int, blocks: int) -> Tensor:
    kernels, out = _load_kernels(), _words_fake(state, rows, seed_offset, batch, first, blocks)
    numbers = {"seed_offset": seed_offset, "batch": batch, "first_block": first, "blocks": blocks}
    kernels.run("words", {"state_ptr": state, "out_ptr": out}, rows, numbers)
    return out


def _words_fake(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, first: int, blocks: int) -> Tensor:
    return state.new_empty(batch, 4 * blocks)


def _crop_cpu(
    state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, size: Size, flip: float, box: Size, padding: int
) -> tuple[Tensor, Tensor]:
    words = draw_cpu.words(state, rows, seed_offset, batch, first_block=0, blocks=1)
    return draw_cpu.crop(words, size, box, padding), draw_cpu.flips(words, _flip_threshold(flip))


def _crop_cuda(
    state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, size: Size, flip: float, box: Size, padding: int
) -> tuple[Tensor, Tensor]:
    numbers = {"box_height": box[0], "box_width": box[1], "padding": padding}
    return _run_crop("crop", state, rows, seed_offset, batch, size, flip, numbers)


def _run_crop(
    kernel: str,
    state: Tensor,
    rows: Tensor | None,
    seed_offset: int,
    batch: int,
    size: Size,
    flip: float,
    numbers: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    kernels, (crop, flips) = _load_kernels(), _crop_fake(state, rows, seed_offset, batch)
    numbers |= {"seed_offset": seed_offset, "batch": batch, "height": size[0], "width": size[1]}
    numbers["flip_threshold"] = _flip_threshold(flip)
    kernels.run(kernel, {"state_ptr": state, "crop_ptr": crop, "flip_ptr": flips}, rows, numbers)
    return crop, flips


def _resized_crop_cpu(
    state: Tensor,
    rows: Tensor | None,
    seed_offset: int,
    batch: int,
    size: Size,
    flip: float,
    scale: Range,
    ratio: Range,
) -> tuple[Tensor, Tensor]:
    words = draw_cpu.words(state, rows, seed_offset, batch, first_block=0, blocks=1 + TRIES // 2)
    return draw_cpu.resized_crop(words, size, _resized_box(size, scale, ratio)), draw_cpu.flips(
        words, _flip_threshold(flip)
    )


def _resized_crop_cuda(
    state: Tensor,
    rows: Tensor | None,
    seed_offset: int,
    batch: int,
    size: Size,
    flip: float,
    scale: Range,
    ratio: Range,
) -> tuple[Tensor, Tensor]:
    numbers = {**_resized_box(size, scale, ratio)._asdict(), "TRIES": TRIES}
    return _run_crop("resized_crop", state, rows, seed_offset, batch, size, flip, numbers)


def _crop_fake(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, *_: Any) -> tuple[Tensor, Tensor]:
    return state.new_empty(batch, 4, dtype=torch.int32), state.new_empty(batch, dtype=torch.bool)


def _shifts_cpu(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, groups: Size) -> Tensor:
    words = draw_cpu.words(state, rows, seed_offset, batch, _SHIFTS_BLOCK, -(-len(groups) // 4))
    return draw_cpu.shifts(words, _candidates_on(state.device, tuple(groups)))


def _shifts_cuda(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, groups: Size) -> Tensor:
    kernels, candidates = _load_kernels(), _candidates_on(state.device, tuple(groups))
    out = _shifts_fake(state, rows, seed_offset, batch, groups)
    numbers = {"seed_offset": seed_offset, "batch": batch, "first_block": _SHIFTS_BLOCK}
    numbers |= {"COUNT": candidates.shape[0], "TIMESTEPS": len(groups)}
    kernels.run("shifts", {"state_ptr": state, "candidates_ptr": candidates, "out_ptr": out}, rows, numbers)
    return out


def _shifts_fake(state: Tensor, rows: Tensor | None, seed_offset: int, batch: int, groups: Size) -> Tensor:
    return state.new_empty(batch, len(groups), 4, dtype=torch.int32)


@cache
def _candidates_on(device: torch.device, groups: tuple[int, ...]) -> Tensor:
    """Return :func:`candidate_shifts` on a device. Only the first call copies them there."""
    return copied_to(candidate_shifts(groups, len(groups), device="cpu"), device)


def _flip_threshold(probability: float) -> int:
    """Return the number below which a 32-bit word lies with this probability."""
    return round(probability * 2**32)


def _resized_box(size: Size, scale: Range, ratio: Range) -> ResizedBox:
    """Return the arguments of boxes with an area of ``scale`` times the image and an aspect ratio of ``ratio``."""
    height, width = size
    smallest, largest = (area * (height * width) for area in scale)
    smallest_log_ratio, largest_log_ratio = (math.log(aspect) / 16 for aspect in ratio)
    if width / height < ratio[0]:
        centre = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        centre = height, round(height * ratio[1])
    else:
        centre = height, width
    steps = (largest - smallest) / 2**32, (largest_log_ratio - smallest_log_ratio) / 2**32
    return ResizedBox(smallest, steps[0], smallest_log_ratio, steps[1], *centre)


@cache
def _load_kernels() -> ModuleType:
    """Import and return ``kernels/draw.py``. See :func:`i2e_triton.ops.operator.load_kernels` for errors."""
    load_kernels()
    from i2e_triton.kernels import draw

    return draw


#: The implementations for CUDA tensors, by operator.
CUDA_IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {
    "draw_words": _words_cuda,
    "draw_crop": _crop_cuda,
    "draw_resized_crop": _resized_crop_cuda,
    "draw_shifts": _shifts_cuda,
}
for _name, _cpu, _fake in (
    ("draw_words", draw_cpu.words, _words_fake),
    ("draw_crop", _crop_cpu, _crop_fake),
    ("draw_resized_crop", _resized_crop_cpu, _crop_fake),
    ("draw_shifts", _shifts_cpu, _shifts_fake),
):
    _library.impl(_name, _cpu, "CPU")
    _library.impl(_name, CUDA_IMPLEMENTATIONS[_name], "CUDA")
    torch.library.register_fake(f"i2e_triton::{_name}", _fake, lib=_library)
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")
