"""How the kernels are launched: memory, sizes, and one launch or two."""

from __future__ import annotations

import contextlib
import struct
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .augmented import augment_kernel, convert_augmented_kernel
from .convert import MAX_PROGRAMS, convert_kernel, emit_kernel, measure_kernel
from .pixels import PAD
from .unpack import unpack_kernel

#: Rows of a plane, and its first pixel, start at multiples of this many pixels, for wide loads and stores.
_ALIGNMENT = 16
# What a thread of the first phase reads at once from each channel: the widest load, but no more pixels than its
# registers hold.
_LOAD_BYTES = 16
_PIXELS_READ = 8
# What a thread of it computes at once where images are augmented: pixels, and bytes of images for each of four corners.
_PIXELS_AUGMENTED = 4
_CORNER_BYTES = 8
# So many channels are read one after another; more of them in a loop, since each would take its share of compilation.
_UNROLLED_CHANNELS = 4
# Neighbouring threads take neighbouring pixels, this many at least, however tall and odd the image.
_NARROWEST = 32
# What a thread of the second phase writes at once to each timestep and polarity.
_PIXELS_WRITTEN = 4
# What a thread writes at once to each timestep when it unpacks: the widest store.
_STORE_BYTES = 16
_UNPACKING_WARPS = 4


def convert_into(
    out: Tensor, images: Tensor, shifts: Tensor, ratios: Tensor | None, ratio: float, *, packed: bool
) -> None:
    """Write the events of images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]`` of any type, or packed ``[B, 2, H, W]`` uint8; any strides.
        images: ``[B, C, H, W]``; any strides.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``, a signed integer type.
        ratios: one per image ``[B]``, or None for ``ratio`` everywhere.
        ratio: sensitivity of the threshold where ``ratios`` is None.
        packed: whether ``out`` is packed.
    """
    if out.numel() == 0:
        return
    pixels = min(_PIXELS_READ, _LOAD_BYTES // images.element_size())
    _launch(convert_kernel, measure_kernel, {}, images, images.dtype, pixels, out, shifts, ratios, ratio, packed)


def convert_augmented_into(
    out: Tensor,
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    *,
    nearest: bool,
    packed: bool,
) -> None:
    """Write the events of augmented images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]`` of any type, or packed ``[B, 2, H, W]`` uint8; any strides. H and W are those of
            the augmented images.
        images: ``[B, C, H, W]``; any strides.
        crop: boxes ``[B, 4]`` of (top, left, height, width), a signed integer type, or None for all of each image.
        flip: bool ``[B]``, or None.
        shifts: as for :func:`convert_into`, and so are ``ratios``, ``ratio`` and ``packed``.
        ratios: see ``shifts``.
        ratio: see ``shifts``.
        nearest: whether to take the nearest pixels, and not to interpolate.
        packed: see ``shifts``.
    """
    if out.numel() == 0:
        return
    height, width = out.shape[-2:]
    augmentation = {
        "crop": None if crop is None else crop.contiguous(),
        "flip": None if flip is None else flip.contiguous().view(torch.uint8),
        "image_height": images.shape[-2],
        "image_width": images.shape[-1],
        "row_share": _bits(1 / height),
        "column_share": _bits(1 / width),
        "NEAREST": nearest,
    }
    kind = images.dtype if nearest else _arithmetic(images)
    pixels = min(_PIXELS_AUGMENTED, _CORNER_BYTES // images.element_size())
    _launch(
        convert_augmented_kernel, augment_kernel, augmentation, images, kind, pixels,
        out, shifts, ratios, ratio, packed,
    )  # fmt: skip


def _launch(
    both_phases: Any,
    first_phase: Any,
    augmentation: dict[str, Any],
    images: Tensor,
    kind: torch.dtype,
    pixels: int,
    out: Tensor,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    packed: bool,
) -> None:
    """Launch both phases at once, or one after the other.

    Args:
        both_phases: the kernel for a batch that fills the device.
        first_phase: the kernel whose second phase is ``emit_kernel``.
        augmentation: arguments that these kernels have besides those of a plain conversion.
        images: ``[B, C, H, W]``.
        kind: the type of the planes.
        pixels: what a thread of the first phase takes at once.
        out: see :func:`convert_into`, as for the others.
        shifts: see there.
        ratios: see there.
        ratio: see there.
        packed: see there.
    """
    batch, channels = images.shape[:2]
    height, width = out.shape[-2:]
    if images.dtype == torch.float64 and ratios is None:
        # A number would reach Triton as float32.
        ratios = torch.full((batch,), ratio, dtype=torch.float64, device=images.device)
    shifts = shifts.contiguous()
    ratios = None if ratios is None else ratios.contiguous()
    planes = images.new_empty((), dtype=kind).expand(batch, 1, height, width)  # what the second phase is to convert
    plane, pitch = new_plane(planes)
    multiprocessors, warp_size = _device(images.device)
    programs, warps = programs_and_warps(batch, height, width, multiprocessors)
    measure_y, measure_x = tile_shape(height, width, warps * warp_size * pixels)
    words = four_at_a_time(planes, out)
    emit_y, emit_x = tile_shape(height, width, warps * warp_size * _PIXELS_WRITTEN)
    common: dict[str, Any] = {
        "plane": plane,
        "plane_b": plane.stride(0),
        "pitch": pitch,
        "height": height,
        "width": width,
        "INDEX": _index(_extent(images[0]), _extent(out[0] if packed else out[:, 0]), plane.stride(0)),
        "num_warps": warps,
        "enable_fp_fusion": False,
    }
    image_b, image_c, image_y, image_x = images.stride()
    unrolled = channels <= _UNROLLED_CHANNELS
    measure = {
        "images": images,
        "image_b": image_b,
        "image_c": image_c,
        "image_y": image_y,
        "image_x": image_x,
        "channels": None if unrolled else channels,
        "CHANNELS": channels if unrolled else None,
        "MEASURE_Y": measure_y,
        "MEASURE_X": measure_x,
        **augmentation,
    }
    out_t, out_b, out_p, out_y, out_x = (0, *out.stride()) if packed else out.stride()
    emit = {
        "out": out.view(torch.uint8) if out.dtype == torch.bool else out,
        "out_t": out_t,
        "out_b": out_b,
        "out_p": out_p,
        "out_y": out_y,
        "out_x": out_x,
        "silent": new_plane(planes)[0] if words else None,
        "WORDS": words,
        "shifts": shifts,
        "shifts_b": shifts.stride(0) if shifts.dim() == 3 else 0,
        "timesteps": shifts.shape[-2],
        "ratios": ratios,
        "ratio": ratio,
        "PACKED": packed,
        "EMIT_Y": emit_y,
        "EMIT_X": emit_x,
    }
    with _on(images.device):
        if programs == 1:
            both_phases[(batch,)](**common, **measure, **emit)
            return
        ranges = torch.empty(batch, programs, 2, dtype=_arithmetic(images), device=images.device)
        common |= {"ranges": ranges, "programs": programs}
        first_phase[(batch * programs,)](**common, **measure)
        emit_kernel[(batch * programs,)](**common, **emit)


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` of any type, contiguous.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8; any strides.
    """
    if out.numel() == 0:
        return
    if packed.is_contiguous():
        packed = packed.view(1, 1, 1, -1)  # one long row: rows of any length are read and written as widely
    elif packed.dim() == 3:
        packed = packed[None]
    batch, polarities, height, width = packed.shape
    rows = batch * polarities * height
    packed_b, packed_p, packed_y, packed_x = packed.stride()
    _, warp_size = _device(packed.device)
    block_y, block_x = tile_shape(rows, width, _UNPACKING_WARPS * warp_size * (_STORE_BYTES // out.element_size()))
    with _on(packed.device):
        unpack_kernel[(triton.cdiv(rows, block_y) * triton.cdiv(width, block_x),)](
            packed=packed,
            out=out.view(torch.uint8) if out.dtype == torch.bool else out,
            timesteps=out.shape[0],
            rows=rows,
            height=height,
            width=width,
            packed_b=packed_b,
            packed_p=packed_p,
            packed_y=packed_y,
            packed_x=packed_x,
            out_t=out.stride(0),
            INDEX=_index(_extent(packed), out.numel()),
            BLOCK_Y=block_y,
            BLOCK_X=block_x,
            num_warps=_UNPACKING_WARPS,
            enable_fp_fusion=False,
        )


def four_at_a_time(images: Tensor, out: Tensor) -> bool:
    """Whether words of four grey levels can be read, and words of four events written."""
    return (
        images.dtype == torch.uint8
        and out.element_size() == 1
        and images.shape[-1] % 4 == 0
        and out.stride(-1) == 1
        and all(stride % 4 == 0 for stride in out.stride()[:-1])
        and out.data_ptr() % 4 == 0
    )


def new_plane(images: Tensor) -> tuple[Tensor, int]:
    """Allocate room for the value planes, with their frames.

    Returns:
        A tensor ``[B, ...]`` that begins at pixel (0, 0) of the first plane, and the elements between two rows. The
        frame's columns lie between two rows.
    """
    batch, _, height, width = images.shape
    pitch = _aligned(width + 2 * PAD.value)
    origin = PAD.value * pitch + _ALIGNMENT
    return images.new_empty(batch, origin + _aligned((height + PAD.value) * pitch))[:, origin:], pitch


def programs_and_warps(batch: int, height: int, width: int, multiprocessors: int) -> tuple[int, int]:
    """Choose over how many programs an image is shared out, and the warps of each.

    One program where the batch alone nearly fills the device, or where the image is small.
    """
    pixels = height * width
    if pixels <= 32 * 32 or 4 * batch >= 3 * multiprocessors:
        return 1, 16 if pixels > 64 * 64 else 4
    programs = min(triton.cdiv(pixels, 512), triton.cdiv(8 * multiprocessors, batch), MAX_PROGRAMS.value)
    return programs, 4


def tile_shape(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Choose the rows and columns, powers of two, of a tile of so many pixels: few of them idle, and rather wide."""
    pixels = min(pixels, triton.next_power_of_2(height * width))
    narrowest = min(_NARROWEST, triton.next_power_of_2(width))
    shapes = [(pixels >> log, 1 << log) for log in range(pixels.bit_length()) if 1 << log >= narrowest]
    return min(shapes, key=lambda shape: (triton.cdiv(height, shape[0]) * triton.cdiv(width, shape[1]), -shape[1]))


def _arithmetic(images: Tensor) -> torch.dtype:
    return torch.float64 if images.dtype == torch.float64 else torch.float32


def _bits(number: float) -> int:
    """A float64 as the int64 with its bits: as a number it would reach Triton as float32."""
    return struct.unpack("q", struct.pack("d", number))[0]


def _aligned(pixels: int) -> int:
    return triton.cdiv(pixels, _ALIGNMENT) * _ALIGNMENT


def _extent(tensor: Tensor) -> int:
    """Elements that the offsets within a tensor span."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))


def _index(*extents: int) -> tl.dtype:
    """Choose the integer for offsets within so many elements, and for those of a block that sticks out of them."""
    return tl.int32 if max(extents) < 2**31 - 2**16 else tl.int64


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Launch on a device; on the CPU, Triton interprets."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@cache
def _device(device: torch.device) -> tuple[int, int]:
    """Multiprocessors, and threads in a warp; on the CPU, where Triton interprets, there is one program at a time."""
    if device.type == "cpu":
        return 1, 32
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.warp_size
