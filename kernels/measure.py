"""The first phase: an image's value channel, written to its plane, and the range of it."""

import triton
import triton.language as tl

from .pixels import PAD, arithmetic, clamp, comparable, share, tile_at


@triton.jit
def measure(
    images,  # pixel (0, 0) of one image
    plane,  # pixel (0, 0) of its plane
    part,
    programs,
    channels,  # their number, or None where CHANNELS is
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    pitch,
    CHANNELS: tl.constexpr,  # their number where they are read without a loop, or None
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write one program's share of the value plane; return its range, NaN if a pixel is not finite."""
    integer: tl.constexpr = images.dtype.element_ty == tl.uint8
    # Any pixel of the image is neutral for its minimum and maximum.
    corner, _magnitude = channel_max(images, True, channels, stride_c, CHANNELS)
    low = tl.zeros((BLOCK_Y, BLOCK_X), dtype=corner.dtype) + corner
    high = low
    largest = tl.zeros((BLOCK_Y, BLOCK_X), dtype=corner.dtype)
    first, last = share(part, programs, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        pointers = images + (y.to(INDEX) * stride_y + x.to(INDEX) * stride_x)
        value, magnitude = channel_max(pointers, inside, channels, stride_c, CHANNELS)
        tl.store(plane + (y.to(INDEX) * pitch + x), value.to(plane.dtype.element_ty), mask=inside)
        value = tl.where(inside, value, corner)
        low = tl.minimum(low, value)
        high = tl.maximum(high, value)
        largest = tl.maximum(largest, magnitude, propagate_nan=tl.PropagateNan.ALL)
    _measure_border(
        images, plane, part, programs, channels, height, width, stride_c, stride_y, stride_x, pitch,
        CHANNELS, INDEX, BLOCK_X,
    )  # fmt: skip
    lowest = arithmetic(tl.min(tl.min(low, axis=1), axis=0))
    highest = arithmetic(tl.max(tl.max(high, axis=1), axis=0))
    if not integer:
        finite = tl.min(tl.min((largest < float("inf")).to(tl.int32), axis=1), axis=0)
        lowest = tl.where(finite != 0, lowest, float("nan"))
    return lowest, highest


@triton.jit
def _measure_border(
    images,
    plane,
    part,
    programs,
    channels,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    pitch,
    CHANNELS: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write one program's share of the frame of repeated pixels around the plane."""
    across = width + 2 * PAD  # a row of the frame, corners included
    for start in range(part * BLOCK, 2 * (across + height), programs * BLOCK):
        place = start + tl.arange(0, BLOCK)
        row = place < 2 * across
        beside = place - 2 * across
        plane_y = tl.where(row, tl.where(place < across, -PAD, height), beside % height)
        plane_x = tl.where(row, place % across - PAD, tl.where(beside < height, -PAD, width))
        on_frame = place < 2 * (across + height)
        y, x = clamp(plane_y, height).to(INDEX), clamp(plane_x, width).to(INDEX)
        pointers = images + (y * stride_y + x * stride_x)
        value, _magnitude = channel_max(pointers, on_frame, channels, stride_c, CHANNELS)
        tl.store(plane + (plane_y.to(INDEX) * pitch + plane_x), value.to(plane.dtype.element_ty), mask=on_frame)


@triton.jit
def channel_max(pointers, mask, channels, stride_c, CHANNELS: tl.constexpr):
    """Maximum over the channels of pixels, and of their magnitudes, NaN if one is NaN."""
    value = comparable(tl.load(pointers, mask=mask, other=0))
    magnitude = tl.abs(value)
    if CHANNELS is not None:
        for _ in tl.static_range(1, CHANNELS):
            pointers += stride_c
            value, magnitude = _with_channel(value, magnitude, pointers, mask)
    else:
        for _ in range(1, channels):
            pointers += stride_c
            value, magnitude = _with_channel(value, magnitude, pointers, mask)
    return value, magnitude


@triton.jit
def _with_channel(value, magnitude, pointers, mask):
    channel = comparable(tl.load(pointers, mask=mask, other=0))
    return tl.maximum(value, channel), tl.maximum(magnitude, tl.abs(channel), propagate_nan=tl.PropagateNan.ALL)
