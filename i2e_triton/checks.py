"""Rules for what a conversion is asked for, wherever it is asked: ratio, timesteps, type of the events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import Any

import torch
from torch import Tensor

EVENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)
#: One byte per pixel and polarity holds this many timesteps.
PACKED_TIMESTEPS = 8
#: The paper's microsaccade has this many.
PAPER_TIMESTEPS = 8
INTERPOLATIONS = ("bilinear", "nearest")
#: Longest side of a box, and of what it is resized to; float32 tells whole pixels apart up to here.
LONGEST = 2**24
#: How far from the image a box may begin.
FARTHEST = 2**30
_BOX = "(top, left, height, width)"


def check_ratio(ratio: Any) -> float:
    """Return a ratio, a real number of any type, as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is negative, not finite, or beyond any float.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, Real):
        raise TypeError(
            f"ratio must be a number, got {type(ratio).__name__} {ratio!r}; only convert takes one per image, "
            "a tensor [B]"
        )
    try:
        number = float(ratio)
    except OverflowError:
        number = math.inf  # a whole number of more than 300 digits, which no message should show
    if not 0 <= number < math.inf:
        raise ValueError(f"ratio must be finite and not negative, got {number}; the paper uses 0.05 to 0.20")
    return number


def check_timesteps(timesteps: Any, beyond: str = "for a longer microsaccade pass shifts") -> int:
    """Return a number of timesteps, an integer of any type, as an int.

    Args:
        timesteps: 1 to 8.
        beyond: what the message advises if there are others.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not 1 to 8.
    """
    number = check_integer("timesteps", timesteps)
    if not 1 <= number <= PAPER_TIMESTEPS:
        raise ValueError(f"timesteps must be 1 to {PAPER_TIMESTEPS}, got {number}; {beyond}")
    return number


def check_format(dtype: Any, packed: Any, timesteps: int) -> torch.dtype:
    """Return the type of the tensor that holds events, dense ones of ``dtype`` or packed ones.

    Raises:
        TypeError: if ``dtype`` is not a type of events, or ``packed`` neither True nor False.
        ValueError: if packed events cannot hold so many timesteps.
    """
    if not isinstance(packed, bool):
        raise TypeError(f"packed must be True or False, got {packed!r}")
    if packed and timesteps > PACKED_TIMESTEPS:
        raise ValueError(f"packed events hold {PACKED_TIMESTEPS} timesteps at most, got {timesteps}; use packed=False")
    if dtype not in EVENT_DTYPES:
        raise TypeError(f"dtype must be {names(EVENT_DTYPES)}, got {dtype!r}")
    return torch.uint8 if packed else dtype


def names(dtypes: tuple[torch.dtype, ...]) -> str:
    """List types for a message."""
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def check_ratio_values(ratios: Tensor) -> None:
    """Check the values of a tensor of ratios on the CPU.

    Raises:
        ValueError: if one is negative or not finite.
    """
    unfit = ~(ratios.isfinite() & (ratios >= 0))
    if bool(unfit.any()):
        image = int(unfit.int().argmax())
        raise ValueError(
            f"ratio must be finite and not negative for every image, got {float(ratios[image])} for image {image}"
        )


def check_augmentation(
    images: Tensor, single: bool, crop: Any, size: Any, flip: Any, interpolation: str
) -> tuple[Tensor | None, Tensor | None, int, int, bool]:
    """Check what an augmented conversion of images ``[B, C, H, W]`` is asked for, but for the values of boxes.

    Args:
        images: the batch.
        single: whether the caller gave one image without a batch dimension.
        crop: boxes, or None.
        size: height and width of the result, or None for the images'.
        flip: which images are mirrored, or None.
        interpolation: one of :data:`INTERPOLATIONS`.

    Returns:
        Boxes ``[B, 4]`` and flips ``[B]`` (or None), height, width, and whether to take the nearest pixels.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a shape, device or size is unfit.
    """
    height, width = images.shape[-2:] if size is None else check_size(size)
    boxes = None if crop is None else _check_crop(crop, images, single)
    flips = None if flip is None else _check_flip(flip, images, single)
    # Pixels that stay where they are, or swap places, are their own neighbours.
    in_place = boxes is None and (height, width) == tuple(images.shape[-2:])
    return boxes, flips, height, width, in_place or interpolation == "nearest"


def check_interpolation(interpolation: Any) -> None:
    """Refuse what is not one of :data:`INTERPOLATIONS`."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be 'bilinear' or 'nearest', got {interpolation!r}; for others resize before"
        )


def check_boxes(crop: Tensor) -> None:
    """Check the values of boxes ``[B, 4]`` on the CPU.

    Raises:
        ValueError: if a box has no area, or is larger or farther away than :data:`LONGEST` and :data:`FARTHEST` allow.
    """
    place, size = crop.long().split(2, dim=1)  # the limits are beyond what smaller integers hold
    far = ((place < -FARTHEST) | (place > FARTHEST)).any(1)
    unfit = far | ((size < 1) | (size > LONGEST)).any(1)
    if bool(unfit.any()):
        image = int(unfit.int().argmax())
        raise ValueError(
            f"crop must be boxes {_BOX} of 1 to {LONGEST} pixels a side, at most {FARTHEST} from the image; "
            f"got {tuple(crop[image].tolist())} for image {image}"
        )


def check_size(size: Any) -> tuple[int, int]:
    """Return height and width of augmented images as they are traced, or as ints.

    Raises:
        TypeError: if they are not two whole numbers.
        ValueError: if one is out of range.
    """
    if not isinstance(size, Sequence) or len(size) != 2 or not all(is_integer(side) for side in size):
        raise TypeError(f"size must be two whole numbers, height and width; got {size!r}")
    # A size of a traced program is a symbol, which its index would fix.
    sides: list[Any] = [side if isinstance(side, torch.SymInt) else index(side) for side in size]
    height, width = sides
    if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
        raise ValueError(f"size must be 1 to {LONGEST} pixels a side, got {(height, width)}")
    return height, width


def _check_crop(crop: Any, images: Tensor, single: bool) -> Tensor:
    if not isinstance(crop, Tensor):
        raise TypeError(f"crop must be a tensor of boxes {_BOX}, got {type(crop).__name__}; use torch.tensor(crop)")
    if crop.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"crop must be a signed integer tensor, whole pixels; got {crop.dtype}")
    _check_shape("crop", crop, images, single, (4,), f"of boxes {_BOX}")
    return crop[None] if single else crop


def _check_flip(flip: Any, images: Tensor, single: bool) -> Tensor:
    if not isinstance(flip, Tensor):
        raise TypeError(f"flip must be a bool tensor, got {type(flip).__name__}; use torch.tensor(flip)")
    if flip.dtype != torch.bool:
        raise TypeError(f"flip must be a bool tensor, got {flip.dtype}; convert it with .bool()")
    _check_shape("flip", flip, images, single, (), "that says which images are mirrored")
    return flip[None] if single else flip


def _check_shape(name: str, tensor: Tensor, images: Tensor, single: bool, each: tuple[int, ...], holding: str) -> None:
    """Check that there is one for every image, on their device."""
    shape = each if single else (images.shape[0], *each)
    if tuple(tensor.shape) != shape:
        hint = "" if single or tuple(tensor.shape) != each else f"; for the same everywhere {name}.expand{shape}"
        raise ValueError(f"{name} must be a tensor {list(shape)} {holding}, got shape {list(tensor.shape)}{hint}")
    if tensor.device != images.device:
        raise ValueError(
            f"{name} must be on the images' device {images.device}, got {tensor.device}; move it with .to()"
        )


def is_integer(value: Any) -> bool:
    """Whether a value, which may be a size of a traced program, is an integer; a bool is not."""
    # What is an int comes first: PyTorch 2.11 does not trace hasattr of a traced size.
    return not isinstance(value, bool) and (isinstance(value, int) or hasattr(value, "__index__"))


def check_integer(name: str, value: Any) -> int:
    """Return an integer of any type as an int.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Raises:
        TypeError: if it is not an integer.
    """
    if not is_integer(value):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    return index(value)


def check_whole_number(name: str, value: Any, least: int) -> int:
    """Return an integer of any type as an int.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest that will do.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is less than that.
    """
    number = check_integer(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
