"""Map each pixel of an augmented (cropped, resized and flipped) image to the raw pixels that it is computed from.

The augmented image is never stored. The first phase interpolates each of its pixels from four pixels of the raw image,
which neighbouring threads share through the L1 cache.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from .pixels import clamp

_MAX_LENGTH = tl.constexpr(2**24)  # of a side of a box: float32 counts pixels exactly up to this number
_MAX_DISTANCE = tl.constexpr(2**30)  # of a box from the image: sums of int32 coordinates do not overflow


class Box(NamedTuple):
    """The crop box of one image, its scale relative to the augmented image, and whether it is flipped."""

    top: Any
    left: Any
    height: Any
    width: Any
    scale_y: Any  # float64: pixels of the box per pixel of the augmented image
    scale_x: Any
    flipped: Any


@triton.jit
def load_box(images, augmentation, b):
    """Return the box of image ``b``, clamped so that no value leads to a read outside of the image."""
    if augmentation.crop_ptr is None:
        top, left = 0, 0
        height, width = tl.cast(images.height, tl.int32), tl.cast(images.width, tl.int32)
    else:
        box_ptr = augmentation.crop_ptr + 4 * b
        top = tl.minimum(tl.maximum(tl.load(box_ptr).to(tl.int64), -_MAX_DISTANCE), _MAX_DISTANCE).to(tl.int32)
        left = tl.minimum(tl.maximum(tl.load(box_ptr + 1).to(tl.int64), -_MAX_DISTANCE), _MAX_DISTANCE).to(tl.int32)
        height = tl.minimum(tl.maximum(tl.load(box_ptr + 2).to(tl.int64), 1), _MAX_LENGTH).to(tl.int32)
        width = tl.minimum(tl.maximum(tl.load(box_ptr + 3).to(tl.int64), 1), _MAX_LENGTH).to(tl.int32)
    scale_y = _scale(height, augmentation.inverse_height, images.ptr.dtype.element_ty == tl.float64)
    scale_x = _scale(width, augmentation.inverse_width, images.ptr.dtype.element_ty == tl.float64)
    flipped = False
    if augmentation.flip_ptr is not None:
        flipped = tl.load(augmentation.flip_ptr + b) != 0
    return Box(top, left, height, width, scale_y, scale_x, flipped)


@triton.jit
def _scale(length, inverse_size, DOUBLE: tl.constexpr):
    """Return ``length / size``, rounded as PyTorch rounds it, without a division."""
    scale = length.to(tl.float64) * tl.cast(inverse_size, tl.int64).to(tl.float64, bitcast=True)
    return scale if DOUBLE else scale.to(tl.float32).to(tl.float64)


@triton.jit
def source_pixels(position, scale, length, BILINEAR: tl.constexpr, DOUBLE: tl.constexpr):
    """Map positions of the augmented image to the box: return the two pixels around each, and the weight of the second.

    The product of a float32 scale and a pixel index is exact in float64, so the position in the box is rounded only
    once. PyTorch's own resize also rounds it once, in a fused multiply-add.
    """
    dtype: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    if BILINEAR:
        source = tl.maximum(((position.to(tl.float64) + 0.5) * scale - 0.5).to(dtype), 0.0)
    else:
        source = (position.to(tl.float64) * scale).to(dtype)
    lo = tl.minimum(source.to(tl.int32), length - 1)
    hi = tl.minimum(lo + 1, length - 1)
    return lo, hi, source - lo.to(dtype)


@triton.jit
def augmented_offsets(images, box, height, width, y, x, BILINEAR: tl.constexpr, OFFSET_DTYPE: tl.constexpr):
    """Return the offsets of the raw pixels from which pixels of an augmented image are computed, and their weights.

    ``height`` and ``width`` are the size of the augmented image; ``y`` and ``x`` outside of it are clamped.

    Returns:
        Four offsets (top left, top right, bottom left, bottom right), or one for nearest interpolation; and the weights
        of the bottom row and of the right column. Nearest interpolation does not use the weights. They are returned
        because Triton 3.6 cannot return None in a tuple.
    """
    double: tl.constexpr = images.ptr.dtype.element_ty == tl.float64
    y, x = clamp(y, height), clamp(x, width)
    x = tl.where(box.flipped, width - 1 - x, x)
    y_lo, y_hi, weight_y = source_pixels(y, box.scale_y, box.height, BILINEAR, double)
    x_lo, x_hi, weight_x = source_pixels(x, box.scale_x, box.width, BILINEAR, double)
    row_lo = clamp(box.top + y_lo, images.height).to(OFFSET_DTYPE) * images.stride_y
    column_lo = clamp(box.left + x_lo, images.width).to(OFFSET_DTYPE) * images.stride_x
    if BILINEAR:
        row_hi = clamp(box.top + y_hi, images.height).to(OFFSET_DTYPE) * images.stride_y
        column_hi = clamp(box.left + x_hi, images.width).to(OFFSET_DTYPE) * images.stride_x
        offsets = (row_lo + column_lo, row_lo + column_hi, row_hi + column_lo, row_hi + column_hi)
        return offsets, (weight_y, weight_x)
    else:
        return (row_lo + column_lo,), (weight_y, weight_x)
