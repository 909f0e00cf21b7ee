"""Launch the kernels: allocate planes, choose block sizes, and choose between one launch and two."""

from __future__ import annotations

import contextlib
import struct
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .arguments import Augmentation, Events, Images, PackedEvents, Planes, Ratios, Shifts
from .convert import MAX_PROGRAMS, convert_kernel, emit_kernel, measure_kernel
from .pixels import HALO
from .unpack import unpack_kernel

# Rows of a plane start at multiples of this many pixels, for wide loads and stores.
_ALIGNMENT = 16
# First phase: a thread loads this many bytes of each channel at once, but no more pixels than fit in its registers.
_LOAD_BYTES = 16
_MEASURE_PIXELS = 8
# First phase of augmented images: the same for each of a pixel's four neighbours. 4 pixels of float32 spill on sm_90.
_AUGMENT_BYTES = 8
_AUGMENT_PIXELS = 4
# More channels are read in a loop: compilation time grows with each unrolled channel.
_UNROLLED_CHANNELS = 4
# Minimum width of a tile, so that neighbouring threads take neighbouring pixels of tall images, too.
_MIN_TILE_WIDTH = 32
# Second phase: pixels that a thread writes at once to each timestep and polarity.
_EMIT_PIXELS = 4
# Unpacking: bytes that a thread stores at once.
_STORE_BYTES = 16
_UNPACK_WARPS = 4


def convert_into(
    out: Tensor,
    images: Tensor,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    *,
    packed: bool,
    crop: Tensor | None = None,
    flip: Tensor | None = None,
    nearest: bool = False,
) -> None:
    """Write the events of images, or of their cropped, resized and flipped versions, into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]`` of any event dtype, or packed ``[B, 2, H, W]`` uint8; any strides. H and W are
            the size of the (augmented) images.
        images: ``[B, C, H, W]``; any strides.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``, a signed integer dtype.
        ratios: one per image ``[B]``, or None to use ``ratio`` for all images.
        ratio: threshold as a fraction of an image's range, if ``ratios`` is None.
        packed: whether ``out`` is packed.
        crop: boxes ``[B, 4]`` of (top, left, height, width), a signed integer dtype, or None for whole images.
        flip: bool ``[B]``, or None.
        nearest: take the nearest pixels instead of interpolating.
    """
    if out.numel() == 0:
        return
    batch, device = len(images), images.device
    height, width = out.shape[-2:]
    augmented = crop is not None or flip is not None or images.shape[-2:] != out.shape[-2:]
    interpolation = ("nearest" if nearest else "bilinear") if augmented else None
    augmentation = _augmentation(crop, flip, height, width) if augmented else None
    plane_dtype = _arithmetic(images) if interpolation == "bilinear" else images.dtype
    swar = can_use_swar(plane_dtype, out)
    planes = _new_planes(batch, height, width, plane_dtype, device, swar)
    multiprocessors, warp_size = _device(device)
    programs_per_image, warps = programs_and_warps(batch, height, width, multiprocessors)
    measure_pixels = _measure_pixels(images.element_size(), interpolation)
    measure_tile = tile_shape(height, width, warps * warp_size * measure_pixels)
    emit_tile = tile_shape(height, width, warps * warp_size * _EMIT_PIXELS)
    common = {
        "planes": planes,
        "OFFSET_DTYPE": _offset_dtype(_extent(images[0]), _extent(out[0] if packed else out[:, 0]), planes.stride_b),
        "num_warps": warps,
        "enable_fp_fusion": False,
    }
    measure = _measure_arguments(images, augmentation, interpolation, measure_tile)
    emit = _emit_arguments(out, shifts, _ratios(ratios, ratio, images), packed, swar, emit_tile)
    _launch(images, programs_per_image, measure, emit, common)


def _measure_arguments(
    images: Tensor, augmentation: Augmentation | None, interpolation: str | None, tile: tuple[int, int]
) -> dict[str, Any]:
    """Return the kernel arguments that only the first phase uses."""
    channels = images.shape[1]
    return {
        "images": Images(images, *images.shape[1:], *images.stride()),
        "augmentation": augmentation,
        "CHANNELS": channels if channels <= _UNROLLED_CHANNELS else None,
        "INTERPOLATION": interpolation,
        "MEASURE_BLOCK_Y": tile[0],
        "MEASURE_BLOCK_X": tile[1],
    }


def _emit_arguments(
    out: Tensor, shifts: Tensor, ratios: Ratios, packed: bool, swar: bool, tile: tuple[int, int]
) -> dict[str, Any]:
    """Return the kernel arguments that only the second phase uses."""
    return {
        "events": _events(out, packed),
        "shifts": _shifts(shifts),
        "ratios": ratios,
        "PACKED": packed,
        "SWAR": swar,
        "EMIT_BLOCK_Y": tile[0],
        "EMIT_BLOCK_X": tile[1],
    }


def _launch(
    images: Tensor, programs_per_image: int, measure: dict[str, Any], emit: dict[str, Any], common: dict[str, Any]
) -> None:
    """Launch both phases: as one kernel if there is one program per image, otherwise as two kernels."""
    batch = len(images)
    with _on(images.device):
        if programs_per_image == 1:
            convert_kernel[(batch,)](**measure, **emit, **common)
            return
        ranges = torch.empty(batch, programs_per_image, 2, dtype=_arithmetic(images), device=images.device)
        common = {**common, "ranges_ptr": ranges, "programs_per_image": programs_per_image}
        measure_kernel[(batch * programs_per_image,)](**measure, **common)
        emit_kernel[(batch * programs_per_image,)](**emit, **common)


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` of any event dtype, contiguous.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8; any strides.
    """
    if out.numel() == 0:
        return
    if packed.is_contiguous():
        packed = packed.view(1, 1, 1, -1)  # one long row: accesses are wide for any image width
    elif packed.dim() == 3:
        packed = packed[None]
    batch, polarities, height, width = packed.shape
    rows = batch * polarities * height
    _, warp_size = _device(packed.device)
    block_y, block_x = tile_shape(rows, width, _UNPACK_WARPS * warp_size * (_STORE_BYTES // out.element_size()))
    with _on(packed.device):
        unpack_kernel[(triton.cdiv(rows, block_y) * triton.cdiv(width, block_x),)](
            packed=PackedEvents(packed, *packed.stride()),
            out_ptr=_as_bytes(out),
            timesteps=out.shape[0],
            rows=rows,
            height=height,
            width=width,
            stride_out_t=out.stride(0),
            OFFSET_DTYPE=_offset_dtype(_extent(packed), out.numel()),
            BLOCK_Y=block_y,
            BLOCK_X=block_x,
            num_warps=_UNPACK_WARPS,
            enable_fp_fusion=False,
        )


def can_use_swar(plane_dtype: torch.dtype, out: Tensor) -> bool:
    """Return whether grey levels can be read, and events written, four at a time (see ``emit_swar.py``)."""
    return (
        plane_dtype == torch.uint8
        and out.element_size() == 1
        and out.shape[-1] % 4 == 0
        and out.stride(-1) == 1
        and all(stride % 4 == 0 for stride in out.stride()[:-1])
        and out.data_ptr() % 4 == 0
    )


def programs_and_warps(batch: int, height: int, width: int, multiprocessors: int) -> tuple[int, int]:
    """Return the number of programs per image, and the number of warps per program.

    There is one program per image if this nearly fills the device, or if the images are small.
    """
    pixels = height * width
    if pixels <= 32 * 32 or 4 * batch >= 3 * multiprocessors:
        return 1, 16 if pixels > 64 * 64 else 4
    programs_per_image = min(triton.cdiv(pixels, 512), triton.cdiv(8 * multiprocessors, batch), MAX_PROGRAMS.value)
    return programs_per_image, 4


def tile_shape(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return the rows and columns of a tile, both powers of two: the shape with the fewest tiles, then the widest."""
    pixels = min(pixels, triton.next_power_of_2(height * width))
    min_width = min(_MIN_TILE_WIDTH, triton.next_power_of_2(width))
    shapes = [(pixels >> log, 1 << log) for log in range(pixels.bit_length()) if 1 << log >= min_width]
    return min(shapes, key=lambda shape: (triton.cdiv(height, shape[0]) * triton.cdiv(width, shape[1]), -shape[1]))


def new_plane(batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """Allocate the planes of a batch, with their halos.

    Returns:
        A tensor ``[B, ...]`` whose first element is pixel (0, 0) of the first plane, and the stride of its rows
        in elements. The left and right columns of the halo are in the gaps between rows.
    """
    stride_y = _aligned(width + 2 * HALO.value)
    origin = HALO.value * stride_y + _ALIGNMENT
    size = origin + _aligned((height + HALO.value) * stride_y)
    return torch.empty(batch, size, dtype=dtype, device=device)[:, origin:], stride_y


def _new_planes(batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device, swar: bool) -> Planes:
    plane, stride_y = new_plane(batch, height, width, dtype, device)
    tie_break = new_plane(batch, height, width, dtype, device)[0] if swar else None
    return Planes(plane, tie_break, height, width, plane.stride(0), stride_y)


def _arithmetic(images: Tensor) -> torch.dtype:
    """Return the dtype of arithmetic with pixels."""
    return torch.float64 if images.dtype == torch.float64 else torch.float32


def _measure_pixels(element_size: int, interpolation: str | None) -> int:
    """Return the number of pixels that a thread of the first phase processes at once."""
    if interpolation is None:
        return min(_MEASURE_PIXELS, _LOAD_BYTES // element_size)
    return min(_AUGMENT_PIXELS, _AUGMENT_BYTES // element_size)


def _augmentation(crop: Tensor | None, flip: Tensor | None, height: int, width: int) -> Augmentation:
    return Augmentation(
        None if crop is None else crop.contiguous(),
        None if flip is None else flip.contiguous().view(torch.uint8),
        _float64_bits(1 / height),
        _float64_bits(1 / width),
    )


def _shifts(shifts: Tensor) -> Shifts:
    shifts = shifts.contiguous()
    return Shifts(shifts, shifts.shape[-2], shifts.stride(0) if shifts.dim() == 3 else 0)


def _ratios(ratios: Tensor | None, ratio: float, images: Tensor) -> Ratios:
    if images.dtype == torch.float64 and ratios is None:
        # Triton passes a Python float as float32.
        ratios = torch.full((len(images),), ratio, dtype=torch.float64, device=images.device)
    return Ratios(None if ratios is None else ratios.contiguous(), ratio)


def _events(out: Tensor, packed: bool) -> Events:
    return Events(_as_bytes(out), *((0, *out.stride()) if packed else out.stride()))


def _as_bytes(out: Tensor) -> Tensor:
    """Return a view of bool events as uint8, so that both dtypes use the same kernel; others unchanged."""
    return out.view(torch.uint8) if out.dtype == torch.bool else out


def _float64_bits(number: float) -> int:
    """Return the bits of a float64 as an integer, because Triton passes a Python float as float32."""
    return struct.unpack("q", struct.pack("d", number))[0]


def _aligned(pixels: int) -> int:
    return triton.cdiv(pixels, _ALIGNMENT) * _ALIGNMENT


def _extent(tensor: Tensor) -> int:
    """Return the number of elements in memory from the first to the last element of a tensor, both included."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))


def _offset_dtype(*extents: int) -> tl.dtype:
    """Return the dtype of offsets within the largest extent. A block of a kernel may reach past its end."""
    return tl.int32 if max(extents) < 2**31 - 2**16 else tl.int64


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context that selects the device for a launch. On the CPU, Triton's interpreter runs the kernels."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@cache
def _device(device: torch.device) -> tuple[int, int]:
    """Return the number of multiprocessors and the warp size (1 and 32 for Triton's interpreter on the CPU)."""
    if device.type == "cpu":
        return 1, 32
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.warp_size
