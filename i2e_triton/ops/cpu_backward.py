"""The gradients of a conversion on the CPU.

``docs/gradients.md`` defines them. Autograd through the reference gives the same results, up to rounding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.ops import cpu, cpu_arithmetic, cpu_augmented
from i2e_triton.surrogate import Surrogate

# Pixels of a chunk, per thread, so that the planes of a timestep stay in the cache.
_CHUNK_PIXELS = 64 * 1024


@torch.no_grad()
def gradients_into(
    image_gradient: Tensor | None,
    ratio_gradient: Tensor,
    gradient: Tensor,
    images: Tensor,
    shifts: Tensor,
    ratio: Tensor,
    surrogate: Surrogate,
    *,
    crop: Tensor | None,
    flip: Tensor | None,
    nearest: bool,
) -> None:
    """Write the gradients of a loss for the images and for the ratio of each image.

    Args:
        image_gradient: result ``[B, C, H, W]`` in the dtype of the images, or None if it is not needed.
        ratio_gradient: result ``[B]`` in the dtype of ``ratio``.
        gradient: gradient of the loss for the events ``[T, B, 2, H, W]``, of the augmented height and width; any
            floating-point dtype and strides.
        images: ``[B, C, H, W]``.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``.
        ratio: ``[B]``, float64 for float64 images, otherwise float32.
        surrogate: derivative of the step function.
        crop: boxes ``[B, 4]``, or None for whole images.
        flip: bool ``[B]``, or None.
        nearest: take the nearest pixels instead of interpolating.
    """
    height, width = gradient.shape[-2:]
    augmented = crop is not None or flip is not None or (height, width) != images.shape[-2:]
    sources = cpu_augmented.sources(images, crop, flip, (height, width), ratio.dtype, nearest) if augmented else None
    per_chunk = max(1, _CHUNK_PIXELS * torch.get_num_threads() // (height * width)) if shifts.dim() == 2 else 1
    for first in range(0, len(images), per_chunk):
        chunk = slice(first, first + per_chunk)
        raw = images[chunk]
        axes = None if sources is None else (sources[0].select(chunk), sources[1].select(chunk))
        pixels = raw if axes is None else cpu_augmented.augmented(raw, *axes, nearest)
        vectors = (shifts if shifts.dim() == 2 else shifts[first]).tolist()
        ratio_gradient[chunk], value_gradient = _value_gradient(
            pixels, gradient[:, chunk], vectors, ratio[chunk], surrogate, image_gradient is not None
        )
        if image_gradient is not None and value_gradient is not None:
            result = _channel_gradient(pixels, value_gradient)
            if axes is not None:
                result = cpu_augmented.raw_gradient(result, *axes, raw.shape[-2:], nearest)
            image_gradient[chunk] = result


def _value_gradient(
    pixels: Tensor, gradient: Tensor, vectors: list[list[int]], ratio: Tensor, surrogate: Surrogate, needed: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients for the ratio ``[N]`` and, if needed, for the value channels ``[N, H, W]``.

    Args:
        pixels: images ``[N, C, H, W]``.
        gradient: gradient for the events ``[T, N, 2, H, W]``.
        vectors: motion vectors of (dy0, dx0, dy1, dx1).
        ratio: ``[N]`` in the arithmetic dtype.
        surrogate: derivative of the step function.
        needed: whether to compute the gradient for the value channels.
    """
    value, finite = _value(pixels, ratio.dtype)
    count, height, width = value.shape
    low, high = value.amin(dim=(1, 2)), value.amax(dim=(1, 2))
    theta = ((high - low) * ratio)[:, None, None]
    vectors = cpu.clamped(vectors, height - 1, width - 1)
    reach_y, reach_x = (max(abs(d) for vector in vectors for d in vector[axis::2]) for axis in (0, 1))
    padded = F.pad(value[:, None], (reach_x, reach_x, reach_y, reach_y), mode="replicate")[:, 0]
    result = torch.zeros_like(padded) if needed else None

    def at(planes: Tensor, dy: int, dx: int) -> Tensor:
        return planes.narrow(1, reach_y + dy, height).narrow(2, reach_x + dx, width)

    theta_gradient = value.new_zeros(count)
    for (dy0, dx0, dy1, dx1), timestep in zip(vectors, gradient):
        difference = at(padded, dy1, dx1) - at(padded, dy0, dx0)
        on = _terms(timestep[:, 0], difference - theta, surrogate)
        off = _terms(timestep[:, 1], difference.add_(theta), surrogate)  # of -u: the derivatives are even functions
        theta_gradient -= on.sum(dim=(1, 2)) + off.sum(dim=(1, 2))
        if result is not None:
            on -= off
            at(result, dy1, dx1).add_(on)
            at(result, dy0, dx0).sub_(on)
    theta_gradient.masked_fill_(~finite, 0)
    ratio_gradient = theta_gradient * (high - low).masked_fill(~finite, 0)
    if result is None:
        return ratio_gradient, None
    result = _fold(_fold(result, 1, reach_y), 2, reach_x).masked_fill_(~finite[:, None, None], 0)
    # theta depends on the largest and the smallest value. Pixels that share it share its gradient.
    for extreme, share in ((high, theta_gradient * ratio), (low, -theta_gradient * ratio)):
        equal = value == extreme[:, None, None]
        result += equal * (share / equal.sum(dim=(1, 2)))[:, None, None]
    return ratio_gradient, result


def _terms(gradient: Tensor, u: Tensor, surrogate: Surrogate) -> Tensor:
    """Return the gradient for events times the derivative of the surrogate at ``u``, whose memory may be used."""
    if surrogate.name == "atan":  # the default, in two passes over u
        alpha = surrogate.alpha or 0
        torch.addcmul(u.new_tensor(2 / alpha), u, u, value=math.pi**2 * alpha / 2, out=u)
        return torch.div(gradient, u, out=u)
    return surrogate.derivative(u).mul_(gradient)


def _value(pixels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the value channels ``[N, H, W]`` of images, and whether all pixels of each image are finite ``[N]``.

    The value channel of an image is 0 if they are not finite, or if its range is too large for ``dtype``.
    """
    value = cpu_arithmetic.channel_max(pixels)
    if pixels.dtype == torch.uint8:
        return value.to(dtype) * (1 / 255), torch.ones(len(pixels), dtype=torch.bool)
    value = value.to(dtype)
    lowest = pixels.amin(dim=(1, 2, 3))  # over all channels, because a larger channel hides a -inf
    finite = lowest.isfinite() & (value.amax(dim=(1, 2)) - value.amin(dim=(1, 2))).isfinite()
    return value.masked_fill(~finite[:, None, None], 0), finite


def _fold(padded: Tensor, dim: int, reach: int) -> Tensor:
    """Remove ``reach`` pixels at both ends of a dimension, and add them to the pixels of the border."""
    if reach == 0:
        return padded
    inner = padded.narrow(dim, reach, padded.shape[dim] - 2 * reach)
    first, last = padded.narrow(dim, 0, reach), padded.narrow(dim, padded.shape[dim] - reach, reach)
    inner.narrow(dim, 0, 1).add_(first.sum(dim, keepdim=True))
    inner.narrow(dim, inner.shape[dim] - 1, 1).add_(last.sum(dim, keepdim=True))
    return inner


def _channel_gradient(pixels: Tensor, value_gradient: Tensor) -> Tensor:
    """Return the gradient for images ``[N, C, H, W]``. Channels that share a pixel's maximum share its gradient."""
    if pixels.shape[1] == 1:
        return value_gradient[:, None]
    # As numbers, because PyTorch adds up bool several times as slowly.
    largest = (pixels == cpu_arithmetic.channel_max(pixels)[:, None]).to(value_gradient.dtype)
    # An image with NaN has no largest channel, and a gradient of 0.
    return largest.mul_((value_gradient / largest.sum(dim=1).clamp_(min=1))[:, None])
