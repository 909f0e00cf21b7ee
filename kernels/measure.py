"""The first phase: write an image's value channel to its plane, and return its range.

``convert.py`` describes the compile-time constants.
"""

import triton
import triton.language as tl

from .augment import augmented_offsets, load_box
from .pixels import HALO, arithmetic, clamp, comparable, rounded, tile_at, tile_range


@triton.jit
def measure(
    images,
    augmentation,
    planes,
    b,
    program,
    programs_per_image,
    CHANNELS: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    HALO_BLOCK: tl.constexpr,
):
    """Write one program's part of the plane of image ``b``; return its range, NaN if a pixel is not finite."""
    height, width = planes.height, planes.width
    plane_ptr = planes.ptr + b * planes.stride_b
    image_ptr = images.ptr + b * images.stride_b
    box = None
    if INTERPOLATION is not None:
        box = load_box(images, augmentation, b)
    plane_dtype: tl.constexpr = planes.ptr.dtype.element_ty
    integer: tl.constexpr = plane_dtype == tl.uint8
    dtype: tl.constexpr = tl.int32 if integer else (tl.float64 if plane_dtype == tl.float64 else tl.float32)
    greatest: tl.constexpr = 255 if integer else float("inf")
    least: tl.constexpr = 0 if integer else float("-inf")
    if INTERPOLATION is None:  # replaces masked pixels below, without changing the range
        corner, _magnitude = _channel_max(images, image_ptr, (0,), None, True, CHANNELS, False)
    low = tl.full((BLOCK_Y, BLOCK_X), greatest, dtype=dtype)
    high = tl.full((BLOCK_Y, BLOCK_X), least, dtype=dtype)
    magnitudes = tl.zeros((BLOCK_Y, BLOCK_X), dtype=dtype)
    first, last = tile_range(program, programs_per_image, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        value, magnitude = _value(
            images, image_ptr, box, height, width, y, x, inside, CHANNELS, INTERPOLATION, OFFSET_DTYPE
        )
        tl.store(plane_ptr + (y.to(OFFSET_DTYPE) * planes.stride_y + x), value.to(plane_dtype), mask=inside)
        if INTERPOLATION is None:  # masked loads give 0; augmented images clamp coordinates instead
            value = tl.where(inside, value, corner)
        low = tl.minimum(low, value)
        high = tl.maximum(high, value)
        magnitudes = tl.maximum(magnitudes, magnitude, propagate_nan=tl.PropagateNan.ALL)
    _write_halo(
        images,
        image_ptr,
        box,
        planes,
        plane_ptr,
        program,
        programs_per_image,
        CHANNELS,
        INTERPOLATION,
        OFFSET_DTYPE,
        HALO_BLOCK,
    )
    lowest = arithmetic(tl.min(tl.min(low, axis=1), axis=0))
    highest = arithmetic(tl.max(tl.max(high, axis=1), axis=0))
    if not integer:
        finite = tl.min(tl.min((magnitudes < float("inf")).to(tl.int32), axis=1), axis=0)
        lowest = tl.where(finite != 0, lowest, float("nan"))
    return lowest, highest


@triton.jit
def _write_halo(
    images, image_ptr, box, planes, plane_ptr, program, programs_per_image,
    CHANNELS: tl.constexpr, INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write one program's part of the halo.

    A separate loop, because clamped coordinates in the loop over tiles would make its loads one byte wide.
    """
    height, width = planes.height, planes.width
    row_length = width + 2 * HALO  # corners included
    length = 2 * (row_length + height)
    for start in range(program * BLOCK, length, programs_per_image * BLOCK):
        position = start + tl.arange(0, BLOCK)  # first along the two rows, then along the two columns
        in_row = position < 2 * row_length
        in_column = position - 2 * row_length
        halo_y = tl.where(in_row, tl.where(position < row_length, -HALO, height), in_column % height)
        halo_x = tl.where(in_row, position % row_length - HALO, tl.where(in_column < height, -HALO, width))
        inside = position < length
        y, x = clamp(halo_y, height), clamp(halo_x, width)
        value, _magnitude = _value(
            images, image_ptr, box, height, width, y, x, inside, CHANNELS, INTERPOLATION, OFFSET_DTYPE
        )  # fmt: skip
        pointers = plane_ptr + (halo_y.to(OFFSET_DTYPE) * planes.stride_y + halo_x)
        tl.store(pointers, value.to(planes.ptr.dtype.element_ty), mask=inside)


@triton.jit
def _value(
    images, image_ptr, box, height, width, y, x, mask,
    CHANNELS: tl.constexpr, INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
):  # fmt: skip
    """Return the value channel of pixels, and the largest magnitude of their channels (NaN if a channel is NaN)."""
    bilinear: tl.constexpr = INTERPOLATION == "bilinear"
    if INTERPOLATION is None:
        offsets, weights = (y.to(OFFSET_DTYPE) * images.stride_y + x.to(OFFSET_DTYPE) * images.stride_x,), None
    else:
        offsets, weights = augmented_offsets(images, box, height, width, y, x, bilinear, OFFSET_DTYPE)
        mask = True  # the offsets are clamped
    return _channel_max(images, image_ptr, offsets, weights, mask, CHANNELS, bilinear)


@triton.jit
def _channel_max(
    images, image_ptr, offsets, weights, mask, CHANNELS: tl.constexpr, BILINEAR: tl.constexpr
):  # fmt: skip
    """Return the value channel of the pixels at ``offsets``, and the largest magnitude of their channels."""
    value = load_channel(image_ptr, offsets, weights, mask, BILINEAR)
    magnitude = tl.abs(value)
    if CHANNELS is not None:
        for _ in tl.static_range(1, CHANNELS):
            image_ptr += images.stride_c
            channel = load_channel(image_ptr, offsets, weights, mask, BILINEAR)
            value, magnitude = _with_channel(value, magnitude, channel)
    else:
        for _ in range(1, images.channels):
            image_ptr += images.stride_c
            channel = load_channel(image_ptr, offsets, weights, mask, BILINEAR)
            value, magnitude = _with_channel(value, magnitude, channel)
    return value, magnitude


@triton.jit
def _with_channel(value, magnitude, channel):
    return tl.maximum(value, channel), tl.maximum(magnitude, tl.abs(channel), propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def load_channel(channel_ptr, offsets, weights, mask, BILINEAR: tl.constexpr):
    """Load one channel of pixels, or interpolate it from four raw pixels: first along x, then along y."""
    if BILINEAR:
        top_left = arithmetic(tl.load(channel_ptr + offsets[0]))
        top_right = arithmetic(tl.load(channel_ptr + offsets[1]))
        bottom_left = arithmetic(tl.load(channel_ptr + offsets[2]))
        bottom_right = arithmetic(tl.load(channel_ptr + offsets[3]))
        top = _interpolate(top_left, top_right, weights[1])
        return _interpolate(top, _interpolate(bottom_left, bottom_right, weights[1]), weights[0])
    else:
        return comparable(tl.load(channel_ptr + offsets[0], mask=mask, other=0))


@triton.jit
def _interpolate(lo, hi, weight):
    # Not lo * (1 - weight) + hi * weight: equal neighbours must stay equal to the last bit.
    return lo + rounded((hi - lo) * weight)
