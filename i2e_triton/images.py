"""Conversion of PIL images and NumPy arrays to tensors."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy
    import PIL.Image

Images = Union[Tensor, "numpy.ndarray", "PIL.Image.Image"]

_CHANNELS = (1, 3)
_ARRAY_DTYPES = ("uint8", "float16", "float32", "float64")


def as_image_tensor(images: Images) -> Tensor:
    """Return images as a tensor with the channels first. A tensor is returned unchanged.

    A PIL image becomes uint8. A grey PIL image of more than 8 bits becomes float32 with the stored values. Transparency
    is dropped. A NumPy array keeps its dtype.

    Args:
        images: a tensor, a PIL image, or a NumPy array ``[H, W]``, ``[H, W, C]``, ``[C, H, W]``, ``[B, H, W, C]`` or
            ``[B, C, H, W]`` with ``C`` 1 or 3.

    Raises:
        TypeError: if the type is none of these, or the dtype of an array is not uint8, float16, float32 or float64.
        ValueError: if an array has another shape, or it is ambiguous whether its channels are first or last.
    """
    if isinstance(images, Tensor):
        return images
    # If images is a PIL image or a NumPy array, its library has been imported. Do not import it otherwise.
    pil, numpy = sys.modules.get("PIL.Image"), sys.modules.get("numpy")
    if pil is not None and isinstance(images, pil.Image):
        return _from_pil(images)
    if numpy is not None and isinstance(images, numpy.ndarray):
        return _from_array(images)
    hint = ""
    if isinstance(images, (str, os.PathLike)):
        hint = f" {os.fspath(images)!r}; open an image file with PIL.Image.open"
    elif isinstance(images, (list, tuple)):
        hint = "; stack a list of tensors with torch.stack"
    raise TypeError(f"images must be a tensor, a NumPy array or a PIL image, got {type(images).__name__}{hint}")


def to_supported_mode(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a PIL image in mode L (grey), F (grey of more than 8 bits) or RGB.

    Transparency is dropped. Images in other colour spaces (CMYK, LAB, HSV, YCbCr) become RGB with 8 bits per channel;
    colours that RGB cannot represent are clipped. Integers above 2^24 (mode I) are rounded to float32.
    """
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    return image.convert("F" if image.mode == "F" or image.mode.startswith("I") else "RGB")


def _from_pil(image: PIL.Image.Image) -> Tensor:
    import numpy

    pixels = torch.from_numpy(numpy.array(to_supported_mode(image)))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def _from_array(array: numpy.ndarray) -> Tensor:
    shape = array.shape
    if array.dtype.name not in _ARRAY_DTYPES:
        raise TypeError(
            f"an array of images must be {', '.join(_ARRAY_DTYPES)}, got {array.dtype}; convert it with "
            ".astype('float32'); values may have any range"
        )
    # torch.from_numpy rejects a non-native byte order and strides that are negative or not a multiple of the element
    # size, and it warns about read-only memory.
    valid_strides = all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    if not (valid_strides and array.flags.writeable and array.dtype.isnative):
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    tensor = torch.from_numpy(array)
    if array.ndim == 2:
        return tensor[None]
    if array.ndim not in (3, 4):
        raise ValueError(f"an array of images must have 2 to 4 dimensions, got shape {shape}")
    first, last = shape[-3] in _CHANNELS, shape[-1] in _CHANNELS
    if first == last:
        raise ValueError(
            f"an array of images must have its channels (1 or 3) first or last, got shape {shape}, where "
            f"{'both' if first else 'neither'} could be the channels; pass a tensor [C, H, W] or [B, C, H, W]"
        )
    return tensor if first else tensor.movedim(-1, -3)
