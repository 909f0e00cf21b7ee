"""The augmented conversion: two phases, in one launch or two, as :mod:`.convert` says of every conversion."""

import triton
import triton.language as tl

from .augment import augment
from .emit import emit, threshold


@triton.jit
def convert_augmented_kernel(
    images,
    crop,
    flip,
    plane,
    silent,
    shifts,
    ratios,
    ratio,
    out,
    timesteps,
    channels,
    image_height,
    image_width,
    height,
    width,
    row_share,
    column_share,
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
    NEAREST: tl.constexpr,
    PACKED: tl.constexpr,
    WORDS: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
    EMIT_Y: tl.constexpr,
    EMIT_X: tl.constexpr,
):
    """Convert one augmented image per program."""
    b = tl.program_id(0).to(tl.int64)
    plane += b * plane_b
    if WORDS:
        silent += b * plane_b
    if crop is not None:
        crop += 4 * b
    if flip is not None:
        flip = tl.load(flip + b) != 0
    lowest, highest = augment(
        images + b * image_b, plane, crop, flip, 0, 1, channels, image_height, image_width,
        height, width, row_share, column_share, image_c, image_y, image_x, pitch,
        CHANNELS, NEAREST, INDEX, MEASURE_Y, MEASURE_X,
    )  # fmt: skip
    tl.debug_barrier()  # the plane that the other threads wrote is read below
    theta = threshold(lowest, highest, ratios, ratio, b)
    emit(
        out + b * out_b, plane, silent, shifts + b * shifts_b, theta, 0, 1, timesteps, height, width, pitch,
        out_t, out_p, out_y, out_x, PACKED, WORDS, INDEX, EMIT_Y, EMIT_X,
    )  # fmt: skip


@triton.jit
def augment_kernel(
    images,
    crop,
    flip,
    plane,
    ranges,
    programs,
    channels,
    image_height,
    image_width,
    height,
    width,
    row_share,
    column_share,
    image_b,
    image_c,
    image_y,
    image_x,
    plane_b,
    pitch,
    CHANNELS: tl.constexpr,
    NEAREST: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
):
    """Augment one share of one image per program; ``ranges`` ``[B, programs, 2]`` receives its extremes."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    if crop is not None:
        crop += 4 * b
    if flip is not None:
        flip = tl.load(flip + b) != 0
    lowest, highest = augment(
        images + b * image_b, plane + b * plane_b, crop, flip, part, programs, channels,
        image_height, image_width, height, width, row_share, column_share, image_c, image_y, image_x, pitch,
        CHANNELS, NEAREST, INDEX, MEASURE_Y, MEASURE_X,
    )  # fmt: skip
    tl.store(ranges + (b * programs + part) * 2, lowest)
    tl.store(ranges + (b * programs + part) * 2 + 1, highest)
