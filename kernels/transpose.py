"""The last launch of the backward pass of augmented images (see ``backward.py``): gradients for the raw images."""

import triton
import triton.language as tl

from .augment import load_box, source_pixels
from .pixels import clamp, tile_at, tile_range


@triton.jit
def transpose_kernel(
    images, augmentation, gradient, out, programs_per_image,
    INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Write the gradient for a part of one raw image, from the ``gradient`` for the augmented image."""
    bilinear: tl.constexpr = INTERPOLATION == "bilinear"
    double: tl.constexpr = images.ptr.dtype.element_ty == tl.float64
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    box = load_box(images, augmentation, b)
    first, last = tile_range(program, programs_per_image, images.height, images.width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, images.height, images.width, BLOCK_Y, BLOCK_X)
        first_y, end_y = _targets(y, box.top, box.scale_y, images.height, gradient.height, bilinear)
        first_x, end_x = _targets(x, box.left, box.scale_x, images.width, gradient.width, bilinear)
        rows = tl.max(tl.max(end_y - first_y, axis=1), axis=0)
        columns = tl.max(tl.max(end_x - first_x, axis=1), axis=0)
        gradient_ptr = gradient.ptr + b * gradient.stride_b
        out_ptr = out.ptr + b * out.stride_b + y.to(OFFSET_DTYPE) * out.stride_y + x.to(OFFSET_DTYPE) * out.stride_x
        for _ in range(0, images.channels):
            result = tl.zeros((BLOCK_Y, BLOCK_X), dtype=gradient.ptr.dtype.element_ty)
            for i in range(0, rows):
                target_y = first_y + i
                weight_y = _share(y, target_y, box.top, box.height, box.scale_y, images.height, bilinear, double)
                for j in range(0, columns):
                    target_x = first_x + j
                    weight_x = _share(x, target_x, box.left, box.width, box.scale_x, images.width, bilinear, double)
                    mask = inside & (target_y < gradient.height) & (target_x < gradient.width)
                    column = tl.where(box.flipped, gradient.width - 1 - target_x, target_x)
                    offset = target_y.to(OFFSET_DTYPE) * gradient.stride_y + column
                    weight = weight_y * weight_x
                    result += tl.load(gradient_ptr + offset, mask=mask & (weight != 0), other=0) * weight
            tl.store(out_ptr, result.to(out.ptr.dtype.element_ty), mask=inside)
            gradient_ptr += gradient.stride_c
            out_ptr += out.stride_c


@triton.jit
def _targets(raw, corner, scale, raw_size, size, BILINEAR: tl.constexpr):
    """Return the first augmented pixel that a raw pixel may be part of, and the one after the last, along one axis."""
    position = (raw - corner).to(tl.float64)
    # Rounding down to whole numbers leaves a margin for the rounding of positions in source_pixels().
    if BILINEAR:
        first, last = (position - 0.5) / scale - 0.5, (position + 1.5) / scale - 0.5
    else:
        first, last = position / scale, (position + 1) / scale
    # Pixels outside of the image repeat its border.
    first = tl.where(raw == 0, 0, tl.minimum(tl.maximum(first, 0), size).to(tl.int32))
    end = tl.where(raw == raw_size - 1, size, tl.minimum(tl.maximum(last + 1, 0), size).to(tl.int32))
    return first, end


@triton.jit
def _share(raw, target, corner, length, scale, raw_size, BILINEAR: tl.constexpr, DOUBLE: tl.constexpr):
    """Return the weight of a raw pixel in an augmented pixel, along one axis."""
    lo, hi, weight = source_pixels(target, scale, length, BILINEAR, DOUBLE)
    is_lo, is_hi = clamp(corner + lo, raw_size) == raw, clamp(corner + hi, raw_size) == raw
    if BILINEAR:
        return tl.where(is_lo, 1 - weight, 0) + tl.where(is_hi, weight, 0)
    else:
        return tl.where(is_lo, 1.0, 0.0).to(weight.dtype)
