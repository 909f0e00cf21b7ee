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

# Pixels of a chunk, per thread. Smaller chunks need more calls. Larger ones do not fit in the cache.
_CHUNK_PIXELS = 256 * 1024


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
    microsaccades = shifts.tolist() if shifts.dim() == 3 else [shifts.tolist()]  # one for all images, or one each
    microsaccades = [cpu.clamped(vectors, height - 1, width - 1) for vectors in microsaccades]
    per_chunk = max(1, _CHUNK_PIXELS * torch.get_num_threads() // (height * width))
    for first in range(0, len(images), per_chunk):
        chunk = slice(first, first + per_chunk)
        pixels = images[chunk]
        axes = None if sources is None else (sources[0].select(chunk), sources[1].select(chunk))
        if axes is not None:
            pixels = cpu_augmented.augmented(pixels, *axes, nearest)
        value = cpu_arithmetic.channel_max(pixels).to(ratio.dtype)
        if pixels.dtype == torch.uint8:
            value *= 1 / 255
        vectors = microsaccades[chunk] if len(microsaccades) > 1 else microsaccades
        ratio_gradient[chunk], value_gradient = _value_gradient(
            pixels, value, gradient[:, chunk], vectors, ratio[chunk], surrogate, image_gradient is not None
        )
        if image_gradient is None or value_gradient is None:
            continue
        if axes is None:
            _channel_gradient_into(image_gradient[chunk], pixels, value, value_gradient)
        else:
            result = value.new_empty(pixels.shape)
            _channel_gradient_into(result, pixels, value, value_gradient)
            image_gradient[chunk] = cpu_augmented.raw_gradient(result, *axes, images.shape[-2:], nearest)


def _value_gradient(
    pixels: Tensor,
    value: Tensor,
    gradient: Tensor,
    microsaccades: list[list[list[int]]],
    ratio: Tensor,
    surrogate: Surrogate,
    needed: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients for the ratio ``[N]`` and, if needed, for the value channels ``[N, H, W]``.

    Args:
        pixels: images ``[N, C, H, W]``.
        value: their value channels ``[N, H, W]`` in the arithmetic dtype.
        gradient: gradient for the events ``[T, N, 2, H, W]``.
        microsaccades: motion vectors of (dy0, dx0, dy1, dx1) of all images together, or of each image: ``[1 or N][T]``.
        ratio: ``[N]`` in the arithmetic dtype.
        surrogate: derivative of the step function.
        needed: whether to compute the gradient for the value channels.
    """
    low, high = value.amin(dim=(1, 2)), value.amax(dim=(1, 2))
    # The minimum is over all channels, because a larger channel hides a -inf from the value channel.
    finite = pixels.amin(dim=(1, 2, 3)).isfinite() & (high - low).isfinite()
    total, result = _sums(value, (high - low) * ratio, gradient, microsaccades, surrogate, needed)
    ratio_gradient = (-total * (high - low)).masked_fill_(~finite, 0)
    if result is None:
        return ratio_gradient, None
    # theta depends on the largest and the smallest value. Pixels that share it share its gradient.
    for extreme, share in ((high, -total * ratio), (low, total * ratio)):
        # In the value's dtype, because bool masks are several times as slow to write and to add up.
        equal = torch.eq(value, extreme[:, None, None], out=torch.empty_like(value))
        result.addcmul_(equal, (share / equal.sum(dim=(1, 2)))[:, None, None])
    if not bool(finite.all()):
        result[~finite] = 0
    return ratio_gradient, result


def _sums(
    value: Tensor,
    theta: Tensor,
    gradient: Tensor,
    microsaccades: list[list[list[int]]],
    surrogate: Surrogate,
    needed: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the sum of an image's terms ``[N]`` and, if needed, the gradient for values without that of theta.

    A term is the gradient for an event, times the derivative of the surrogate at this event.
    """
    count, height, width = value.shape
    reach_y, reach_x = (
        max(abs(d) for vectors in microsaccades for vector in vectors for d in vector[axis::2]) for axis in (0, 1)
    )
    padded = F.pad(value[:, None], (reach_x, reach_x, reach_y, reach_y), mode="replicate")[:, 0]
    result = torch.zeros_like(padded)
    change, u = torch.empty_like(value), value.new_empty(2, *value.shape)
    images = count // len(microsaccades)  # that share motion vectors
    parts = list(zip(padded.split(images), result.split(images), change.split(images)))

    def at(planes: Tensor, dy: int, dx: int) -> Tensor:
        return planes.narrow(1, reach_y + dy, height).narrow(2, reach_x + dx, width)

    total = torch.zeros_like(theta)
    thetas = torch.stack([theta, -theta])[..., None, None]
    for vectors, timestep in zip(zip(*microsaccades), gradient.transpose(1, 2)):
        for (dy0, dx0, dy1, dx1), (plane, _, part) in zip(vectors, parts):
            torch.sub(at(plane, dy1, dx1), at(plane, dy0, dx0), out=part)
        # The second half is -u of the OFF events. The derivatives are even functions.
        terms = _terms(timestep, torch.sub(change, thetas, out=u), surrogate)
        total += terms.sum(dim=(0, 2, 3))
        if needed:
            torch.sub(terms[0], terms[1], out=change)
            for (dy0, dx0, dy1, dx1), (_, plane, part) in zip(vectors, parts):
                at(plane, dy1, dx1).add_(part)
                at(plane, dy0, dx0).sub_(part)
    return total, _fold(_fold(result, 1, reach_y), 2, reach_x) if needed else None


def _terms(gradient: Tensor, u: Tensor, surrogate: Surrogate) -> Tensor:
    """Return the gradient for events times the derivative of the surrogate at ``u``, whose memory may be used."""
    if surrogate.name == "atan":  # the default, in two passes over u
        alpha = surrogate.alpha or 0
        torch.addcmul(u.new_tensor(2 / alpha), u, u, value=math.pi**2 * alpha / 2, out=u)
        return torch.div(gradient, u, out=u)
    return surrogate.derivative(u).mul_(gradient)


def _fold(padded: Tensor, dim: int, reach: int) -> Tensor:
    """Remove ``reach`` pixels at both ends of a dimension, and add them to the pixels of the border."""
    if reach == 0:
        return padded
    inner = padded.narrow(dim, reach, padded.shape[dim] - 2 * reach)
    first, last = padded.narrow(dim, 0, reach), padded.narrow(dim, padded.shape[dim] - reach, reach)
    inner.narrow(dim, 0, 1).add_(first.sum(dim, keepdim=True))
    inner.narrow(dim, inner.shape[dim] - 1, 1).add_(last.sum(dim, keepdim=True))
    return inner


def _channel_gradient_into(out: Tensor, pixels: Tensor, value: Tensor, value_gradient: Tensor) -> None:
    """Write the gradient for images ``[N, C, H, W]``. Channels that share a pixel's maximum share its gradient."""
    torch.eq(pixels, value[:, None], out=out)
    # An image with NaN has no largest channel, and a gradient of 0.
    out.mul_((value_gradient / out.sum(dim=1, dtype=value.dtype).clamp_(min=1))[:, None])
