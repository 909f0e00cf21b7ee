"""The reference implementation of I2E in plain PyTorch (Ma et al., AAAI 2026).

It is slow and written for readability. It differs from the official code in two lines, which comments mark. All other
implementations in this package give bit-identical events. With a surrogate, autograd through this code defines the
gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.shifts import convolution_weight
from i2e_triton.surrogate import Surrogate


def convert(
    images: Tensor,
    ratio: float | Tensor,
    shifts: Tensor,
    *,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
    surrogate: Surrogate | None = None,
) -> Tensor:
    """Convert images ``[B, C, H, W]``, or their augmented versions, to events.

    Args:
        images: uint8, float16, bfloat16, float32 or float64, on the CPU. uint8 is scaled to [0, 1].
        ratio: event threshold as a fraction of the range of the image's values: one number, or a tensor ``[B]``.
        shifts: motion vectors of (dy0, dx0, dy1, dx1) in pixels: ``[T, 4]`` for all images, or ``[B, T, 4]`` with
            separate motion vectors for each image.
        crop: see :func:`augment`.
        size: see :func:`augment`.
        flip: see :func:`augment`.
        interpolation: see :func:`augment`.
        surrogate: derivative of the step function in the backward pass; None: the result has no gradient.

    Returns:
        bool tensor ``[T, B, 2, H, W]``, of the augmented height and width; polarity 0 is ON, polarity 1 is OFF. With a
        surrogate it has the arithmetic type (:func:`scale`) and a gradient for the images and for a tensor ``ratio``.
    """
    if crop is not None or size is not None or flip is not None:
        images = augment(images, crop, size, flip, interpolation)
    if shifts.dim() == 3:
        ratios = torch.as_tensor(ratio, dtype=torch.float64).expand(len(images))
        events = [convert(i[None], r[None], s, surrogate=surrogate) for i, r, s in zip(images, ratios, shifts)]
        return torch.cat(events, dim=1)

    # Differs from the official code: an image with a NaN or infinite pixel becomes black, so it has no events.
    finite = images.isfinite().all(dim=3).all(dim=2).all(dim=1)
    value = scale(images).masked_fill(~finite[:, None, None, None], 0).amax(dim=1, keepdim=True)
    ratio_per_image = ratio.to(value.dtype)[:, None, None, None] if isinstance(ratio, Tensor) else ratio
    theta = (value.amax(dim=(2, 3), keepdim=True) - value.amin(dim=(2, 3), keepdim=True)) * ratio_per_image

    weight = convolution_weight(shifts).to(value.dtype)
    reach = weight.shape[-1] // 2
    difference = F.conv2d(F.pad(value, (reach,) * 4, mode="replicate"), weight)

    # Differs from the official code, which omits the paper's condition `difference > 0`. Without it, every pixel of a
    # flat image has events of both polarities.
    on = (difference >= theta) & (difference > 0)
    off = (-difference >= theta) & (difference < 0)
    if surrogate is None:
        return torch.stack([on, off], dim=2).transpose(0, 1)
    steps = [Step.apply(difference - theta, on, surrogate), Step.apply(-difference - theta, off, surrogate)]
    return torch.stack(steps, dim=2).transpose(0, 1)


class Step(torch.autograd.Function):
    """Events as numbers. In the backward pass, they are a function of ``u`` with the derivative of the surrogate."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, events: Tensor, surrogate: Surrogate) -> Tensor:
        """Return the events in the dtype of ``u``."""
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return events.to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient for ``u``."""
        return gradients[0] * ctx.surrogate.derivative(*ctx.saved_tensors), None, None


def augment(
    images: Tensor,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """Crop with edge padding, convert to the arithmetic type (:func:`scale`), resize and flip, in this order.

    Args:
        images: ``[B, C, H, W]`` of any image type, on the CPU.
        crop: boxes ``[B, 4]`` of (top, left, height, width), which may extend beyond the image; None: no image is
            cropped.
        size: height and width of the result; None keeps those of the images.
        flip: bool ``[B]``, True for the images to flip left to right; None: no image is flipped.
        interpolation: ``"bilinear"`` (align_corners False, no antialias) or ``"nearest"``.

    Returns:
        ``[B, C, *size]``, float64 for float64 images and float32 for all others.
    """
    batch, _, height, width = images.shape
    if crop is None and size in (None, (height, width)):
        interpolation = "nearest"  # every pixel maps to exactly one pixel
    crop = torch.tensor([0, 0, height, width]).expand(batch, 4) if crop is None else crop
    flip = torch.zeros(batch, dtype=torch.bool) if flip is None else flip
    images = scale(images)
    results = [images.new_empty(0, images.shape[1], *(size or (height, width)))]
    for image, box, flipped in zip(images, crop.tolist(), flip.tolist()):
        resized = resize(crop_box(image, *box), results[0].shape[2:], interpolation)
        results.append(resized.flip(-1)[None] if flipped else resized[None])
    return torch.cat(results)


def scale(images: Tensor) -> Tensor:
    """Convert images to the arithmetic type: float64 for float64 images, and float32 for all others.

    uint8 is scaled to [0, 1], as by ``v2.ToDtype(torch.float32, scale=True)``.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32) * (1 / 255)
    return images if images.dtype == torch.float64 else images.to(torch.float32)


def crop_box(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Crop a box from ``[C, H, W]``; pixels outside of the image repeat its border."""
    rows = torch.arange(top, top + height).clamp(0, image.shape[1] - 1)
    columns = torch.arange(left, left + width).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns]


def resize(image: Tensor, size: torch.Size | tuple[int, int], interpolation: str) -> Tensor:
    """Resize ``[C, H, W]`` of an arithmetic type; bilinear interpolation runs along x first, then along y."""
    y_lo, y_hi, y_weight = source_pixels(image.shape[1], size[0], image.dtype, interpolation)
    x_lo, x_hi, x_weight = source_pixels(image.shape[2], size[1], image.dtype, interpolation)
    if interpolation == "nearest":
        return image[:, y_lo][:, :, x_lo]
    along_x = lerp(image[:, :, x_lo], image[:, :, x_hi], x_weight)
    return lerp(along_x[:, y_lo], along_x[:, y_hi], y_weight[:, None])


def source_pixels(length: int, size: int, dtype: torch.dtype, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two source pixels of each target pixel, and their weight, along one axis.

    The scale is rounded to ``dtype``, then the coordinate is rounded to ``dtype``, as in PyTorch's resize. The scale is
    computed as ``length * (1 / size)`` in float64, which rounds to the same float32 as PyTorch's ``length / size``.

    Args:
        length: number of source pixels.
        size: number of target pixels.
        dtype: the arithmetic type.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        The source pixels ``lo`` and ``hi``, int64 ``[size]``, and the weight of ``hi``, ``dtype`` ``[size]``.
    """
    centre = 0.5 if interpolation == "bilinear" else 0.0
    scale = torch.tensor(length * (1 / size), dtype=torch.float64).to(dtype).double()
    coordinate = ((torch.arange(size, dtype=torch.float64) + centre) * scale - centre).to(dtype).clamp(min=0)
    lo = coordinate.long().clamp(max=length - 1)
    return lo, (lo + 1).clamp(max=length - 1), coordinate - lo


def lerp(lo: Tensor, hi: Tensor, weight: Tensor) -> Tensor:
    """Interpolate linearly. Two equal values give exactly that value, so a flat image stays flat."""
    return lo + (hi - lo) * weight
