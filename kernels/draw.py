"""Random draws with Philox 4x32-10, each in one launch: random words, crop boxes and flips, motion vectors.

``ops/draw.py`` describes the random numbers. A launch has one program, which loops over the images: with several
programs, one could read the call number after another has increased it.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from . import launch
from .plan import Launch, Layout, Pointer, Workspace

# Coefficients of the polynomial that approximates exp(x), the highest power first, as in ops/draw_cpu.py.
_EXP = tl.constexpr(tuple(1 / math.factorial(power) for power in range(10, -1, -1)))
_COEFFICIENTS = tl.constexpr(11)
_WARPS = 8
_IMAGES = 256  # per step of the loop: one per thread


@triton.jit
def _load_state(state_ptr, seed_offset):
    """Return the key and the call number."""
    return tl.load(state_ptr) + seed_offset, tl.load(state_ptr + 1)


@triton.jit
def _increase(state_ptr, call_number):
    """Write the number of the next call."""
    tl.debug_barrier()  # all threads have read the call number
    tl.store(state_ptr + 1, call_number + 1)


@triton.jit
def _rows(rows_ptr, image, mask):
    """Return the row numbers of images, int64."""
    if rows_ptr is None:
        return image.to(tl.int64)
    else:
        return tl.load(rows_ptr + image, mask=mask, other=0)


@triton.jit
def _words(key, call_number, row, block):
    """Return the four words of one block in the random streams of rows, uint32."""
    word3 = ((call_number >> 32) << 16) | block  # ops/draw.py describes the counter of four words
    return tl.philox(
        key,
        row.to(tl.uint32),
        (row >> 32).to(tl.uint32),
        call_number.to(tl.uint32),
        tl.cast(word3, tl.int64).to(tl.uint32),
    )


@triton.jit
def _below(word, count):
    """Return uniform integers from 0 to ``count - 1``."""
    return ((word.to(tl.int64) * count) >> 32).to(tl.int32)


@triton.jit
def _store_crop(crop_ptr, image, mask, top, left, height, width):
    ptr = crop_ptr + 4 * image
    tl.store(ptr, top, mask=mask)
    tl.store(ptr + 1, left, mask=mask)
    tl.store(ptr + 2, height, mask=mask)
    tl.store(ptr + 3, width, mask=mask)


@triton.jit
def words_kernel(state_ptr, rows_ptr, seed_offset, batch, out_ptr, first_block, blocks, IMAGES: tl.constexpr):
    """Draw ``blocks`` blocks of words for each image, from block ``first_block`` on."""
    key, call_number = _load_state(state_ptr, seed_offset)
    for start in range(0, batch, IMAGES):
        image = start + tl.arange(0, IMAGES)
        mask = image < batch
        row = _rows(rows_ptr, image, mask)
        for block in range(0, blocks):
            ptr = out_ptr + 4 * (image.to(tl.int64) * blocks + block)
            a, b, c, d = _words(key, call_number, row, first_block + block)
            tl.store(ptr, a.to(tl.int64), mask=mask)
            tl.store(ptr + 1, b.to(tl.int64), mask=mask)
            tl.store(ptr + 2, c.to(tl.int64), mask=mask)
            tl.store(ptr + 3, d.to(tl.int64), mask=mask)
    _increase(state_ptr, call_number)


@triton.jit
def crop_kernel(
    state_ptr,
    rows_ptr,
    seed_offset,
    batch,
    crop_ptr,
    flip_ptr,
    height,  # of the images
    width,
    flip_threshold,
    box_height,
    box_width,
    padding,
    IMAGES: tl.constexpr,
):
    """Draw boxes of fixed size, and flips."""
    key, call_number = _load_state(state_ptr, seed_offset)
    for start in range(0, batch, IMAGES):
        image = start + tl.arange(0, IMAGES)
        mask = image < batch
        flip, y, x, _ = _words(key, call_number, _rows(rows_ptr, image, mask), 0)
        top = _below(y, height + 2 * padding - box_height + 1) - padding
        left = _below(x, width + 2 * padding - box_width + 1) - padding
        _store_crop(crop_ptr, image, mask, top, left, box_height, box_width)
        tl.store(flip_ptr + image, flip.to(tl.int64) < flip_threshold, mask=mask)
    _increase(state_ptr, call_number)


@triton.jit
def resized_crop_kernel(
    state_ptr,
    rows_ptr,
    seed_offset,
    batch,
    crop_ptr,
    flip_ptr,
    height,  # of the images
    width,
    flip_threshold,
    smallest_area,  # these four are float64, passed as their bits; ResizedBox in ops/draw_cpu.py explains them
    area_step,
    smallest_log_ratio,
    log_ratio_step,
    centre_height,
    centre_width,
    TRIES: tl.constexpr,
    IMAGES: tl.constexpr,
):
    """Draw boxes of random area and aspect ratio, and flips."""
    key, call_number = _load_state(state_ptr, seed_offset)
    for start in range(0, batch, IMAGES):
        image = start + tl.arange(0, IMAGES)
        mask = image < batch
        row = _rows(rows_ptr, image, mask)
        flip, y, x, _ = _words(key, call_number, row, 0)
        found = image < 0  # False for all images
        box_height = tl.zeros([IMAGES], tl.int64) + centre_height
        box_width = tl.zeros([IMAGES], tl.int64) + centre_width
        for block in tl.static_range(TRIES // 2):  # two of the four words of a block for each try
            words = _words(key, call_number, row, 1 + block)
            for i in tl.static_range(0, 4, 2):
                side = tl.sqrt(_float64_number(words[i], area_step, smallest_area))
                log_ratio = _float64_number(words[i + 1], log_ratio_step, smallest_log_ratio)
                try_height, try_width = _rounded(side * _exp8(-log_ratio)), _rounded(side * _exp8(log_ratio))
                fits = (try_height > 0) & (try_height <= height) & (try_width > 0) & (try_width <= width) & ~found
                box_height, box_width = tl.where(fits, try_height, box_height), tl.where(fits, try_width, box_width)
                found |= fits
        top = tl.where(found, _below(y, height - box_height + 1), (height - centre_height) // 2)
        left = tl.where(found, _below(x, width - box_width + 1), (width - centre_width) // 2)
        _store_crop(crop_ptr, image, mask, top, left, box_height, box_width)
        tl.store(flip_ptr + image, flip.to(tl.int64) < flip_threshold, mask=mask)
    _increase(state_ptr, call_number)


@triton.jit
def _float64_number(word, step, smallest):
    """Return ``word * step + smallest`` in float64; step and smallest are passed as their bits."""
    return word.to(tl.float64) * _float64(step) + _float64(smallest)


@triton.jit
def _float64(bits):
    return tl.cast(bits, tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def _exp8(x):
    """Return ``exp(8 * x)`` for small x: a polynomial for exp(x), squared three times.

    It uses products and sums only, which every device rounds alike.
    """
    power = x * _EXP[0] + _EXP[1]
    for i in tl.static_range(2, _COEFFICIENTS):
        power = power * x + _EXP[i]
    for _ in tl.static_range(3):
        power = power * power
    return power


@triton.jit
def _rounded(length):
    return (length + 0.5).to(tl.int64)


@triton.jit
def shifts_kernel(
    state_ptr,
    rows_ptr,
    seed_offset,
    batch,
    candidates_ptr,  # [COUNT, T, 4]
    out_ptr,  # [B, T, 4]
    first_block,
    COUNT: tl.constexpr,
    TIMESTEPS: tl.constexpr,
    IMAGES: tl.constexpr,
):
    """Draw one candidate motion vector for each timestep. The random words are those from ``first_block`` on."""
    key, call_number = _load_state(state_ptr, seed_offset)
    component = tl.arange(0, 4)[None, :]
    for start in range(0, batch, IMAGES):
        image = start + tl.arange(0, IMAGES)
        mask = image < batch
        row = _rows(rows_ptr, image, mask)
        for t in tl.static_range(TIMESTEPS):
            if t % 4 == 0:
                words = _words(key, call_number, row, first_block + t // 4)
            vector = _below(words[t % 4], COUNT) * TIMESTEPS + t
            values = tl.load(candidates_ptr + 4 * vector[:, None] + component)
            out = image.to(tl.int64) * TIMESTEPS + t
            tl.store(out_ptr + 4 * out[:, None] + component, values, mask=mask[:, None])
    _increase(state_ptr, call_number)


_KERNELS = {"words": words_kernel, "crop": crop_kernel, "resized_crop": resized_crop_kernel, "shifts": shifts_kernel}


def run(name: str, tensors: dict[str, Tensor], rows: Tensor | None, numbers: dict[str, int | float]) -> None:
    """Launch a kernel on the device of the state. Floats are passed as bits: Triton would round them to float32."""
    given = {**tensors, "rows_ptr": None if rows is None else rows.contiguous()}
    launch.run(_launches, tensors["state_ptr"].device, given, 0.0, name, tuple(numbers.items()))


def _launches(
    layouts: dict[str, Layout], name: str, numbers: tuple[tuple[str, Any], ...], _multiprocessors: int, _warp_size: int
) -> tuple[list[Launch], Workspace]:
    """Return the launch for a plan; ``name`` and ``numbers`` are the arguments of :func:`run`."""
    given = {
        "rows_ptr": None,
        "IMAGES": _IMAGES,
        "num_warps": _WARPS,
        "enable_fp_fusion": False,
        **{key: Pointer.to(key, layout) for key, layout in layouts.items()},
        **{key: _bits(value) if isinstance(value, float) else value for key, value in numbers},
    }
    return [Launch(_KERNELS[name], (1, 1, 1), given)], Workspace()


def _bits(number: float) -> int:
    return struct.unpack("q", struct.pack("d", number))[0]
