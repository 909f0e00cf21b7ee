"""The backward pass of a conversion: gradients for the images and for the ratios. ``docs/gradients.md`` defines them.

The event of a pixel is ``step(u)``, where ``u`` is its change in the direction of the event, minus theta. A *term* is
the gradient for an event, times the derivative of the surrogate at ``u``. The terms are never stored: they are
computed from the plane and from the gradients for the events.

1. ``measure_kernel`` of the forward pass writes the planes, and the ranges of its programs.
2. ``gather_kernel``: each pixel adds up the terms of the pixels whose motion vectors begin or end at it. All terms of
   an image together are the gradient for its theta. Pixels with the largest and with the smallest value are counted.
3. ``write_kernel``: these pixels add their share of the gradient for theta. The gradient for a pixel is divided among
   the channels that have its maximum, and written to the image, or to memory for augmented images.
4. ``transpose_kernel`` (``transpose.py``), for augmented images: each raw pixel adds up its share of the augmented
   pixels that it is part of.

There are no atomic operations, so results are deterministic. ``convert.py`` describes the compile-time constants that
both passes have; ``SURROGATE`` is the name of the surrogate.
"""

import math

import triton
import triton.language as tl

from .augment import augmented_offsets, load_box
from .convert import MAX_PROGRAMS, combine_ranges
from .emit import limited, load_ratio
from .measure import load_channel
from .pixels import arithmetic, clamp, comparable, tile_at, tile_range

_HALF_PI = tl.constexpr(math.pi / 2)


@triton.jit
def gather_kernel(
    planes, shifts, ratios, gradient, ranges_ptr, sums_ptr, out, alpha_bits, programs_per_image,
    ONLY_SUMS: tl.constexpr, SURROGATE: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Write the sums of a part of one image, and the gradient for its values without that of theta.

    ``sums_ptr`` is float64 ``[B, programs_per_image, 3]``: the sum of the terms, and how many values are the largest
    and the smallest. ``out`` are planes, or None with ``ONLY_SUMS``: Triton 3.6 cannot test planes for None.
    """
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    lowest, highest = combine_ranges(ranges_ptr, b, programs_per_image)
    theta = (highest - lowest) * load_ratio(ratios, b, lowest.dtype)
    alpha = tl.cast(alpha_bits, tl.int64).to(tl.float64, bitcast=True)
    plane_ptr = planes.ptr + b * planes.stride_b
    first, last = tile_range(program, programs_per_image, planes.height, planes.width, BLOCK_Y, BLOCK_X)
    total = tl.full((), 0, dtype=tl.float64)
    largest = tl.full((), 0, dtype=tl.int32)
    smallest = tl.full((), 0, dtype=tl.int32)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, planes.height, planes.width, BLOCK_Y, BLOCK_X)
        result, terms = _gather(
            planes, plane_ptr, shifts, gradient, b, theta, alpha, y, x, inside,
            ONLY_SUMS, SURROGATE, OFFSET_DTYPE, BLOCK_Y, BLOCK_X,
        )  # fmt: skip
        total += tl.sum(tl.sum(terms.to(tl.float64), axis=1), axis=0)
        if not ONLY_SUMS:
            tl.store(out.ptr + b * out.stride_b + (y.to(OFFSET_DTYPE) * out.stride_y + x), result, mask=inside)
        value = _load_value(planes, plane_ptr, y, x, inside, OFFSET_DTYPE)
        largest += tl.sum(tl.sum((inside & (value == highest)).to(tl.int32), axis=1), axis=0)
        smallest += tl.sum(tl.sum((inside & (value == lowest)).to(tl.int32), axis=1), axis=0)
    sums_ptr += (b * programs_per_image + program) * 3
    tl.store(sums_ptr, total)
    tl.store(sums_ptr + 1, largest.to(tl.float64))
    tl.store(sums_ptr + 2, smallest.to(tl.float64))


@triton.jit
def write_kernel(
    images, augmentation, planes, ratios, ranges_ptr, sums_ptr, value_gradient, out, ratios_out_ptr, programs_per_image,
    INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Write the gradient for the ratio of one image, and for a part of its pixels.

    ``value_gradient`` are the planes that ``gather_kernel`` wrote. ``out`` has the channels of the images and the size
    of the augmented images. Both are None if only the gradients for the ratios are needed.
    """
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    lowest, highest = combine_ranges(ranges_ptr, b, programs_per_image)
    finite = highest - lowest < float("inf")  # false for NaN
    position = tl.arange(0, MAX_PROGRAMS)
    part_ptr = sums_ptr + (b * programs_per_image + position) * 3
    used = position < programs_per_image
    terms = tl.sum(tl.load(part_ptr, mask=used, other=0), axis=0)
    theta_gradient = tl.where(finite, -terms, 0).to(lowest.dtype)
    if program == 0:
        tl.store(ratios_out_ptr + b, tl.where(finite, theta_gradient * (highest - lowest), 0))
    if out is not None:
        shared = theta_gradient * load_ratio(ratios, b, lowest.dtype)
        share_largest = shared / tl.sum(tl.load(part_ptr + 1, mask=used, other=0), axis=0).to(lowest.dtype)
        share_smallest = shared / tl.sum(tl.load(part_ptr + 2, mask=used, other=0), axis=0).to(lowest.dtype)
        plane_ptr = planes.ptr + b * planes.stride_b
        gradient_ptr = value_gradient.ptr + b * value_gradient.stride_b
        first, last = tile_range(program, programs_per_image, planes.height, planes.width, BLOCK_Y, BLOCK_X)
        for tile in range(first, last):
            y, x, inside = tile_at(tile, planes.height, planes.width, BLOCK_Y, BLOCK_X)
            offset = y.to(OFFSET_DTYPE) * planes.stride_y + x  # both planes have the same layout
            value = comparable(tl.load(plane_ptr + offset, mask=inside, other=0))
            result = tl.load(gradient_ptr + offset, mask=inside, other=0)
            scaled = arithmetic(value)
            result += tl.where(scaled == highest, share_largest, 0) - tl.where(scaled == lowest, share_smallest, 0)
            result = tl.where(finite, result, 0)
            _write_channels(
                images, augmentation, planes, out, b, y, x, inside, value, result, INTERPOLATION, OFFSET_DTYPE
            )  # fmt: skip


@triton.jit
def _load_vector(shift_ptr, planes):
    """Return a motion vector (dy0, dx0, dy1, dx1), clamped to the size of the image."""
    dy0, dx0 = limited(tl.load(shift_ptr), planes.height), limited(tl.load(shift_ptr + 1), planes.width)
    dy1, dx1 = limited(tl.load(shift_ptr + 2), planes.height), limited(tl.load(shift_ptr + 3), planes.width)
    return dy0, dx0, dy1, dx1


@triton.jit
def _load_value(planes, plane_ptr, y, x, mask, OFFSET_DTYPE: tl.constexpr):
    """Load values of a plane; coordinates are clamped to the image."""
    y, x = clamp(y, planes.height), clamp(x, planes.width)
    return arithmetic(tl.load(plane_ptr + (y.to(OFFSET_DTYPE) * planes.stride_y + x), mask=mask, other=0))


@triton.jit
def _terms(
    planes, plane_ptr, gradient, gradient_ptr, dy0, dx0, dy1, dx1, theta, alpha, y, x, mask,
    SURROGATE: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
):  # fmt: skip
    """Return the terms of the ON and of the OFF events of pixels at one timestep, 0 where the mask is false."""
    start = _load_value(planes, plane_ptr, y + dy0, x + dx0, mask, OFFSET_DTYPE)
    end = _load_value(planes, plane_ptr, y + dy1, x + dx1, mask, OFFSET_DTYPE)
    pixel_ptr = gradient_ptr + (y.to(OFFSET_DTYPE) * gradient.stride_y + x.to(OFFSET_DTYPE) * gradient.stride_x)
    on = tl.load(pixel_ptr, mask=mask, other=0).to(theta.dtype)
    off = tl.load(pixel_ptr + gradient.stride_polarity, mask=mask, other=0).to(theta.dtype)
    change = end - start
    return on * _derivative(change - theta, alpha, SURROGATE), off * _derivative(-change - theta, alpha, SURROGATE)


@triton.jit
def _derivative(u, alpha, SURROGATE: tl.constexpr):
    """Return the derivative of a surrogate of ``i2e_triton.Surrogate``."""
    if SURROGATE == "atan":
        scaled = u * (alpha * _HALF_PI).to(u.dtype)
        return (alpha * 0.5).to(u.dtype) / (1 + scaled * scaled)
    elif SURROGATE == "sigmoid":
        e = tl.exp(-tl.abs(u * alpha.to(u.dtype)))
        return alpha.to(u.dtype) * e / ((1 + e) * (1 + e))
    elif SURROGATE == "rect":
        return tl.where(tl.abs(u) < (0.5 / alpha).to(u.dtype), alpha.to(u.dtype), 0)
    else:
        return tl.full(u.shape, 1, dtype=u.dtype)


@triton.jit
def _gather(
    planes, plane_ptr, shifts, gradient, b, theta, alpha, y, x, inside,
    ONLY_SUMS: tl.constexpr, SURROGATE: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Return the gradient for the values of pixels, without that of theta, and the sum of terms.

    The sum is over the terms of the motion vectors that end at a pixel: over all pixels, each term is added once.
    """
    result = tl.zeros((BLOCK_Y, BLOCK_X), dtype=theta.dtype)
    terms = tl.zeros((BLOCK_Y, BLOCK_X), dtype=theta.dtype)
    border_y, border_x = _has_border(y, planes.height), _has_border(x, planes.width)
    gradient_ptr = gradient.ptr + b * gradient.stride_b
    shift_ptr = shifts.ptr + b * shifts.stride_b
    for _ in range(0, shifts.timesteps):
        dy0, dx0, dy1, dx1 = _load_vector(shift_ptr, planes)
        for at_end in range(1 if ONLY_SUMS else 0, 2):
            # The pixels from which the end (or the start) of the motion vector reaches this pixel.
            dy = tl.where(at_end != 0, dy1, dy0)
            dx = tl.where(at_end != 0, dx1, dx0)
            first_y, last_y = _reached_from(y, dy, planes.height)
            first_x, last_x = _reached_from(x, dx, planes.width)
            rows = tl.where(border_y, tl.minimum(tl.abs(dy) + 1, planes.height), 1)
            columns = tl.where(border_x, tl.minimum(tl.abs(dx) + 1, planes.width), 1)
            for i in range(0, rows):
                for j in range(0, columns):
                    from_y, from_x = first_y + i, first_x + j
                    mask = inside & (from_y <= last_y) & (from_x <= last_x)
                    on, off = _terms(
                        planes, plane_ptr, gradient, gradient_ptr, dy0, dx0, dy1, dx1, theta, alpha, from_y, from_x,
                        mask, SURROGATE, OFFSET_DTYPE,
                    )  # fmt: skip
                    result += tl.where(at_end != 0, on - off, off - on)
                    terms += tl.where(at_end != 0, on + off, 0)
        gradient_ptr += gradient.stride_t
        shift_ptr += 4
    return result, terms


@triton.jit
def _has_border(index, size):
    """Return whether the first or the last index of an axis is among these."""
    return tl.max(tl.max(((index == 0) | (index == size - 1)).to(tl.int32), axis=1), axis=0) != 0


@triton.jit
def _reached_from(index, shift, size):
    """Return the first and the last index from which a shift, clamped to the image, reaches ``index``.

    If no index reaches it, first > last. Only an index at the border can be reached from several.
    """
    first = tl.where(index == 0, 0, index - shift)
    last = tl.where(index == size - 1, size - 1, index - shift)
    return tl.maximum(first, 0), tl.minimum(last, size - 1)


@triton.jit
def _write_channels(
    images, augmentation, planes, out, b, y, x, inside, value, result,
    INTERPOLATION: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
):  # fmt: skip
    """Divide the gradient for values among the channels that have the maximum ``value``, and write it."""
    bilinear: tl.constexpr = INTERPOLATION == "bilinear"
    image_ptr = images.ptr + b * images.stride_b
    if INTERPOLATION is None:
        offsets, weights = (y.to(OFFSET_DTYPE) * images.stride_y + x.to(OFFSET_DTYPE) * images.stride_x,), None
    else:
        box = load_box(images, augmentation, b)
        offsets, weights = augmented_offsets(images, box, planes.height, planes.width, y, x, bilinear, OFFSET_DTYPE)
    count = tl.zeros(result.shape, dtype=tl.int32)
    channel_ptr = image_ptr
    for _ in range(0, images.channels):
        count += (load_channel(channel_ptr, offsets, weights, inside, bilinear) == value).to(tl.int32)
        channel_ptr += images.stride_c
    result /= tl.maximum(count, 1).to(result.dtype)  # an image with NaN has no largest channel, and a result of 0
    channel_ptr = image_ptr
    out_ptr = out.ptr + b * out.stride_b + y.to(OFFSET_DTYPE) * out.stride_y + x.to(OFFSET_DTYPE) * out.stride_x
    for _ in range(0, images.channels):
        largest = load_channel(channel_ptr, offsets, weights, inside, bilinear) == value
        tl.store(out_ptr, tl.where(largest, result, 0).to(out.ptr.dtype.element_ty), mask=inside)
        channel_ptr += images.stride_c
        out_ptr += out.stride_c
