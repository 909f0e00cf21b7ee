"""Decode the images of a source and resize them as the official data sets were resized."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from i2e_triton.images import to_supported_mode
from i2e_triton.io.geometry import RESIZE_RULES, check_resize, crop_or_pad, scaled_size
from i2e_triton.io.pictures import PictureError, check_scaled, decode_picture
from i2e_triton.sources.resize import resize


@dataclass(frozen=True)
class PreparedImages:
    """Images in groups of equal shape and dtype, and the errors of unreadable images."""

    groups: list[
        tuple[list[int], Tensor]
    ]  #: positions in the input, and the images ``[B, C, H, W]`` at these positions
    damaged: dict[int, PictureError]  #: position in the input -> why the image cannot be read


def prepare(image: bytes | PIL.Image.Image, size: tuple[int, int] | None, rule: str = "bicubic") -> Tensor:
    """Return an image as a tensor, decoded by :func:`i2e_triton.io.pictures.decode_picture` and resized, antialiased.

    The result equals that of the official pipeline: ``convert("RGB")``, then ``PILToTensor`` and ``Resize`` of
    ``torchvision.transforms.v2``. The EXIF orientation is ignored. The only difference: grey with more than 8 bits
    keeps its precision.

    Args:
        image: content of an image file, or a PIL image, as in :class:`i2e_triton.sources.ImageRow`.
        size: height and width in pixels. None keeps the size of the image.
        rule: one of :data:`i2e_triton.io.geometry.RESIZE_RULES`. Default: ``"bicubic"``.

    Returns:
        uint8 ``[3, H, W]``, or float32 ``[1, H, W]`` with the stored values for grey with more than 8 bits. Channels
        are last in memory.

    Raises:
        PictureError: if the image is damaged or too large.
        ValueError: if the rule does not exist or does not support the size.
    """
    check_resize(size, rule)
    return _resize(_decode(image), size, rule)


def prepare_batch(
    images: Iterable[bytes | PIL.Image.Image],
    size: tuple[int, int] | None,
    rule: str = "bicubic",
    pixels: float = math.inf,
) -> PreparedImages:
    """Return the results of :func:`prepare` for many images. Small images of equal shape are resized in one call.

    Args:
        images: as for :func:`prepare`. At most one decoded image that is larger than ``size`` is in memory at a time.
        size: height and width in pixels. None keeps the size of each image.
        rule: one of :data:`i2e_triton.io.geometry.RESIZE_RULES`. Default: ``"bicubic"``.
        pixels: stop as soon as the results have this number of pixels. If ``images`` is an iterator, the next call
            continues with the next image. Default: infinite, take all images.

    Returns:
        The images, bit for bit equal to those of :func:`prepare`, and the errors of images that are damaged or too
        large.

    Raises:
        ValueError: if the rule does not exist or does not support the size.
    """
    check_resize(size, rule)
    small, ready, damaged = _Groups(), _Groups(), {}
    for position, image in enumerate(images):
        try:
            decoded = _decode(image)
            if size is not None and decoded.shape[-2] * decoded.shape[-1] <= size[0] * size[1]:
                small.add([position], decoded[None])
            else:
                ready.add([position], _resize(decoded, size, rule)[None])
        except PictureError as error:
            damaged[position] = error
            continue
        pixels -= decoded.shape[-2] * decoded.shape[-1] if size is None else size[0] * size[1]
        if pixels <= 0:
            break
    for positions, stack in small.joined():
        ready.add(positions, _resize(stack, size, rule))
    return PreparedImages(ready.joined(), damaged)


class _Groups:
    """Collects images in batches of equal shape and dtype."""

    def __init__(self) -> None:
        self._parts: dict[tuple[torch.Size, torch.dtype], list[tuple[list[int], Tensor]]] = {}

    def add(self, positions: list[int], images: Tensor) -> None:
        self._parts.setdefault((images.shape[1:], images.dtype), []).append((positions, images))

    def joined(self) -> list[tuple[list[int], Tensor]]:
        return [
            ([position for positions, _ in parts for position in positions], _cat([images for _, images in parts]))
            for parts in self._parts.values()
        ]


def _cat(parts: list[Tensor]) -> Tensor:
    # Channels stay last in memory: resizing is twice as fast in this layout, and no other copy is needed.
    return parts[0] if len(parts) == 1 else torch.cat([part.movedim(1, -1) for part in parts]).movedim(-1, 1)


def _decode(image: bytes | PIL.Image.Image) -> Tensor:
    decoded = decode_picture(io.BytesIO(image), upright=False) if isinstance(image, bytes) else to_supported_mode(image)
    pixels = torch.from_numpy(np.array(decoded.convert("RGB") if decoded.mode == "L" else decoded))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def _resize(images: Tensor, size: tuple[int, int] | None, rule: str) -> Tensor:
    if size is None:
        return images
    height, width = images.shape[-2:]
    scaled = scaled_size(height, width, size, rule)
    check_scaled(scaled, size)
    return crop_or_pad(resize(images, scaled, RESIZE_RULES[rule][1]), size)
