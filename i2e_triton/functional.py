"""The public functions that convert images and that pack, unpack and count events."""

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
    check_images,
    check_interpolation,
    check_out,
    check_ratio,
    check_ratio_tensor,
    check_shifts,
    check_timesteps,
)
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.install_hints import triton_command
from i2e_triton.layout import check_layout, to_layout
from i2e_triton.ops import gradient, operator
from i2e_triton.surrogate import Surrogate, check_surrogate

# Number of elements that event_rate counts at once on the CPU. Counting takes up to 9 bytes of memory per element.
_CHUNK_ELEMENTS = 2**18


def convert(
    images: Images,
    ratio: float | Tensor = 0.12,
    *,
    shifts: Tensor | None = None,
    timesteps: int = 8,
    dtype: torch.dtype = torch.float32,
    packed: bool = False,
    layout: str = "TBCHW",
    out: Tensor | None = None,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
    surrogate: Surrogate | None = None,
) -> Tensor:
    """Convert images to events, as an event camera would record them during a microsaccade.

    A pixel has an ON event (polarity 0) where its value rises by at least theta from one position of the microsaccade
    to the next, and an OFF event (polarity 1) where it falls by at least theta. The value is the maximum over the
    channels; theta is ``ratio`` times the range of the image's values (Ma et al., AAAI 2026). The conversion is the
    operator ``torch.ops.i2e_triton.convert``: a fused Triton kernel on a GPU and vectorised PyTorch on the CPU, with
    the same result bit for bit.

    With ``crop``, ``size`` or ``flip``, the images are augmented before the conversion: cropped, converted to float32
    (float64 for float64 images), resized and flipped, in this order. The augmented images are never stored. The range
    in theta is that of the augmented image. :mod:`i2e_triton.augmentation` draws these arguments at random.

    Args:
        images: ``[C, H, W]`` or ``[B, C, H, W]``; uint8 in [0, 255] (scaled to [0, 1]) or float16, bfloat16, float32,
            float64 in any range; any strides. Also a PIL image or a NumPy array with 1 or 3 channels, which are
            converted on the CPU.
        ratio: event threshold in [0, 1], as a fraction of the range of the image's values: one number, or a
            floating-point tensor ``[B]`` on the images' device. On a GPU, the values of a tensor are not checked,
            because that would wait for the GPU.
        shifts: motion vectors, an integer tensor ``[T, 4]`` of ``(dy0, dx0, dy1, dx1)`` in pixels, or one microsaccade
            per image ``[B, T, 4]``, on the images' device. ``T`` is the number of timesteps. Default:
            :func:`canonical_shifts`.
        timesteps: number of canonical motion vectors, 1 to 8. Not used if ``shifts`` is given.
        dtype: dtype of dense events: float32, float16, bfloat16, uint8 or bool.
        packed: return one byte per pixel and polarity, where bit ``t`` is timestep ``t`` (at most 8); ``dtype`` and
            ``layout`` are ignored.
        layout: order of the dimensions of dense events, which are returned as a view: ``"TBCHW"``, ``"BTCHW"``,
            ``"BCTHW"`` or ``"BCHWT"``; without B for a single image. See :func:`i2e_triton.layout.to_layout`.
        out: tensor to which the events are written. It must have their shape in the layout ``"TBCHW"``, dtype and
            device. Any strides are accepted if elements do not overlap. It must not share memory with another argument.
        crop: boxes of (top, left, height, width) in pixels, an integer tensor ``[B, 4]`` (``[4]`` for a single image)
            on the images' device. Pixels outside of an image repeat its border. On a GPU the values are not checked,
            because that would wait for the GPU; they are clamped so that no memory outside of an image is read.
        size: height and width of the augmented images and of the events. Default: those of the images.
        flip: which images to flip left to right, a bool tensor ``[B]`` (``[]`` for a single image) on the images'
            device.
        interpolation: how boxes are resized: ``"bilinear"`` (as ``torch.nn.functional.interpolate`` with align_corners
            False and without antialias, within 1e-6) or ``"nearest"``.
        surrogate: derivative of the step function in the backward pass; see ``docs/gradients.md``. The events are the
            same. They have a gradient for floating-point images and for a tensor ``ratio``, but no second derivative.
            Needs floating-point events, and no ``out``. Default: events have no gradient.

    Returns:
        Dense events ``[T, B, 2, H, W]``, values 0 and 1, or packed events ``[B, 2, H, W]`` uint8; without the batch
        dimension for a single image. ``layout`` reorders the dimensions of dense events. The result is ``out``, or a
        view of it, if it is given. Requires a gradient only with a surrogate.
        An image with a NaN or infinite pixel has no events. A motion vector with equal start and end gives no events.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape, dtype, device or value is wrong. The message says what is expected.

    Example:
        >>> images = torch.rand(16, 3, 128, 128)
        >>> i2e_triton.convert(images, ratio=0.07).shape
        torch.Size([8, 16, 2, 128, 128])
        >>> i2e_triton.convert(images, ratio=0.07, packed=True).shape
        torch.Size([16, 2, 128, 128])
    """
    images = as_image_tensor(images)
    check_images(images)
    if images.is_cuda and not operator.HAS_TRITON:
        raise ValueError(
            f"images on {images.device} need Triton, which is not installed: {triton_command()}, or convert on the CPU"
        )
    single = images.dim() == 3
    batch = images[None] if single else images
    ratios: Tensor | None = None
    number = 0.0
    if isinstance(ratio, Tensor):
        check_ratio_tensor(ratio, batch)
        ratios = ratio
    else:
        number = check_ratio(ratio)
    if shifts is None:
        timesteps = check_timesteps(timesteps)
    else:
        check_timesteps(timesteps, "omit it, because shifts set the number of timesteps")
        check_shifts(shifts, batch)
        timesteps = shifts.shape[-2]
    dtype = check_format(dtype, packed, timesteps)
    if layout != "TBCHW":
        check_layout(layout, images.dim() + 1)
    check_interpolation(interpolation)
    augmentation: tuple[Any, ...] = ()
    event_size: tuple[int, int] | None = None
    if crop is not None or size is not None or flip is not None:
        augmentation = check_augmentation(batch, single, crop, size, flip, interpolation)
        event_size = augmentation[2]
    arguments = (batch, shifts, ratios, number, timesteps, dtype, packed, *augmentation)
    if surrogate is not None:
        check_surrogate(surrogate, dtype, packed, out)
        events = gradient.Convert.apply(surrogate, *arguments)
        return _in_layout(events.squeeze(-4) if single else events, layout)
    if out is None:
        events = torch.ops.i2e_triton.convert.default(*arguments)
        events = events.squeeze(-4) if single else events
        return events if packed else _in_layout(events, layout)
    shape = operator.event_shape(batch, timesteps, packed, event_size)
    inputs = {"images": images, "shifts": shifts, "ratio": ratios, "crop": crop, "flip": flip}
    check_out(out, (shape[:-4] + shape[-3:]) if single else shape, dtype, inputs)
    torch.ops.i2e_triton.convert.out(*arguments, out=out.unsqueeze(-4) if single else out)
    return out if packed else _in_layout(out, layout)


def pack(events: Tensor) -> Tensor:
    """Pack dense events into one byte per pixel and polarity; the inverse of :func:`unpack`.

    Args:
        events: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` with 1 to 8 timesteps, any dtype; a value other than 0 is
            an event.

    Returns:
        Packed events ``[B, 2, H, W]`` or ``[2, H, W]``, uint8 on the same device; bit ``t`` is timestep ``t``.

    Raises:
        TypeError: if ``events`` is not a tensor.
        ValueError: if the shape is wrong.
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.dim() not in (4, 5) or events.shape[-3] != 2:
        raise ValueError(f"events must be dense [T, B, 2, H, W] or [T, 2, H, W], got shape {list(events.shape)}")
    if not 1 <= events.shape[0] <= PACKED_TIMESTEPS:
        raise ValueError(
            f"packed events have 1 to {PACKED_TIMESTEPS} timesteps, got {events.shape[0]}; "
            f"pack events[:{PACKED_TIMESTEPS}], or use dense events"
        )
    packed = torch.zeros(events.shape[1:], dtype=torch.uint8, device=events.device)
    for t, timestep in enumerate(events.unbind()):
        packed.add_(timestep.ne(0).view(torch.uint8), alpha=1 << t)
    return packed


def unpack(packed: Tensor, timesteps: int = 8, dtype: torch.dtype = torch.float32, layout: str = "TBCHW") -> Tensor:
    """Unpack packed events to dense events; the inverse of :func:`pack`.

    The operator is ``torch.ops.i2e_triton.unpack``.

    Args:
        packed: uint8 ``[B, 2, H, W]`` or ``[2, H, W]``; bit ``t`` is timestep ``t``.
        timesteps: number of timesteps to return, 1 to 8.
        dtype: dtype of the result: float32, float16, bfloat16, uint8 or bool.
        layout: order of the dimensions of the result; see :func:`convert`.

    Returns:
        Dense events ``[timesteps, B, 2, H, W]`` or ``[timesteps, 2, H, W]`` on the same device. ``layout`` reorders
        the dimensions.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape or value is wrong.

    Example:
        >>> packed = i2e_triton.convert(torch.rand(16, 3, 128, 128), packed=True)
        >>> i2e_triton.unpack(packed, timesteps=4, dtype=torch.bfloat16).shape
        torch.Size([4, 16, 2, 128, 128])
    """
    if not isinstance(packed, Tensor):
        raise TypeError(f"packed must be a tensor, got {type(packed).__name__}")
    if packed.dtype != torch.uint8 or packed.dim() not in (3, 4) or packed.shape[-3] != 2:
        raise ValueError(f"packed must be uint8 [B, 2, H, W] or [2, H, W], got {packed.dtype} {list(packed.shape)}")
    timesteps = check_timesteps(timesteps, "a byte holds 8 timesteps")
    check_format(dtype, False, timesteps)
    check_layout(layout, packed.dim() + 1)
    return _in_layout(torch.ops.i2e_triton.unpack.default(packed, timesteps, dtype), layout)


def event_rate(events: Tensor, dim: int | Iterable[int] | None = None) -> Tensor:
    """Return the fraction of elements that are events.

    Args:
        events: dense events of any dtype, usually ``[T, B, 2, H, W]``; a value other than 0 is an event. Unpack packed
            events first. On the CPU, uint8 values above 1 are recognised as packed events and rejected.
        dim: dimension or dimensions to average over; ``(1, 3, 4)`` gives the rate per timestep and polarity. Default:
            all.

    Returns:
        float64 tensor on the same device, values 0 to 1; NaN for an average over no elements.

    Raises:
        TypeError: if ``events`` is not a dense tensor of real numbers, or ``dim`` is not an int, several ints or None.
        ValueError: if the events are packed, or a dimension does not exist or is repeated.

    Example:
        >>> events = i2e_triton.convert(torch.rand(16, 3, 128, 128))
        >>> i2e_triton.event_rate(events, dim=(1, 3, 4)).shape  # per timestep and polarity
        torch.Size([8, 2])
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.is_complex() or events.layout != torch.strided:
        raise TypeError(f"events must be dense and real, got {events.dtype} {events.layout}")
    dims = _dimensions(dim, events)
    elements = 1
    for d in dims:
        elements *= events.shape[d]
    in_chunks = events.device.type == "cpu" and not torch.compiler.is_compiling()
    counts = _count_in_chunks(events, dims) if in_chunks else _count(events, dims)
    return (counts.squeeze(dims) if dims else counts).to(torch.float64) / elements


def _in_layout(events: Tensor, layout: str) -> Tensor:
    """Return dense events in a layout, without the time of a view in the default one."""
    return events if layout == "TBCHW" else to_layout(events, layout)


def _dimensions(dim: int | Iterable[int] | None, events: Tensor) -> tuple[int, ...]:
    """Return non-negative dimensions. None and, as in PyTorch's reductions, an empty tuple mean all dimensions."""
    if dim is None:
        return tuple(range(events.dim()))
    try:
        dims = tuple(index(d) for d in dim) if isinstance(dim, Iterable) else (index(dim),)
    except TypeError as error:
        raise TypeError(f"dim must be an int, several ints or None, got {dim!r}") from error
    rank = events.dim()
    dims = tuple(d + rank if d < 0 else d for d in dims)
    if not all(0 <= d < rank for d in dims) or len(set(dims)) != len(dims):
        raise ValueError(
            f"dim must be distinct dimensions {-rank} to {rank - 1} of events {list(events.shape)}, got {dim}"
        )
    return dims or tuple(range(rank))


def _count(events: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the number of events along ``dims``, int64. These dimensions are kept with size 1."""
    is_event = events.ne(0)
    return is_event.sum(dims, dtype=torch.int64, keepdim=True) if dims else is_event.to(torch.int64)


def _count_in_chunks(events: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the same as :func:`_count`, in temporary memory that does not grow with the number of elements.

    Raises:
        ValueError: if a uint8 value is greater than 1, as in packed events.
    """
    if events.numel() > _CHUNK_ELEMENTS:
        outermost = next(d for d, size in enumerate(events.shape) if size > 1)
        counts = [_count_in_chunks(chunk, dims) for chunk in events.tensor_split(2, outermost)]
        return counts[0].add_(counts[1]) if outermost in dims else torch.cat(counts, outermost)
    if events.dtype == torch.uint8 and events.numel() > 0 and events.max() > 1:
        raise ValueError(f"dense uint8 events must be 0 or 1, got {int(events.max())}; unpack packed events first")
    return _count(events, dims)
