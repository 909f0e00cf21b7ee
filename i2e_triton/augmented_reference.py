"""The specification of an augmented conversion: crop, scale, resize and flip in plain PyTorch, then the specification.

Slow, and written to be read, as :mod:`i2e_triton.reference` is. Every other path of this package equals it bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i2e_triton import reference


def convert(
    images: Tensor,
    ratio: float | Tensor,
    shifts: Tensor,
    *,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """Convert images ``[B, C, H, W]`` to events of their augmented versions.

    Images, ratio, shifts and result are those of :func:`i2e_triton.reference.convert`, the others those of
    :func:`augment`.
    """
    return reference.convert(augment(images, crop, size, flip, interpolation), ratio, shifts)


def augment(
    images: Tensor,
    crop: Tensor | None = None,
    size: tuple[int, int] | None = None,
    flip: Tensor | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """Crop with edge padding, scale to the arithmetic type, resize, flip.

    Args:
        images: ``[B, C, H, W]`` of any image type, on the CPU.
        crop: boxes ``[B, 4]`` of (top, left, height, width), which may reach beyond the image; None is all of it.
        size: height and width of the result; None is the images'.
        flip: which images are mirrored, bool ``[B]``; None is no one.
        interpolation: ``"bilinear"`` (align_corners False, no antialias) or ``"nearest"``.

    Returns:
        ``[B, C, *size]``, float64 for float64 images and else float32.
    """
    batch, _, height, width = images.shape
    if crop is None and size in (None, (height, width)):
        interpolation = "nearest"  # each pixel stays where it is, or swaps places: nothing lies between two
    crop = torch.tensor([0, 0, height, width]).expand(batch, 4) if crop is None else crop
    flip = torch.zeros(batch, dtype=torch.bool) if flip is None else flip
    result = reference.scale(images).new_empty(batch, images.shape[1], *(size or (height, width)))
    for image, box, mirrored, place in zip(images, crop.tolist(), flip.tolist(), result):
        resized = resize(reference.scale(cut(image, *box)), place.shape[1:], interpolation)
        place.copy_(resized.flip(-1) if mirrored else resized)
    return result


def cut(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Cut a box out of ``[C, H, W]``; beyond the image its border goes on."""
    rows = torch.arange(top, top + height).clamp(0, image.shape[1] - 1)
    columns = torch.arange(left, left + width).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns]


def resize(image: Tensor, size: torch.Size | tuple[int, int], interpolation: str) -> Tensor:
    """Resize ``[C, H, W]`` of an arithmetic type, first its rows and then its columns."""
    above, below, down = source(image.shape[1], size[0], image.dtype, interpolation)
    before, after, right = source(image.shape[2], size[1], image.dtype, interpolation)
    if interpolation == "nearest":
        return image[:, above][:, :, before]
    across = lerp(image[:, :, before], image[:, :, after], right)
    return lerp(across[:, above], across[:, below], down[:, None])


def source(length: int, size: int, dtype: torch.dtype, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Where the pixels of a line of ``size`` lie in one of ``length``.

    Computed as PyTorch does for a tensor of this type: the scale is rounded to the type, and so is the place, once. The
    scale is a product in float64 here, which rounds to the same float32 as the quotient does.

    Returns:
        The pixel before the place and the one after it, int64 ``[size]``, and the part of the way between them.
    """
    centre = 0.5 if interpolation == "bilinear" else 0.0
    scale = torch.tensor(length * (1 / size), dtype=torch.float64).to(dtype).double()
    place = ((torch.arange(size, dtype=torch.float64) + centre) * scale - centre).to(dtype).clamp(min=0)
    before = place.long().clamp(max=length - 1)
    return before, (before + 1).clamp(max=length - 1), place - before


def lerp(start: Tensor, end: Tensor, way: Tensor) -> Tensor:
    """Go part of the way from one value to another; between two that are equal, exactly nowhere."""
    return start + (end - start) * way
