"""The fused conversion: value channel, range, threshold and shifted differences of an image in one pass.

An image's threshold needs its whole range before the first event can be written. A program therefore works in two
phases. It *measures*: reads its image once, keeps the value channel as a padded plane and the range in registers. Then
it *emits*: reads every neighbour from the plane, which is still in the cache, and writes the events once.

Where the batch fills the device, one program does both phases of one image: one launch (``convert_kernel``). Where it
does not, an image is shared out over several programs, and its range crosses a second launch (``measure_kernel``,
``emit_kernel``). The phases are the same code in both.

All arithmetic is float32 (float64 for float64 images) and must not be contracted: ``a * s - b * s`` as one fused
multiply-add rounds differently. Every launch passes ``enable_fp_fusion=False``.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

#: The plane repeats the border this far out, so that neighbours within it need no clamping. The paper's reach 1 pixel.
PAD = tl.constexpr(1)
_UINT8_SCALE = tl.constexpr(1 / 255)
_SMALLEST = tl.constexpr(2.0**-149)  # the least positive float32
_SMALLEST_DOUBLE = tl.constexpr(2.0**-1074)
#: An image's range is joined from at most this many programs.
_PARTS = tl.constexpr(512)


@triton.jit
def _comparable(pixel):
    """Widen a stored pixel to a type that orders like it: int32 for uint8, else the arithmetic type."""
    if pixel.dtype == tl.uint8:
        return pixel.to(tl.int32)
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def _arithmetic(pixel):
    """Widen a pixel to the arithmetic type; a grey level is scaled to [0, 1]."""
    if pixel.dtype == tl.uint8 or pixel.dtype == tl.int32:
        return pixel.to(tl.float32) * _UINT8_SCALE
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def _clamp(index, size):
    return tl.minimum(tl.maximum(index, 0), size - 1)


@triton.jit
def _tile(tile, tiles_x, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """Rows ``[BLOCK_Y, 1]`` and columns ``[1, BLOCK_X]`` of a tile."""
    y = (tile // tiles_x) * BLOCK_Y + tl.arange(0, BLOCK_Y)
    x = (tile % tiles_x) * BLOCK_X + tl.arange(0, BLOCK_X)
    return y[:, None], x[None, :]


@triton.jit
def _measure(
    images,  # one image
    plane,
    first,
    last,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    pitch,
    CHANNELS: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write tiles ``first`` to ``last`` of the padded value plane; return their range, NaN if a pixel is not finite."""
    tiles_x = tl.cdiv(width + 2 * PAD, BLOCK_X)
    integer: tl.constexpr = images.dtype.element_ty == tl.uint8
    # Any pixel of the image is a neutral start for its minimum and maximum.
    corner = _comparable(tl.load(images))
    for c in tl.static_range(1, CHANNELS):
        corner = tl.maximum(corner, _comparable(tl.load(images + c * stride_c)))
    low = tl.zeros((BLOCK_Y, BLOCK_X), dtype=corner.dtype) + corner
    high = low
    strange = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
    for tile in range(first, last):
        plane_y, plane_x = _tile(tile, tiles_x, BLOCK_Y, BLOCK_X)
        y = _clamp(plane_y - PAD, height).to(INDEX)
        x = _clamp(plane_x - PAD, width).to(INDEX)
        pointers = images + (y * stride_y + x * stride_x)
        value = _comparable(tl.load(pointers))
        if not integer:
            strange |= (tl.abs(value) < float("inf")).to(tl.int32) ^ 1
        for c in tl.static_range(1, CHANNELS):
            channel = _comparable(tl.load(pointers + c * stride_c))
            if not integer:
                strange |= (tl.abs(channel) < float("inf")).to(tl.int32) ^ 1
            value = tl.maximum(value, channel)
        low = tl.minimum(low, value)
        high = tl.maximum(high, value)
        inside = (plane_y < height + 2 * PAD) & (plane_x < width + 2 * PAD)
        tl.store(plane + (plane_y.to(INDEX) * pitch + plane_x), value.to(plane.dtype.element_ty), mask=inside)
    lowest = _arithmetic(tl.min(tl.min(low, axis=1), axis=0))
    highest = _arithmetic(tl.max(tl.max(high, axis=1), axis=0))
    if not integer:
        lowest = tl.where(tl.max(tl.max(strange, axis=1), axis=0) > 0, float("nan"), lowest)
    return lowest, highest


@triton.jit
def _threshold(lowest, highest, ratios, ratio, b):
    """Theta of image ``b``; the least positive number in place of 0, since a difference of 0 never is an event."""
    if ratios is not None:
        ratio = tl.load(ratios + b)
    theta = (highest - lowest) * ratio
    if lowest.dtype == tl.float64:
        return tl.where(theta <= 0, _SMALLEST_DOUBLE, theta)
    else:
        return tl.where(theta <= 0, _SMALLEST, theta)


@triton.jit
def _neighbour(plane, y, x, dy, dx, inside, height, width, pitch, INDEX: tl.constexpr):
    """Values at ``(y + dy, x + dx)``, clamped to the image."""
    if (tl.abs(dy) <= PAD) & (tl.abs(dx) <= PAD):
        pixel = tl.load(plane + (dy * pitch + dx) + ((y + PAD).to(INDEX) * pitch + (x + PAD)), mask=inside, other=0)
    else:
        row = _clamp(y + dy, height).to(INDEX) + PAD
        column = _clamp(x + dx, width) + PAD
        pixel = tl.load(plane + (row * pitch + column), mask=inside, other=0)
    return _arithmetic(pixel)


@triton.jit
def _emit(
    out,  # the events of one image
    plane,
    shifts,  # the microsaccade of one image
    theta,
    first,
    last,
    timesteps,
    height,
    width,
    pitch,
    stride_t,
    stride_p,
    stride_y,
    stride_x,
    PACKED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write the events of tiles ``first`` to ``last``."""
    tiles_x = tl.cdiv(width, BLOCK_X)
    one = tl.full((BLOCK_Y, BLOCK_X), 1, dtype=out.dtype.element_ty)
    zero = tl.full((BLOCK_Y, BLOCK_X), 0, dtype=out.dtype.element_ty)
    for tile in range(first, last):
        y, x = _tile(tile, tiles_x, BLOCK_Y, BLOCK_X)
        inside = (y < height) & (x < width)
        target = out + (y.to(INDEX) * stride_y + x.to(INDEX) * stride_x)
        on_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        off_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        for t in range(0, timesteps):
            dy0 = _shift(shifts + 4 * t, height)
            dx0 = _shift(shifts + 4 * t + 1, width)
            dy1 = _shift(shifts + 4 * t + 2, height)
            dx1 = _shift(shifts + 4 * t + 3, width)
            before = _neighbour(plane, y, x, dy0, dx0, inside, height, width, pitch, INDEX)
            after = _neighbour(plane, y, x, dy1, dx1, inside, height, width, pitch, INDEX)
            difference = after - before
            on = difference >= theta
            off = difference <= -theta
            if PACKED:
                on_bits |= on.to(tl.int32) << t
                off_bits |= off.to(tl.int32) << t
            else:
                tl.store(target, tl.where(on, one, zero), mask=inside)
                tl.store(target + stride_p, tl.where(off, one, zero), mask=inside)
                target += stride_t
        if PACKED:
            tl.store(target, on_bits.to(tl.uint8), mask=inside)
            tl.store(target + stride_p, off_bits.to(tl.uint8), mask=inside)


@triton.jit
def _shift(pointer, size):
    """Load one component of a motion vector; beyond the image's size it reaches no further than the border."""
    return tl.minimum(tl.maximum(tl.load(pointer), -size), size).to(tl.int32)


@triton.jit
def convert_kernel(
    images,
    plane,
    shifts,
    ratios,
    ratio,
    out,
    timesteps,
    height,
    width,
    image_b,
    image_c,
    image_y,
    image_x,
    plane_b,
    pitch,
    shifts_b,
    out_t,
    out_b,
    out_p,
    out_y,
    out_x,
    CHANNELS: tl.constexpr,
    PACKED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Convert one image per program."""
    b = tl.program_id(0).to(tl.int64)
    plane += b * plane_b
    tiles = tl.cdiv(height + 2 * PAD, BLOCK_Y) * tl.cdiv(width + 2 * PAD, BLOCK_X)
    lowest, highest = _measure(
        images + b * image_b, plane, 0, tiles, height, width, image_c, image_y, image_x, pitch,
        CHANNELS, INDEX, BLOCK_Y, BLOCK_X,
    )  # fmt: skip
    tl.debug_barrier()  # the plane that the other threads wrote is read below
    theta = _threshold(lowest, highest, ratios, ratio, b)
    tiles = tl.cdiv(height, BLOCK_Y) * tl.cdiv(width, BLOCK_X)
    _emit(
        out + b * out_b, plane, shifts + b * shifts_b, theta, 0, tiles, timesteps, height, width, pitch,
        out_t, out_p, out_y, out_x, PACKED, INDEX, BLOCK_Y, BLOCK_X,
    )  # fmt: skip


@triton.jit
def measure_kernel(
    images,
    plane,
    ranges,
    programs,
    height,
    width,
    image_b,
    image_c,
    image_y,
    image_x,
    plane_b,
    pitch,
    CHANNELS: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Measure one share of one image per program; ``ranges`` ``[B, programs, 2]`` receives its extremes."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    tiles = tl.cdiv(height + 2 * PAD, BLOCK_Y) * tl.cdiv(width + 2 * PAD, BLOCK_X)
    share = tl.cdiv(tiles, programs)
    lowest, highest = _measure(
        images + b * image_b, plane + b * plane_b, part * share, tl.minimum((part + 1) * share, tiles),
        height, width, image_c, image_y, image_x, pitch, CHANNELS, INDEX, BLOCK_Y, BLOCK_X,
    )  # fmt: skip
    tl.store(ranges + (b * programs + part) * 2, lowest)
    tl.store(ranges + (b * programs + part) * 2 + 1, highest)


@triton.jit
def emit_kernel(
    plane,
    ranges,
    shifts,
    ratios,
    ratio,
    out,
    programs,
    timesteps,
    height,
    width,
    plane_b,
    pitch,
    shifts_b,
    out_t,
    out_b,
    out_p,
    out_y,
    out_x,
    PACKED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write the events of one share of one image per program, from the ranges of all shares."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    parts = tl.arange(0, _PARTS)
    # Programs beyond the last repeat the first: neutral for a minimum and a maximum.
    pointers = ranges + (b * programs + tl.where(parts < programs, parts, 0)) * 2
    low, high = tl.load(pointers), tl.load(pointers + 1)
    lowest = tl.where(tl.max((low != low).to(tl.int32), axis=0) > 0, float("nan"), tl.min(low, axis=0))
    theta = _threshold(lowest, tl.max(high, axis=0), ratios, ratio, b)
    tiles = tl.cdiv(height, BLOCK_Y) * tl.cdiv(width, BLOCK_X)
    share = tl.cdiv(tiles, programs)
    _emit(
        out + b * out_b, plane + b * plane_b, shifts + b * shifts_b, theta,
        part * share, tl.minimum((part + 1) * share, tiles), timesteps, height, width, pitch,
        out_t, out_p, out_y, out_x, PACKED, INDEX, BLOCK_Y, BLOCK_X,
    )  # fmt: skip


def convert_into(
    out: Tensor, images: Tensor, shifts: Tensor, ratios: Tensor | None, ratio: float, *, packed: bool
) -> None:
    """Write the events of images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]`` of any type, or packed ``[B, 2, H, W]`` uint8; any strides.
        images: ``[B, C, H, W]``; any strides.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``, a signed integer type.
        ratios: one per image ``[B]``, or None for ``ratio`` everywhere.
        ratio: sensitivity of the threshold where ``ratios`` is None.
        packed: whether ``out`` is packed.
    """
    if out.numel() == 0:
        return
    batch, channels, height, width = images.shape
    double = images.dtype == torch.float64
    if double and ratios is None:
        # A number would reach Triton as float32.
        ratios = torch.full((batch,), ratio, dtype=torch.float64, device=images.device)
    if out.dtype == torch.bool:
        out = out.view(torch.uint8)
    shifts = shifts.contiguous()
    sizes = block_sizes(height, width)
    pitch = -(-(width + 2 * PAD.value) // 16) * 16  # rows of the plane start aligned
    plane = images.new_empty(batch, height + 2 * PAD.value, pitch)
    common: dict[str, Any] = {
        "plane": plane,
        "height": height,
        "width": width,
        "plane_b": plane.stride(0),
        "pitch": pitch,
        "INDEX": tl.int32 if max(_extent(images[0]), _extent(out[0]), plane[0].numel()) < 2**31 else tl.int64,
        **sizes,
        "enable_fp_fusion": False,
    }
    image_b, image_c, image_y, image_x = images.stride()
    measure = {"images": images, "image_b": image_b, "image_c": image_c, "image_y": image_y, "image_x": image_x}
    measure["CHANNELS"] = channels
    out_t, out_b, out_p, out_y, out_x = (0, *out.stride()) if packed else out.stride()
    emit = {"out": out, "out_t": out_t, "out_b": out_b, "out_p": out_p, "out_y": out_y, "out_x": out_x}
    emit |= {"shifts": shifts, "shifts_b": shifts.stride(0) if shifts.dim() == 3 else 0, "timesteps": shifts.shape[-2]}
    emit |= {"ratios": ratios, "ratio": ratio, "PACKED": packed}
    tiles = triton.cdiv(height, sizes["BLOCK_Y"]) * triton.cdiv(width, sizes["BLOCK_X"])
    programs = programs_per_image(batch, tiles, _multiprocessors(images.device))
    with torch.cuda.device(images.device) if images.is_cuda else contextlib.nullcontext():
        if programs == 1:
            convert_kernel[(batch,)](**common, **measure, **emit)
        else:
            dtype = torch.float64 if double else torch.float32
            ranges = torch.empty(batch, programs, 2, dtype=dtype, device=images.device)
            measure_kernel[(batch * programs,)](ranges=ranges, programs=programs, **common, **measure)
            emit_kernel[(batch * programs,)](ranges=ranges, programs=programs, **common, **emit)


def block_sizes(height: int, width: int) -> dict[str, int]:
    """Choose the tile and the warps of a program: 4 pixels a thread, beside each other, and few of them idle."""
    columns = min((128, 64, 32), key=lambda size: (-(-width // size) * size, -size))
    warps = 16 if height * width > 64 * 64 else 4
    return {"BLOCK_Y": warps * 32 * 4 // columns, "BLOCK_X": columns, "num_warps": warps}


def programs_per_image(batch: int, tiles: int, multiprocessors: int) -> int:
    """Choose over how many programs an image is shared out: 1 where the batch alone nearly fills the device."""
    if tiles <= 2 or batch * 4 >= multiprocessors * 3:
        return 1
    return max(1, min(tiles, 2 * multiprocessors // batch, _PARTS.value))


def _extent(image: Tensor) -> int:
    """Elements that the offsets within one image span."""
    return 1 + sum((size - 1) * stride for size, stride in zip(image.shape, image.stride()))


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
