"""The last launch of the backward pass of augmented images (see ``backward.py``): gradients for the raw images."""

import triton
import triton.language as tl

from .augment import augmented_offsets, load_box, source_pixels
from .measure import load_channel
from .pixels import clamp, comparable, tile_at, tile_range


@triton.jit
def transpose_kernel(
    images, augmentation, planes, value_gradient, out, programs_per_image, search_steps,
    INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Write the gradient for a part of one raw image, from the gradient ``value_gradient`` for the augmented image.

    The augmented rows that a raw row is part of follow each other, and so do the columns. Binary searches of
    ``search_steps`` steps find them.
    """
    bilinear: tl.constexpr = INTERPOLATION == "bilinear"
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    box = load_box(images, augmentation, b)
    double: tl.constexpr = images.ptr.dtype.element_ty == tl.float64
    dtype: tl.constexpr = value_gradient.ptr.dtype.element_ty
    plane_ptr = planes.ptr + b * planes.stride_b
    gradient_ptr = value_gradient.ptr + b * value_gradient.stride_b
    first, last = tile_range(program, programs_per_image, images.height, images.width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, images.height, images.width, BLOCK_Y, BLOCK_X)
        first_y, end_y = _targets(
            y, box.top, box.height, box.scale_y, images.height, planes.height, search_steps, bilinear, double
        )  # fmt: skip
        first_x, end_x = _targets(
            x, box.left, box.width, box.scale_x, images.width, planes.width, search_steps, bilinear, double
        )  # fmt: skip
        rows = tl.max(tl.max(end_y - first_y, axis=1), axis=0)
        columns = tl.max(tl.max(end_x - first_x, axis=1), axis=0)
        image_ptr = images.ptr + b * images.stride_b
        out_ptr = out.ptr + b * out.stride_b + y.to(OFFSET_DTYPE) * out.stride_y + x.to(OFFSET_DTYPE) * out.stride_x
        for _ in range(0, images.channels):
            result = tl.zeros((BLOCK_Y, BLOCK_X), dtype=dtype)
            for i in range(0, rows):
                target_y = first_y + i
                weight_y = _share(y, target_y, box.top, box.height, box.scale_y, images.height, bilinear, double)
                for j in range(0, columns):
                    position = first_x + j
                    weight = weight_y * _share(
                        x, position, box.left, box.width, box.scale_x, images.width, bilinear, double
                    )
                    mask = inside & (target_y < end_y) & (position < end_x)
                    target_x = tl.where(box.flipped, planes.width - 1 - position, position)
                    offset = target_y.to(OFFSET_DTYPE) * planes.stride_y + target_x
                    value = comparable(tl.load(plane_ptr + offset, mask=mask, other=0))
                    offsets, weights = augmented_offsets(
                        images, box, planes.height, planes.width, target_y, target_x, bilinear, OFFSET_DTYPE
                    )
                    channel = load_channel(image_ptr, offsets, weights, mask, bilinear)
                    gradient = tl.load(gradient_ptr + offset, mask=mask & (channel == value), other=0)
                    result += gradient * weight
            tl.store(out_ptr, result.to(out.ptr.dtype.element_ty), mask=inside)
            image_ptr += images.stride_c
            out_ptr += out.stride_c


@triton.jit
def _raw_pixels(position, corner, length, scale, size, BILINEAR: tl.constexpr, DOUBLE: tl.constexpr):
    """Return the two raw pixels (for nearest interpolation twice one) of an augmented one, and the second's weight."""
    lo, hi, weight = source_pixels(position, scale, length, BILINEAR, DOUBLE)
    raw_lo = clamp(corner + lo, size)
    if BILINEAR:
        return raw_lo, clamp(corner + hi, size), weight
    else:
        return raw_lo, raw_lo, weight * 0


@triton.jit
def _targets(
    raw, corner, length, scale, raw_size, size, steps, BILINEAR: tl.constexpr, DOUBLE: tl.constexpr
):  # fmt: skip
    """Return the first augmented pixel that a raw pixel is part of, and the one after the last, along one axis."""
    first = _first_target(raw, True, corner, length, scale, raw_size, size, steps, BILINEAR, DOUBLE)
    return first, _first_target(raw, False, corner, length, scale, raw_size, size, steps, BILINEAR, DOUBLE)


@triton.jit
def _first_target(
    raw, REACHED: tl.constexpr, corner, length, scale, raw_size, size, steps,
    BILINEAR: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """Return the first augmented pixel whose raw pixels reach (or, if not REACHED, are all beyond) a raw pixel."""
    low, high = tl.zeros_like(raw), tl.zeros_like(raw) + size
    for _ in range(0, steps):
        middle = (low + high) >> 1
        raw_lo, raw_hi, _weight = _raw_pixels(middle, corner, length, scale, raw_size, BILINEAR, DOUBLE)
        found = (raw_hi >= raw) if REACHED else (raw_lo > raw)
        searching = low < high
        high = tl.where(searching & found, middle, high)
        low = tl.where(searching & ~found, middle + 1, low)
    return low


@triton.jit
def _share(raw, position, corner, length, scale, size, BILINEAR: tl.constexpr, DOUBLE: tl.constexpr):
    """Return the weight of a raw pixel in an augmented pixel, along one axis."""
    raw_lo, raw_hi, weight = _raw_pixels(position, corner, length, scale, size, BILINEAR, DOUBLE)
    return tl.where(raw_lo == raw, 1 - weight, 0) + tl.where(raw_hi == raw, weight, 0)
