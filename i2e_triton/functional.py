"""Image-to-event conversion as functions."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import torch
from torch import Tensor

from i2e_triton.checks import (
    PACKED_TIMESTEPS,
    check_augmentation,
    check_format,
    check_interpolation,
    check_ratio,
    check_timesteps,
    names,
)
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.ops import operator

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
_RATIO_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Elements that are counted at once on the CPU, where a count takes 9 bytes for each beside the events.
_COUNTED = 2**18


def convert(
    images: Images,
    ratio: float | Tensor = 0.12,
    *,
    shifts: Tensor | None = None,
    timesteps: int = 8,
    dtype: torch.dtype = torch.float32,
    packed: bool = False,
    out: Tensor | None = None,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """Convert images to events, as an event camera would see them through a microsaccade.

    An ON event (polarity 0) fires where the value channel rises by at least theta from one position of the
    microsaccade to the next, an OFF event (polarity 1) where it falls by as much; theta is ``ratio`` times the range
    of the image's values (Ma et al., AAAI 2026). Runs as one operator,
    ``torch.ops.i2e_triton.convert``: a fused Triton kernel on a GPU, vectorised PyTorch on the CPU, bit for bit equal.

    With ``crop``, ``size`` or ``flip``, the events are those of augmented images, which are never written: cropped,
    scaled to the arithmetic type, resized and flipped, in this order. Their values span the threshold's range. One
    operator as well, ``torch.ops.i2e_triton.convert_augmented``. :mod:`i2e_triton.augmentation` draws the arguments.

    Args:
        images: ``[C, H, W]`` or ``[B, C, H, W]``; uint8 in [0, 255] (scaled to [0, 1]) or float16, bfloat16, float32,
            float64 in any range; any strides. On the CPU also a PIL image, or a NumPy array whose channels (1 or 3)
            are unmistakable.
        ratio: sensitivity of the threshold, at least 0: one number, or a floating-point tensor ``[B]`` on the images'
            device. On a GPU the values of a tensor are not checked, which would wait for it.
        shifts: motion vectors, an integer tensor ``[T, 4]`` of ``(dy0, dx0, dy1, dx1)`` in pixels, or one microsaccade
            per image ``[B, T, 4]``, on the images' device. None is :func:`canonical_shifts`. Sets the number of
            timesteps.
        timesteps: how many of the canonical ones, 1 to 8. Of no effect where ``shifts`` is given.
        dtype: of dense events: float32, float16, bfloat16, uint8 or bool.
        packed: return one byte per pixel and polarity, bit ``t`` of it timestep ``t`` (at most 8), whatever ``dtype``.
        out: tensor that receives the events, of their shape, dtype and device; any strides without overlap, in memory
            that no other argument shares.
        crop: boxes of (top, left, height, width) in pixels, an integer tensor ``[B, 4]`` (``[4]`` for a single image)
            on the images' device. Beyond an image its border goes on. On a GPU the values are not checked, which would
            wait for it; they are clamped instead, a side to at least one pixel: nothing beyond an image is read.
        size: height and width of the augmented images, and so of the events; the images' own where it is left out.
        flip: which images are mirrored left to right, a bool tensor ``[B]`` (``[]`` for a single image) on the images'
            device.
        interpolation: how boxes are resized: ``"bilinear"`` (as ``torch.nn.functional.interpolate`` with align_corners
            False and without antialias, within 1e-6 of it) or ``"nearest"``.

    Returns:
        Dense events ``[T, B, 2, H, W]``, values 0 and 1, or packed events ``[B, 2, H, W]`` uint8; without the batch
        dimension for a single image. ``out`` where that is given. Never requires a gradient.
        An image with a NaN or infinite pixel has no events; neither has a timestep whose motion vector does not move.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a shape, dtype, device or value is unfit; the message names it and what would be right.
    """
    images = as_image_tensor(images)
    _check_images(images)
    single = images.dim() == 3
    batch = images[None] if single else images
    ratios: Tensor | None = None
    number = 0.0
    if isinstance(ratio, Tensor):
        _check_ratios(ratio, batch)
        ratios = ratio
    else:
        number = check_ratio(ratio)
    if shifts is None:
        timesteps = check_timesteps(timesteps)
    else:
        check_timesteps(timesteps, "leave them out where shifts are given, which bring their own number")
        _check_shifts(shifts, batch)
        timesteps = shifts.shape[-2]
    dtype = check_format(dtype, packed, timesteps)
    check_interpolation(interpolation)
    operation = torch.ops.i2e_triton.convert
    augmentation: tuple[Any, ...] = ()
    event_size: tuple[int, int] | None = None
    if crop is not None or size is not None or flip is not None:
        operation = torch.ops.i2e_triton.convert_augmented
        augmentation = check_augmentation(batch, single, crop, size, flip, interpolation)
        event_size = augmentation[2:4]
    arguments = (batch, *augmentation, shifts, ratios, number, timesteps, dtype, packed)
    if out is None:
        events = operation(*arguments)
        return events.squeeze(-4) if single else events
    shape = operator.event_shape(batch, timesteps, packed, event_size)
    _check_out(out, (shape[:-4] + shape[-3:]) if single else shape, dtype, batch.device)
    read_too = (("images", images), ("shifts", shifts), ("ratio", ratios), ("crop", crop), ("flip", flip))
    for name, read in read_too:
        if read is not None and _share_memory(out, read):
            raise ValueError(f"out must not share memory with {name}; pass {name}.clone(), or another out")
    target = out.unsqueeze(-4) if single else out
    operation.out(*arguments, out=target)
    return out


def pack(events: Tensor) -> Tensor:
    """Gather dense events in one byte per pixel and polarity; :func:`unpack` undoes it.

    Args:
        events: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` with 1 to 8 timesteps, of any type; what is not 0 is an
            event.

    Returns:
        Packed events ``[B, 2, H, W]`` or ``[2, H, W]``, uint8 on the same device; bit ``t`` is timestep ``t``.

    Raises:
        TypeError: if ``events`` is not a tensor.
        ValueError: if the shape is unfit.
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.dim() not in (4, 5) or events.shape[-3] != 2:
        raise ValueError(f"events must be dense [T, B, 2, H, W] or [T, 2, H, W], got shape {list(events.shape)}")
    if not 1 <= events.shape[0] <= PACKED_TIMESTEPS:
        raise ValueError(
            f"packed events hold 1 to {PACKED_TIMESTEPS} timesteps, got {events.shape[0]}; "
            f"pack events[:{PACKED_TIMESTEPS}], or keep them dense"
        )
    packed = torch.zeros(events.shape[1:], dtype=torch.uint8, device=events.device)
    for t, timestep in enumerate(events.unbind()):
        packed.add_(timestep.ne(0).view(torch.uint8), alpha=1 << t)
    return packed


def unpack(packed: Tensor, timesteps: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    """Spread packed events over their timesteps. Runs as one operator, ``torch.ops.i2e_triton.unpack``.

    Args:
        packed: uint8 ``[B, 2, H, W]`` or ``[2, H, W]``; bit ``t`` is timestep ``t``.
        timesteps: how many to read, 1 to 8.
        dtype: of the result: float32, float16, bfloat16, uint8 or bool.

    Returns:
        Dense events ``[timesteps, B, 2, H, W]`` or ``[timesteps, 2, H, W]`` on the same device.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a shape or value is unfit.
    """
    if not isinstance(packed, Tensor):
        raise TypeError(f"packed must be a tensor, got {type(packed).__name__}")
    if packed.dtype != torch.uint8 or packed.dim() not in (3, 4) or packed.shape[-3] != 2:
        raise ValueError(f"packed must be uint8 [B, 2, H, W] or [2, H, W], got {packed.dtype} {list(packed.shape)}")
    timesteps = check_timesteps(timesteps, "a byte holds no others")
    check_format(dtype, False, timesteps)
    return torch.ops.i2e_triton.unpack(packed, timesteps, dtype)


def event_rate(events: Tensor, dim: int | Iterable[int] | None = None) -> Tensor:
    """Share of positions that hold an event.

    Args:
        events: dense events of any dtype, usually ``[T, B, 2, H, W]``; what is not 0 is an event. Packed ones must be
            unpacked first; on the CPU they are told by their values.
        dim: dimensions to average over, all by default; ``(1, 3, 4)`` gives the rate per timestep and polarity.

    Returns:
        float64 tensor on the same device, values 0 to 1; NaN where there are no positions.

    Raises:
        TypeError: if ``events`` is not a tensor of real numbers, or ``dim`` not of integers.
        ValueError: if the events are packed, or have no such dimensions.
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.is_complex() or events.layout != torch.strided:
        raise TypeError(f"events must be dense and real, got {events.dtype} {events.layout}")
    dims = _dimensions(dim, events)
    positions = 1
    for d in dims:
        positions *= events.shape[d]
    in_parts = events.device.type == "cpu" and not torch.compiler.is_compiling()
    counts = _count_in_parts(events, dims) if in_parts else _count(events, dims)
    return (counts.squeeze(dims) if dims else counts).to(torch.float64) / positions


def _dimensions(dim: int | Iterable[int] | None, events: Tensor) -> tuple[int, ...]:
    """Dimensions counted from the first; all in the place of none, as everywhere in PyTorch."""
    if dim is None:
        return tuple(range(events.dim()))
    try:
        dims = tuple(index(d) for d in dim) if isinstance(dim, Iterable) else (index(dim),)
    except TypeError as error:
        raise TypeError(f"dim must be an int, several, or None, got {dim!r}") from error
    rank = events.dim()
    known = tuple(d + rank if d < 0 else d for d in dims)
    if not all(0 <= d < rank for d in known) or len(set(known)) != len(known):
        raise ValueError(
            f"dim must be distinct dimensions {-rank} to {rank - 1} of events {list(events.shape)}, got {dim}"
        )
    return known or tuple(range(rank))


def _count(events: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Number of events over some dimensions, which stay with one position each: int64."""
    fired = events.ne(0)
    return fired.sum(dims, dtype=torch.int64, keepdim=True) if dims else fired.to(torch.int64)


def _count_in_parts(events: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Count like :func:`_count`, in memory that does not grow with the events."""
    if events.numel() > _COUNTED:
        outermost = next(d for d, size in enumerate(events.shape) if size > 1)
        counts = [_count_in_parts(part, dims) for part in events.tensor_split(2, outermost)]
        return counts[0].add_(counts[1]) if outermost in dims else torch.cat(counts, outermost)
    if events.dtype == torch.uint8 and events.numel() > 0 and events.max() > 1:
        raise ValueError(
            f"events must be dense, 0 or 1 where they are uint8, got {int(events.max())}; unpack packed ones first"
        )
    return _count(events, dims)


def _check_images(images: Tensor) -> None:
    if images.dtype not in IMAGE_DTYPES:
        raise TypeError(
            f"images must be {names(IMAGE_DTYPES)}, got {images.dtype}; convert them with .to(torch.float32), whatever "
            "their range"
        )
    if images.layout != torch.strided:
        raise TypeError(f"images must be dense, got {images.layout}; convert them with .to_dense()")
    if images.dim() not in (3, 4):
        hint = "; add the channel dimension with .unsqueeze(-3)" if images.dim() == 2 else ""
        raise ValueError(f"images must be [C, H, W] or [B, C, H, W], got shape {list(images.shape)}{hint}")
    if 0 in images.shape[-3:]:
        raise ValueError(f"images must have a channel and a pixel at least, got shape {list(images.shape)}")
    if images.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"images must be on the CPU or a CUDA device, got {images.device}; move them with .to()")
    if images.device.type == "cuda" and not operator.HAS_TRITON:
        raise ValueError(
            f"images on {images.device} need Triton, which is not installed: pip install triton, or convert on the CPU"
        )


def _check_ratios(ratios: Tensor, images: Tensor) -> None:
    if ratios.dtype not in _RATIO_DTYPES:
        raise TypeError(
            f"a ratio per image must be {names(_RATIO_DTYPES)}, got {ratios.dtype}; convert it with .to(torch.float32)"
        )
    batch = images.shape[0]
    if ratios.shape != images.shape[:1]:
        hint = f"; for one tensor everywhere pass ratio.expand({batch})" if ratios.dim() == 0 else ""
        raise ValueError(
            f"ratio must be one number or a tensor [{batch}], one per image; got shape {list(ratios.shape)}{hint}"
        )
    _check_device("ratio", ratios, images)


def _check_shifts(shifts: Tensor, images: Tensor) -> None:
    if not isinstance(shifts, Tensor):
        raise TypeError(f"shifts must be a tensor of motion vectors, got {type(shifts).__name__}")
    if shifts.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"shifts must be a signed integer tensor, whole pixels; got {shifts.dtype}")
    batch = images.shape[0]
    fits = shifts.dim() == 2 or (shifts.dim() == 3 and shifts.shape[0] == batch)
    if not fits or shifts.shape[-1] != 4 or shifts.shape[-2] == 0:
        raise ValueError(
            f"shifts must be [T, 4] or [{batch}, T, 4] rows of (dy0, dx0, dy1, dx1) with T >= 1, "
            f"got shape {list(shifts.shape)}"
        )
    _check_device("shifts", shifts, images)


def _check_out(out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a tensor, got {type(out).__name__}")
    if tuple(out.shape) != tuple(shape) or out.dtype != dtype or out.device != device:
        raise ValueError(
            f"out must be {dtype} {list(shape)} on {device}, got {out.dtype} {list(out.shape)} on {out.device}"
        )
    if out.requires_grad:
        raise ValueError("out must not require a gradient: events have none")
    if torch.compiler.is_compiling():
        return
    if out.is_neg():
        raise ValueError("out must hold its values, not their negatives; use out.resolve_neg()")
    if _may_overlap(out):
        raise ValueError(f"out must not overlap itself, got strides {out.stride()}; use out.contiguous()")


def _may_overlap(tensor: Tensor) -> bool:
    """Whether elements may share memory: a dimension steps no further than the smaller ones reach."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether the stretches of one storage that two tensors span have a byte in common."""
    if torch.compiler.is_compiling() or one.untyped_storage()._cdata != other.untyped_storage()._cdata:
        return False
    (start, stop), (other_start, other_stop) = _span(one), _span(other)
    return start < other_stop and other_start < stop


def _span(tensor: Tensor) -> tuple[int, int]:
    """First byte of a tensor in its storage, and the one after its last."""
    elements = 0 if tensor.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))
    start = int(tensor.storage_offset()) * tensor.element_size()
    return start, start + int(elements) * tensor.element_size()


def _check_device(name: str, tensor: Tensor, images: Tensor) -> None:
    if tensor.device != images.device:
        raise ValueError(
            f"{name} must be on the images' device {images.device}, got {tensor.device}; move it with .to()"
        )
