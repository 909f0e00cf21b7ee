"""The fused kernels, which compute value channel, range, threshold and events without intermediate tensors in PyTorch.

The threshold of an image depends on its range, so no event can be written before the whole image has been read. A
program therefore works in two phases. It *measures*: it reads its image once, writes the value channel to a plane in
device memory and keeps the range in registers. Then it *emits*: it reads every neighbour from the plane, which is still
in the cache, and writes each event once.

If the batch fills the device, one program does both phases of one image, in one launch (``convert_kernel``). Otherwise
several programs share an image, in two launches: ``measure_kernel`` writes the ranges of the programs to memory, and
``emit_kernel`` reads them. Both code paths call the same functions for the phases.

``arguments.py`` describes the tuples of arguments. The compile-time constants are:

- ``CHANNELS``: number of channels to unroll, or None for a loop over ``images.channels``.
- ``INTERPOLATION``: ``"bilinear"`` or ``"nearest"``, or None for images that are not augmented.
- ``PAIRS``: the start and the end of each motion vector, as neighbours of a pixel, numbered from 0 to 8 in reading
  order; or None if the motion vectors are data (``shifts.ptr``).
- ``TIMESTEPS``: number of timesteps to unroll. None without SWAR, if the motion vectors are data.
- ``PACKED``: whether events are packed.
- ``SWAR``: whether to process four grey levels and four events at a time (see ``emit_swar.py``).
- ``OFFSET_DTYPE``: dtype of offsets from the first element of an image, a plane or its events, int32 or int64.
- ``EVICTION``: eviction policy of stores of events, ``""`` or ``"evict_first"``.
- ``MEASURE_BLOCK_Y``, ``MEASURE_BLOCK_X``: rows and columns of a tile of the first phase.
- ``HALO_BLOCK``: pixels of the halo that a program writes at once, one per thread.
- ``EMIT_BLOCK_Y``, ``EMIT_BLOCK_X``: rows and columns of a tile of the second phase. With SWAR, their product is the
  number of words in a block.

Arithmetic is float32 (float64 for float64 images). Every launch passes ``enable_fp_fusion=False``: a fused product and
sum would be rounded differently from the reference.
"""

import triton
import triton.language as tl

from .emit import emit, threshold
from .measure import measure

#: Largest number of programs per image: ``emit_kernel`` combines their ranges in one block.
MAX_PROGRAMS = tl.constexpr(1024)


@triton.jit
def convert_kernel(
    images,
    augmentation,
    planes,
    shifts,
    ratios,
    events,
    CHANNELS: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    PAIRS: tl.constexpr,
    TIMESTEPS: tl.constexpr,
    PACKED: tl.constexpr,
    SWAR: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    EVICTION: tl.constexpr,
    MEASURE_BLOCK_Y: tl.constexpr,
    MEASURE_BLOCK_X: tl.constexpr,
    HALO_BLOCK: tl.constexpr,
    EMIT_BLOCK_Y: tl.constexpr,
    EMIT_BLOCK_X: tl.constexpr,
):
    """Convert one image per program; ``augmentation`` is None for images that are not augmented."""
    b = tl.program_id(0).to(tl.int64)
    lowest, highest = measure(
        images,
        augmentation,
        planes,
        b,
        program=0,
        programs_per_image=1,
        CHANNELS=CHANNELS,
        INTERPOLATION=INTERPOLATION,
        OFFSET_DTYPE=OFFSET_DTYPE,
        BLOCK_Y=MEASURE_BLOCK_Y,
        BLOCK_X=MEASURE_BLOCK_X,
        HALO_BLOCK=HALO_BLOCK,
    )
    tl.debug_barrier()  # other threads wrote part of the plane that is read below
    theta = threshold(lowest, highest, ratios, b)
    emit(
        events,
        planes,
        shifts,
        theta,
        b,
        program=0,
        programs_per_image=1,
        PAIRS=PAIRS,
        TIMESTEPS=TIMESTEPS,
        PACKED=PACKED,
        SWAR=SWAR,
        OFFSET_DTYPE=OFFSET_DTYPE,
        EVICTION=EVICTION,
        BLOCK_Y=EMIT_BLOCK_Y,
        BLOCK_X=EMIT_BLOCK_X,
    )


@triton.jit
def measure_kernel(
    images,
    augmentation,
    planes,
    ranges_ptr,
    programs_per_image,
    CHANNELS: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    MEASURE_BLOCK_Y: tl.constexpr,
    MEASURE_BLOCK_X: tl.constexpr,
    HALO_BLOCK: tl.constexpr,
):
    """Measure a part of one image per program, and write its range to ``ranges_ptr`` ``[B, programs_per_image, 2]``."""
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    lowest, highest = measure(
        images,
        augmentation,
        planes,
        b,
        program,
        programs_per_image,
        CHANNELS,
        INTERPOLATION,
        OFFSET_DTYPE,
        MEASURE_BLOCK_Y,
        MEASURE_BLOCK_X,
        HALO_BLOCK,
    )
    range_ptr = ranges_ptr + (b * programs_per_image + program) * 2
    tl.store(range_ptr, lowest)
    tl.store(range_ptr + 1, highest)


@triton.jit
def combine_ranges(ranges_ptr, b, programs_per_image):
    """Return the range of image ``b``, with NaN as the minimum if a pixel is not finite."""
    position = tl.arange(0, MAX_PROGRAMS)
    # Positions after the last program read the first range again, which does not change the minimum and the maximum.
    range_ptr = ranges_ptr + (b * programs_per_image + tl.where(position < programs_per_image, position, 0)) * 2
    low, high = tl.load(range_ptr), tl.load(range_ptr + 1)
    # measure() returns NaN as the minimum if a pixel is not finite. tl.min ignores NaN.
    no_nan = tl.min((low == low).to(tl.int32), axis=0)
    return tl.where(no_nan != 0, tl.min(low, axis=0), float("nan")), tl.max(high, axis=0)


@triton.jit
def emit_kernel(
    planes,
    shifts,
    ratios,
    events,
    ranges_ptr,
    programs_per_image,
    PAIRS: tl.constexpr,
    TIMESTEPS: tl.constexpr,
    PACKED: tl.constexpr,
    SWAR: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    EVICTION: tl.constexpr,
    EMIT_BLOCK_Y: tl.constexpr,
    EMIT_BLOCK_X: tl.constexpr,
):
    """Combine the ranges of all programs of an image, and write the events of a part of one image per program."""
    b = (tl.program_id(0) // programs_per_image).to(tl.int64)
    program = tl.program_id(0) % programs_per_image
    lowest, highest = combine_ranges(ranges_ptr, b, programs_per_image)
    theta = threshold(lowest, highest, ratios, b)
    emit(
        events,
        planes,
        shifts,
        theta,
        b,
        program,
        programs_per_image,
        PAIRS,
        TIMESTEPS,
        PACKED,
        SWAR,
        OFFSET_DTYPE,
        EVICTION,
        EMIT_BLOCK_Y,
        EMIT_BLOCK_X,
    )
