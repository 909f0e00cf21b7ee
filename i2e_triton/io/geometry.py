"""Rules for resizing pictures: fit, crop or stretch, and the interpolation."""

from __future__ import annotations

import torch
from torch import Tensor

#: How a picture is brought to a size. ``"fit"``: scale it into the size, keep its aspect ratio, and fill the rest with
#: its border pixels. ``"crop"``: scale it to cover the size, and keep the centre. ``"stretch"``: change its aspect
#: ratio.
RESIZES = ("fit", "crop", "stretch")
INTERPOLATIONS = ("bicubic", "bilinear")
_CROP_8_7 = "crop 8/7"
#: Name of a rule, as a manifest records it -> one of :data:`RESIZES` and one of :data:`INTERPOLATIONS`. The first three
#: names are those of earlier versions, whose data sets can be resumed.
RESIZE_RULES = {
    "bicubic": ("stretch", "bicubic"),  # the official data sets
    "bilinear": ("stretch", "bilinear"),  # the official notebooks
    # The official notebook for ImageNet's validation split: the shorter side becomes 8/7 of the size.
    "bilinear-crop": (_CROP_8_7, "bilinear"),
    **{f"{resize} {name}": (resize, name) for resize in ("fit", "crop") for name in INTERPOLATIONS},
}


def resize_rule(resize: str, interpolation: str = "bicubic") -> str:
    """Return the name of a rule, one of :data:`RESIZE_RULES`.

    Args:
        resize: one of :data:`RESIZES`. The name of a rule is returned as it is.
        interpolation: one of :data:`INTERPOLATIONS`.

    Raises:
        ValueError: if an argument is neither.
    """
    if resize in RESIZE_RULES:
        return resize
    if resize not in RESIZES:
        raise ValueError(f"resize must be one of {', '.join(RESIZES)}; got {resize!r}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {interpolation!r}")
    return next(name for name, rule in RESIZE_RULES.items() if rule == (resize, interpolation))


def check_resize(size: tuple[int, int] | None, rule: str) -> None:
    """Raise a ValueError unless a rule exists and supports a size."""
    if rule not in RESIZE_RULES:
        raise ValueError(f"the resize rule must be one of {', '.join(RESIZE_RULES)}; got {rule!r}")
    resize, _ = RESIZE_RULES[rule]
    if resize == _CROP_8_7 and (size is None or size[0] != size[1]):
        raise ValueError(f"{rule} needs a square size, got {size}")
    if size is None and resize != "stretch":
        raise ValueError(f"{resize} needs a size")


def scaled_size(height: int, width: int, size: tuple[int, int], rule: str) -> tuple[int, int]:
    """Return the height and width to which a rule scales a picture before :func:`crop_or_pad`."""
    resize, _ = RESIZE_RULES[rule]
    if resize == "stretch":
        return size
    if resize == _CROP_8_7:
        size = (round(size[0] * 8 / 7), round(size[1] * 8 / 7))
    wider = size[0] * width >= size[1] * height  # than the size
    if resize == "fit":
        if wider:
            return max(1, round(height * size[1] / width)), size[1]
        return size[0], max(1, round(width * size[0] / height))
    # The longer side is rounded down, as in torchvision's Resize.
    return (size[0], size[0] * width // height) if wider else (size[1] * height // width, size[1])


def crop_or_pad(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the centre of images ``[..., C, H, W]``, or repeat their border, so that they have the size.

    Events inside a padded picture are those of the picture alone: the conversion repeats the border as well.
    """
    if images.shape[-2:] == size:
        return images
    indices = []
    for whole, part in zip(images.shape[-2:], size):
        # round(), not //, for an odd number of pixels: as torchvision's CenterCrop.
        start = round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
        indices.append((torch.arange(part) + start).clamp(0, whole - 1))
    rows, columns = indices
    # Channels stay last in memory. The copy lets the pixels outside the crop be freed.
    return images.movedim(-3, -1).index_select(-3, rows).index_select(-2, columns).movedim(-1, -3)
