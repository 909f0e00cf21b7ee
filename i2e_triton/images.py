"""What counts as an image: tensors pass through, PIL images and NumPy arrays become tensors."""

from __future__ import annotations

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
    """Return images as a tensor with channels first; a tensor comes back as it is.

    Args:
        images: a tensor; a PIL image: uint8, or float32 with the stored values where grey has more than 8 bits,
            without transparency; or a NumPy array ``[H, W]``, ``[H, W, C]``, ``[C, H, W]``, ``[B, H, W, C]`` or
            ``[B, C, H, W]`` with ``C`` 1 or 3.

    Raises:
        TypeError: if it is none of these, or an array of another type than uint8, float16, float32 and float64.
        ValueError: if an array's channels could be in more than one place, or in none.
    """
    if isinstance(images, Tensor):
        return images
    # Whoever holds an image of a library has imported it; nothing is imported for the others.
    pil, numpy = sys.modules.get("PIL.Image"), sys.modules.get("numpy")
    if pil is not None and isinstance(images, pil.Image):
        return _from_pil(images)
    if numpy is not None and isinstance(images, numpy.ndarray):
        return _from_array(images)
    raise TypeError(f"images must be a tensor, a NumPy array or a PIL image, got {type(images).__name__}")


def in_plain_mode(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert a PIL image to the mode in which it becomes a tensor: L, F (grey of more than 8 bits) or RGB.

    Transparency is dropped. What RGB holds no more than 8 bits a channel of is rounded (CMYK, LAB, HSV, YCbCr), colours
    beyond RGB are clipped, and whole numbers beyond 2^24 (mode I) are rounded to float32.
    """
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    return image.convert("F" if image.mode == "F" or image.mode.startswith("I") else "RGB")


def _from_pil(image: PIL.Image.Image) -> Tensor:
    import numpy

    pixels = torch.from_numpy(numpy.array(in_plain_mode(image)))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def _from_array(array: numpy.ndarray) -> Tensor:
    shape = array.shape
    if array.dtype.name not in _ARRAY_DTYPES:
        raise TypeError(
            f"an array of images must be {', '.join(_ARRAY_DTYPES)}, got {array.dtype}; convert numbers of any range "
            "with .astype('float32')"
        )
    # PyTorch takes no foreign byte order, no strides that are negative or part of an element and, without a warning, no
    # read-only memory.
    whole = all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    if not (whole and array.flags.writeable and array.dtype.isnative):
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    tensor = torch.from_numpy(array)
    if array.ndim == 2:
        return tensor[None]
    if array.ndim not in (3, 4):
        raise ValueError(f"an array of images must have 2 to 4 dimensions, got shape {shape}")
    first, last = shape[-3] in _CHANNELS, shape[-1] in _CHANNELS
    if first == last:
        where = "first or last" if first else "neither first nor last"
        raise ValueError(
            f"the channels (1 or 3) of an array of shape {shape} could be {where}: "
            "pass a tensor [C, H, W] or [B, C, H, W], without transparency"
        )
    return tensor if first else tensor.movedim(-1, -3)
