"""Images of a source become the tensors that are converted: decoded, and resized as the official data sets were."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from i2e_triton.images import in_plain_mode
from i2e_triton.io.pictures import PictureError, decode_picture

#: How images are resized. bicubic: as the official data sets; bilinear: as the official notebooks; bilinear-crop: as
#: the notebook for ImageNet's validation split, the shorter side to 8/7 of the size and then the middle.
RESIZE_RULES = ("bicubic", "bilinear", "bilinear-crop")


@dataclass(frozen=True)
class PreparedImages:
    """Images in groups of equal shape and dtype, and those that could not be read."""

    groups: list[tuple[list[int], Tensor]]  #: places in what was prepared, and their images ``[B, C, H, W]``
    damaged: dict[int, PictureError]  #: by place


def check_resize(size: tuple[int, int] | None, rule: str) -> None:
    """Check that a resize rule exists and can give a size.

    Raises:
        ValueError: naming the value and what would be right.
    """
    if rule not in RESIZE_RULES:
        raise ValueError(f"the resize rule must be {', '.join(RESIZE_RULES)}; got {rule!r}")
    if rule == "bilinear-crop" and (size is None or size[0] != size[1]):
        raise ValueError(f"the resize rule bilinear-crop needs a square size, got {size}")


def prepare(image: bytes | PIL.Image.Image, size: tuple[int, int] | None, rule: str = "bicubic") -> Tensor:
    """Decode an image by the rules of :mod:`i2e_triton.io.pictures` and resize the tensor, antialiased.

    The result is what the official pipeline gives: ``convert("RGB")``, ``PILToTensor`` and ``Resize`` of
    ``torchvision.transforms.v2``, of pictures as they are stored: an EXIF orientation is not followed. But grey of more
    than 8 bits keeps them.

    Args:
        image: of a :class:`i2e_triton.sources.Row`: an encoded picture file, or a picture.
        size: height and width in pixels; None keeps the image's own.
        rule: one of :data:`RESIZE_RULES`.

    Returns:
        uint8 ``[3, H, W]``; float32 ``[1, H, W]`` with the stored values for grey of more than 8 bits. In memory the
        channels are last.

    Raises:
        PictureError: if the image is damaged or too large.
        ValueError: if the rule does not exist, or cannot give the size.
    """
    check_resize(size, rule)
    return _resize(_decode(image), size, rule)


def prepare_batch(
    images: Iterable[bytes | PIL.Image.Image], size: tuple[int, int] | None, rule: str = "bicubic"
) -> PreparedImages:
    """Do the same for many images, in less time where they are small: those of equal shape are resized in one call.

    Args:
        images: as for :func:`prepare`. No more than one that is larger than ``size`` is in memory at a time.
        size: height and width in pixels; None keeps each image's own.
        rule: one of :data:`RESIZE_RULES`.

    Returns:
        The images of :func:`prepare`, bit for bit, and what it raises of those that are damaged or too large.

    Raises:
        ValueError: if the rule does not exist, or cannot give the size.
    """
    check_resize(size, rule)
    small, ready, damaged = _Groups(), _Groups(), {}
    for place, image in enumerate(images):
        try:
            decoded = _decode(image)
            if size is not None and decoded.shape[-2] * decoded.shape[-1] <= size[0] * size[1]:
                small.add([place], decoded[None])
            else:
                ready.add([place], _resize(decoded, size, rule)[None])
        except PictureError as error:
            damaged[place] = error
    for places, stack in small.joined():
        ready.add(places, _resize(stack, size, rule))
    return PreparedImages(ready.joined(), damaged)


class _Groups:
    """Batches by shape and dtype of their images."""

    def __init__(self) -> None:
        self._parts: dict[tuple[torch.Size, torch.dtype], list[tuple[list[int], Tensor]]] = {}

    def add(self, places: list[int], images: Tensor) -> None:
        self._parts.setdefault((images.shape[1:], images.dtype), []).append((places, images))

    def joined(self) -> list[tuple[list[int], Tensor]]:
        return [
            ([place for places, _ in parts for place in places], _cat([images for _, images in parts]))
            for parts in self._parts.values()
        ]


def _cat(parts: list[Tensor]) -> Tensor:
    # Channels stay last in memory: there torchvision's resize is twice as fast, and no byte has to be moved.
    return parts[0] if len(parts) == 1 else torch.cat([part.movedim(1, -1) for part in parts]).movedim(-1, 1)


def _decode(image: bytes | PIL.Image.Image) -> Tensor:
    picture = decode_picture(io.BytesIO(image), upright=False) if isinstance(image, bytes) else in_plain_mode(image)
    return pil_to_tensor(picture.convert("RGB") if picture.mode == "L" else picture)


def _resize(images: Tensor, size: tuple[int, int] | None, rule: str) -> Tensor:
    if size is None:
        return images
    if rule == "bilinear-crop":
        middle = center_crop(_resize_shorter_side(images, round(size[0] * 8 / 7)), list(size))
        return middle.movedim(-3, -1).contiguous().movedim(-1, -3)  # not the memory of the whole
    return resize(images, list(size), InterpolationMode(rule), antialias=True)


def _resize_shorter_side(images: Tensor, side: int) -> Tensor:
    shorter, longer = sorted(images.shape[-2:])
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and side * side * longer > limit * shorter:
        raise PictureError(f"too narrow: {side} pixels wide, it would have more than {limit:,}")
    return resize(images, [side], InterpolationMode.BILINEAR, antialias=True)
