"""The first phase of an augmented conversion: the value channel of a cropped, resized and flipped image, and its range.

Each pixel of the plane is computed from the raw image: four of its pixels a channel, which the first cache holds, since
neighbours share them. The augmented image exists nowhere else. The second phase is that of every conversion.
"""

import triton
import triton.language as tl

from .measure import channel_max
from .pixels import PAD, arithmetic, clamp, rounded, share, tile_at

# A box is no larger than float32 can count, and no farther away than int32 can add to.
_LONGEST = tl.constexpr(2**24)
_FARTHEST = tl.constexpr(2**30)


@triton.jit
def augment(
    images,  # pixel (0, 0) of one image
    plane,  # pixel (0, 0) of the plane of its augmented version
    box,  # (top, left, height, width), or None for all of the image
    mirrored,  # whether it is, or None for no
    part,
    programs,
    channels,  # their number, or None where CHANNELS is
    image_height,
    image_width,
    height,  # of the augmented image
    width,
    row_share,  # 1 / height and 1 / width, the bits of a float64
    column_share,
    stride_c,
    stride_y,
    stride_x,
    pitch,
    CHANNELS: tl.constexpr,
    NEAREST: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write one program's share of the value plane; return its range, NaN if a pixel is not finite."""
    double: tl.constexpr = images.dtype.element_ty == tl.float64
    integer: tl.constexpr = NEAREST and images.dtype.element_ty == tl.uint8
    top, left, rows, columns = _box(box, image_height, image_width)
    row_scale, column_scale = _scale(rows, row_share, double), _scale(columns, column_share, double)
    kind: tl.constexpr = tl.int32 if integer else (tl.float64 if double else tl.float32)
    # Neutral for a minimum and a maximum. Levels end at 255.
    low = tl.full((BLOCK_Y, BLOCK_X), 255 if integer else float("inf"), dtype=kind)
    high = tl.full((BLOCK_Y, BLOCK_X), 0 if integer else float("-inf"), dtype=kind)
    largest = tl.zeros((BLOCK_Y, BLOCK_X), dtype=kind)
    first, last = share(part, programs, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        value, magnitude = _pixels(
            images, y, x, top, left, rows, columns, row_scale, column_scale, mirrored, channels,
            image_height, image_width, height, width, stride_c, stride_y, stride_x, CHANNELS, NEAREST, INDEX,
        )  # fmt: skip
        tl.store(plane + (y.to(INDEX) * pitch + x), value.to(plane.dtype.element_ty), mask=inside)
        # What sticks out of the plane repeats its border, which is neutral too.
        low = tl.minimum(low, value)
        high = tl.maximum(high, value)
        largest = tl.maximum(largest, magnitude, propagate_nan=tl.PropagateNan.ALL)
    across = width + 2 * PAD  # a row of the frame of repeated pixels, corners included
    for start in range(part * BLOCK_X, 2 * (across + height), programs * BLOCK_X):
        place = start + tl.arange(0, BLOCK_X)
        row = place < 2 * across
        beside = place - 2 * across
        plane_y = tl.where(row, tl.where(place < across, -PAD, height), beside % height)
        plane_x = tl.where(row, place % across - PAD, tl.where(beside < height, -PAD, width))
        value, _magnitude = _pixels(
            images, plane_y, plane_x, top, left, rows, columns, row_scale, column_scale, mirrored, channels,
            image_height, image_width, height, width, stride_c, stride_y, stride_x, CHANNELS, NEAREST, INDEX,
        )  # fmt: skip
        on_frame = place < 2 * (across + height)
        tl.store(plane + (plane_y.to(INDEX) * pitch + plane_x), value.to(plane.dtype.element_ty), mask=on_frame)
    lowest = arithmetic(tl.min(tl.min(low, axis=1), axis=0))
    highest = arithmetic(tl.max(tl.max(high, axis=1), axis=0))
    if not integer:
        finite = tl.min(tl.min((largest < float("inf")).to(tl.int32), axis=1), axis=0)
        lowest = tl.where(finite != 0, lowest, float("nan"))
    return lowest, highest


@triton.jit
def _box(box, image_height, image_width):
    """Top, left, height and width of what is cut out of an image; such that reading it is safe, whatever they are."""
    if box is None:
        return 0, 0, tl.cast(image_height, tl.int32), tl.cast(image_width, tl.int32)
    else:
        top = tl.minimum(tl.maximum(tl.load(box).to(tl.int64), -_FARTHEST), _FARTHEST)
        left = tl.minimum(tl.maximum(tl.load(box + 1).to(tl.int64), -_FARTHEST), _FARTHEST)
        rows = tl.minimum(tl.maximum(tl.load(box + 2).to(tl.int64), 1), _LONGEST)
        columns = tl.minimum(tl.maximum(tl.load(box + 3).to(tl.int64), 1), _LONGEST)
        return top.to(tl.int32), left.to(tl.int32), rows.to(tl.int32), columns.to(tl.int32)


@triton.jit
def _scale(length, size_share, DOUBLE: tl.constexpr):
    """Pixels of a box for each of what it is resized to, as PyTorch rounds them; without a division."""
    scale = length.to(tl.float64) * tl.cast(size_share, tl.int64).to(tl.float64, bitcast=True)
    return scale if DOUBLE else scale.to(tl.float32).to(tl.float64)


@triton.jit
def _source(place, scale, length, NEAREST: tl.constexpr, DOUBLE: tl.constexpr):
    """The pixels of a box before and after a place in what it is resized to, and the way between them.

    In float64, where the product of a float32 with a pixel's number is exact: the place is rounded once, as by a fused
    multiply-add, which PyTorch's own resize is compiled to.
    """
    kind: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    if NEAREST:
        source = (place.to(tl.float64) * scale).to(kind)
    else:
        source = tl.maximum(((place.to(tl.float64) + 0.5) * scale - 0.5).to(kind), 0.0)
    before = tl.minimum(source.to(tl.int32), length - 1)
    after = tl.minimum(before + 1, length - 1)
    return before, after, source - before.to(kind)


@triton.jit
def _pixels(
    images, y, x, top, left, rows, columns, row_scale, column_scale, mirrored, channels,
    image_height, image_width, height, width, stride_c, stride_y, stride_x,
    CHANNELS: tl.constexpr, NEAREST: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """Value channel of augmented pixels, those beyond the border as on it; and the largest magnitude of a channel."""
    double: tl.constexpr = images.dtype.element_ty == tl.float64
    y, x = clamp(y, height), clamp(x, width)
    if mirrored is not None:
        x = tl.where(mirrored, width - 1 - x, x)
    above, below, down = _source(y, row_scale, rows, NEAREST, double)
    before, after, right = _source(x, column_scale, columns, NEAREST, double)
    row_above = clamp(top + above, image_height).to(INDEX) * stride_y
    column_before = clamp(left + before, image_width).to(INDEX) * stride_x
    if NEAREST:
        return channel_max(images + (row_above + column_before), True, channels, stride_c, CHANNELS)
    else:
        row_below = clamp(top + below, image_height).to(INDEX) * stride_y
        column_after = clamp(left + after, image_width).to(INDEX) * stride_x
        above_before, above_after = row_above + column_before, row_above + column_after
        below_before, below_after = row_below + column_before, row_below + column_after
        value = _interpolated(images, above_before, above_after, below_before, below_after, down, right)
        magnitude = tl.abs(value)
        if CHANNELS is not None:
            for _ in tl.static_range(1, CHANNELS):
                images += stride_c
                value, magnitude = _with_channel(
                    value, magnitude, images, above_before, above_after, below_before, below_after, down, right
                )
        else:
            for _ in range(1, channels):
                images += stride_c
                value, magnitude = _with_channel(
                    value, magnitude, images, above_before, above_after, below_before, below_after, down, right
                )
        return value, magnitude


@triton.jit
def _with_channel(value, magnitude, image, above_before, above_after, below_before, below_after, down, right):
    channel = _interpolated(image, above_before, above_after, below_before, below_after, down, right)
    return tl.maximum(value, channel), tl.maximum(magnitude, tl.abs(channel), propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _interpolated(image, above_before, above_after, below_before, below_after, down, right):
    """Between four pixels of a channel: first along the rows, then from one row to the other."""
    above = _between(arithmetic(tl.load(image + above_before)), arithmetic(tl.load(image + above_after)), right)
    below = _between(arithmetic(tl.load(image + below_before)), arithmetic(tl.load(image + below_after)), right)
    return _between(above, below, down)


@triton.jit
def _between(start, end, way):
    """Part of the way from one value to another; the product is rounded before it is added."""
    return start + rounded((end - start) * way)
