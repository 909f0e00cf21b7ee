"""The host side of the kernels: memory, block sizes, and one launch or two."""

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
# Per thread in the first phase: the widest load from each channel, but no more pixels than the registers hold.
_LOAD_BYTES = 16
_MEASURE_PIXELS = 8
# The same for augmented images: pixels, and bytes from each of the four neighbours. 4 pixels of float32 spill on sm_90.
_AUGMENT_PIXELS = 4
_AUGMENT_BYTES = 8
# More channels are read in a loop: compilation time grows with each unrolled channel.
_UNROLLED_CHANNELS = 4
# Least width of a tile, so that neighbouring threads take neighbouring pixels of tall images, too.
_LEAST_TILE_WIDTH = 32
# Per thread in the second phase: pixels written at once to each timestep and polarity.
_EMIT_PIXELS = 4
# Per thread when unpacking: the widest store.
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
        ratios: one per image ``[B]``, or None for ``ratio`` everywhere.
        ratio: sensitivity of the threshold if ``ratios`` is None.
        packed: whether ``out`` is packed.
        crop: boxes ``[B, 4]`` of (top, left, height, width), a signed integer dtype, or None for whole images.
        flip: bool ``[B]``, or None.
        nearest: take the nearest pixels instead of interpolating.
    """
    if out.numel() == 0:
        return
    batch, channels = images.shape[:2]
    height, width = out.shape[-2:]
    augmented = crop is not None or flip is not None or images.shape[-2:] != out.shape[-2:]
    interpolation = ("nearest" if nearest else "bilinear") if augmented else None
    arithmetic = torch.float64 if images.dtype == torch.float64 else torch.float32
    if images.dtype == torch.float64 and ratios is None:
        # Triton passes a Python float as float32.
        ratios = torch.full((batch,), ratio, dtype=torch.float64, device=images.device)
    plane_dtype = arithmetic if interpolation == "bilinear" else images.dtype
    swar = can_use_swar(plane_dtype, out)
    planes = _new_planes(batch, height, width, plane_dtype, images.device, swar)
    multiprocessors, warp_size = _device(images.device)
    programs, warps = programs_and_warps(batch, height, width, multiprocessors)
    measure_y, measure_x = tile_shape(
        height, width, warps * warp_size * _measure_pixels(images.element_size(), interpolation)
    )
    emit_y, emit_x = tile_shape(height, width, warps * warp_size * _EMIT_PIXELS)
    measure: dict[str, Any] = {
        "images": Images(images, channels, *images.shape[-2:], *images.stride()),
        "augmentation": _augmentation(crop, flip, height, width) if augmented else None,
        "CHANNELS": channels if channels <= _UNROLLED_CHANNELS else None,
        "INTERPOLATION": interpolation,
        "MEASURE_Y": measure_y,
        "MEASURE_X": measure_x,
    }
    emit: dict[str, Any] = {
        "events": _events(out, packed),
        "shifts": _shifts(shifts),
        "ratios": Ratios(None if ratios is None else ratios.contiguous(), ratio),
        "PACKED": packed,
        "SWAR": swar,
        "EMIT_Y": emit_y,
        "EMIT_X": emit_x,
    }
    common: dict[str, Any] = {
        "planes": planes,
        "INDEX": _index(_extent(images[0]), _extent(out[0] if packed else out[:, 0]), planes.stride_b),
        "num_warps": warps,
        "enable_fp_fusion": False,
    }
    with _on(images.device):
        if programs == 1:
            convert_kernel[(batch,)](**measure, **emit, **common)
            return
        ranges = torch.empty(batch, programs, 2, dtype=arithmetic, device=images.device)
        common |= {"ranges_ptr": ranges, "programs": programs}
        measure_kernel[(batch * programs,)](**measure, **common)
        emit_kernel[(batch * programs,)](**emit, **common)


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` of any event dtype, contiguous.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8; any strides.
    """
    if out.numel() == 0:
        return
    if packed.is_contiguous():
        packed = packed.view(1, 1, 1, -1)  # one long row, so that accesses are wide for any width of the images
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
            INDEX=_index(_extent(packed), out.numel()),
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
    """Return the number of programs that share an image, and the warps of each.

    One program per image if the batch alone nearly fills the device, or if the images are small.
    """
    pixels = height * width
    if pixels <= 32 * 32 or 4 * batch >= 3 * multiprocessors:
        return 1, 16 if pixels > 64 * 64 else 4
    programs = min(triton.cdiv(pixels, 512), triton.cdiv(8 * multiprocessors, batch), MAX_PROGRAMS.value)
    return programs, 4


def tile_shape(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return the rows and columns of a tile, powers of two: of those with few idle threads, the widest."""
    pixels = min(pixels, triton.next_power_of_2(height * width))
    least_width = min(_LEAST_TILE_WIDTH, triton.next_power_of_2(width))
    shapes = [(pixels >> log, 1 << log) for log in range(pixels.bit_length()) if 1 << log >= least_width]
    return min(shapes, key=lambda shape: (triton.cdiv(height, shape[0]) * triton.cdiv(width, shape[1]), -shape[1]))


def new_plane(batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """Allocate the planes of a batch, with their halos.

    Returns:
        A tensor ``[B, ...]`` that begins at pixel (0, 0) of the first plane, and the elements from one row to the next.
        The halo's columns are between the rows.
    """
    pitch = _aligned(width + 2 * HALO.value)
    origin = HALO.value * pitch + _ALIGNMENT
    size = origin + _aligned((height + HALO.value) * pitch)
    return torch.empty(batch, size, dtype=dtype, device=device)[:, origin:], pitch


def _new_planes(batch: int, height: int, width: int, dtype: torch.dtype, device: torch.device, swar: bool) -> Planes:
    plane, pitch = new_plane(batch, height, width, dtype, device)
    tie_break = new_plane(batch, height, width, dtype, device)[0] if swar else None
    return Planes(plane, tie_break, height, width, plane.stride(0), pitch)


def _measure_pixels(element_size: int, interpolation: str | None) -> int:
    """Return the pixels that a thread of the first phase computes at once."""
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


def _events(out: Tensor, packed: bool) -> Events:
    return Events(_as_bytes(out), *((0, *out.stride()) if packed else out.stride()))


def _as_bytes(out: Tensor) -> Tensor:
    """View bool events as uint8, so that both use the same kernel."""
    return out.view(torch.uint8) if out.dtype == torch.bool else out


def _float64_bits(number: float) -> int:
    """Return the bits of a float64 as an int64. Triton passes a Python float as float32."""
    return struct.unpack("q", struct.pack("d", number))[0]


def _aligned(pixels: int) -> int:
    return triton.cdiv(pixels, _ALIGNMENT) * _ALIGNMENT


def _extent(tensor: Tensor) -> int:
    """Return the number of elements between the first and the last one of a tensor, both included."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))


def _index(*extents: int) -> tl.dtype:
    """Return the integer dtype of offsets within an extent, with room for a block that reaches past its end."""
    return tl.int32 if max(extents) < 2**31 - 2**16 else tl.int64


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Select the device for a launch. On the CPU, Triton's interpreter runs the kernels."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@cache
def _device(device: torch.device) -> tuple[int, int]:
    """Return the number of multiprocessors and the warp size; for the interpreter on the CPU, 1 and 32."""
    if device.type == "cpu":
        return 1, 32
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.warp_size
