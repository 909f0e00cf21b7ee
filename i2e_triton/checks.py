"""Argument checks. Each public function calls them once; the layers below trust their arguments.

Every check raises a TypeError for a wrong type or dtype, and a ValueError for a wrong shape, device or value. The
message names the argument, the value and a remedy. The checks read only shapes, types and devices, so they do not wait
for a GPU and ``torch.compile`` can trace them. Exceptions are :func:`check_ratio_values` and :func:`check_boxes`, which
read the values of tensors; the operator calls them only for tensors on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from operator import index
from reprlib import repr as short_repr
from typing import Any

import torch
from torch import Tensor

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
EVENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)
INTERPOLATIONS = ("bilinear", "nearest")
#: Maximum number of timesteps of packed events, which have one byte per pixel and polarity and one bit per timestep.
PACKED_TIMESTEPS = 8
#: Number of timesteps of the paper's microsaccade.
PAPER_TIMESTEPS = 8
#: Maximum height and width of a crop box and of the resized image: float32 represents all integers up to 2^24 exactly.
MAX_SIDE = 2**24
#: Maximum distance in pixels between the corner of a crop box and the corner of the image.
MAX_OFFSET = 2**30

_RATIO_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGER_DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)
_BOX = "(top, left, height, width)"


def check_images(images: Tensor) -> None:
    """Check a tensor of images, ``[C, H, W]`` or ``[B, C, H, W]``."""
    if images.dtype not in IMAGE_DTYPES:
        raise TypeError(
            f"images must be {names(IMAGE_DTYPES)}, got {images.dtype}; convert them with .to(torch.float32); "
            "values may have any range"
        )
    if images.is_nested:
        raise TypeError(
            "images must not be a nested tensor; convert each image separately, or resize the images to one size and "
            "use torch.stack"
        )
    if images.layout != torch.strided:
        raise TypeError(f"images must be dense, got {images.layout}; convert them with .to_dense()")
    shape = images.shape
    if len(shape) not in (3, 4):
        hint = "; add the channel dimension with .unsqueeze(-3)" if len(shape) == 2 else ""
        raise ValueError(f"images must be [C, H, W] or [B, C, H, W], got shape {list(shape)}{hint}")
    channels, height, width = shape[-3:]
    if channels == 0 or height == 0 or width == 0:
        raise ValueError(f"images must have at least one channel and one pixel, got shape {list(shape)}")
    # Skipped while tracing, because the comparisons would restrict a dynamic number of channels.
    if not torch.compiler.is_compiling() and channels > 4 and width in (3, 4):
        order = "2, 0, 1" if len(shape) == 3 else "0, 3, 1, 2"
        raise ValueError(
            f"images must be [C, H, W] or [B, C, H, W], got shape {list(shape)} with the channels last; "
            f"use images.permute({order})"
        )
    if not (images.is_cpu or images.is_cuda or images.is_meta):
        raise ValueError(f"images must be on the CPU or a CUDA device, got {images.device}; move them with .to()")


def check_ratio(ratio: Any) -> float:
    """Return a ratio in [0, 1], a real number of any type, as a float."""
    if isinstance(ratio, bool) or not isinstance(ratio, (float, Real)):  # a type check of float is faster than of Real
        raise TypeError(
            f"ratio must be a number, got {type(ratio).__name__} {short_repr(ratio)}; only i2e_triton.convert accepts "
            "one ratio per image: a tensor [B], such as torch.tensor([0.07, 0.12])"
        )
    try:
        number = float(ratio)
    except OverflowError:
        number = math.inf  # an integer of more than 300 digits, which is too long for the message
    if not 0 <= number <= 1:
        raise ValueError(f"ratio must be in [0, 1], got {_ratio_and_hint(number)}")
    return number


def check_ratio_tensor(ratios: Tensor, images: Tensor) -> None:
    """Check the dtype, shape and device of one ratio per image; images are ``[B, C, H, W]``."""
    if ratios.dtype not in _RATIO_DTYPES:
        raise TypeError(
            f"a tensor of ratios must be {names(_RATIO_DTYPES)}, got {ratios.dtype}; convert it with .to(torch.float32)"
        )
    batch = images.shape[0]
    if ratios.shape != images.shape[:1]:
        hint = f"; to use one ratio for all images pass ratio.expand({batch})" if ratios.dim() == 0 else ""
        raise ValueError(
            f"ratio must be one number or a tensor [{batch}], one per image; got shape {list(ratios.shape)}{hint}"
        )
    _check_device("ratio", ratios, images)


def check_ratio_values(ratios: Tensor) -> None:
    """Check that the ratios ``[B]``, a tensor on the CPU, are in [0, 1]."""
    invalid = ~((ratios >= 0) & (ratios <= 1))  # also true for NaN
    if bool(invalid.any()):
        image = int(invalid.int().argmax())
        raise ValueError(f"ratio must be in [0, 1], got for image {image}: {_ratio_and_hint(float(ratios[image]))}")


def check_shifts(shifts: Any, images: Tensor) -> None:
    """Check motion vectors, ``[T, 4]`` or ``[B, T, 4]``; images are ``[B, C, H, W]``."""
    if not isinstance(shifts, Tensor):
        raise TypeError(f"shifts must be a tensor of motion vectors, got {type(shifts).__name__}")
    if shifts.dtype not in _INTEGER_DTYPES:
        raise TypeError(f"shifts must be a signed integer tensor, in whole pixels; got {shifts.dtype}")
    batch = images.shape[0]
    fits = shifts.dim() == 2 or (shifts.dim() == 3 and shifts.shape[0] == batch)
    if not fits or shifts.shape[-1] != 4 or shifts.shape[-2] == 0:
        raise ValueError(
            f"shifts must be [T, 4] or [{batch}, T, 4] rows of (dy0, dx0, dy1, dx1) with T >= 1, "
            f"got shape {list(shifts.shape)}"
        )
    _check_device("shifts", shifts, images)


def check_timesteps(timesteps: Any, hint: str = "for a longer microsaccade pass shifts") -> int:
    """Return a number of timesteps from 1 to 8, an integer of any type, as an int.

    Args:
        timesteps: number of timesteps.
        hint: end of the error message, which says what to do if the number is out of range.
    """
    number = check_integer("timesteps", timesteps)
    if not 1 <= number <= PAPER_TIMESTEPS:
        raise ValueError(f"timesteps must be 1 to {PAPER_TIMESTEPS}, got {number}; {hint}")
    return number


def check_format(dtype: Any, packed: Any, timesteps: int) -> torch.dtype:
    """Return the dtype of the tensor that holds the events: ``dtype``, or uint8 for packed events."""
    if not isinstance(packed, bool):
        raise TypeError(f"packed must be True or False, got {packed!r}")
    if packed and timesteps > PACKED_TIMESTEPS:
        raise ValueError(f"packed events have at most {PACKED_TIMESTEPS} timesteps, got {timesteps}; use packed=False")
    if dtype not in EVENT_DTYPES:
        raise TypeError(f"dtype must be {names(EVENT_DTYPES)}, got {dtype!r}")
    return torch.uint8 if packed else dtype


def check_out(out: Any, shape: tuple[int, ...], dtype: torch.dtype, inputs: dict[str, Tensor | None]) -> None:
    """Check the tensor that receives the events.

    Args:
        out: the tensor.
        shape: shape of the events.
        dtype: dtype of the events.
        inputs: the tensors that the conversion reads, by argument name; ``images`` is always one of them.
    """
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a tensor, got {type(out).__name__}")
    images = inputs["images"]
    assert images is not None
    if tuple(out.shape) != tuple(shape) or out.dtype != dtype or out.device != images.device:
        raise ValueError(
            f"out must be {dtype} {list(shape)} on {images.device}, got {out.dtype} {list(out.shape)} on {out.device}"
        )
    if out.requires_grad:
        raise ValueError("out must not require a gradient; use out.detach()")
    if torch.compiler.is_compiling():
        return
    if out.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError("out is an inference tensor, which only torch.inference_mode() can write; use out.clone()")
    if out.is_neg():
        raise ValueError("out must not be a negated view; use out.resolve_neg()")
    if _may_overlap_itself(out):
        raise ValueError(
            f"elements of out must not overlap in memory, got strides {out.stride()}; use out.contiguous()"
        )
    for name, tensor in inputs.items():
        if tensor is not None and _share_memory(out, tensor):
            raise ValueError(f"out must not share memory with {name}; pass {name}.clone(), or another out")


def check_augmentation(
    images: Tensor, single: bool, crop: Any, size: Any, flip: Any, interpolation: str
) -> tuple[Tensor | None, Tensor | None, tuple[int, int], bool]:
    """Check the arguments of an augmented conversion, except for the values of the boxes.

    Args:
        images: the batch, ``[B, C, H, W]``.
        single: whether the caller passed one image without a batch dimension.
        crop: boxes, or None.
        size: height and width of the result; None keeps those of the images.
        flip: which images to flip, or None.
        interpolation: one of :data:`INTERPOLATIONS`.

    Returns:
        Boxes ``[B, 4]`` or None, flips ``[B]`` or None, (height, width), and whether to use nearest.
    """
    height, width = images.shape[-2:] if size is None else check_size(size)
    boxes = None if crop is None else _check_crop(crop, images, single)
    flips = None if flip is None else _check_flip(flip, images, single)
    # Without a crop or a change of size, every pixel maps to exactly one pixel: nearest gives the same result.
    same_grid = boxes is None and (height, width) == tuple(images.shape[-2:])
    return boxes, flips, (height, width), same_grid or interpolation == "nearest"


def check_interpolation(interpolation: Any) -> None:
    """Raise a ValueError unless the interpolation is one of :data:`INTERPOLATIONS`."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be 'bilinear' or 'nearest', got {interpolation!r}; for another interpolation, "
            "resize before the conversion"
        )


def check_boxes(crop: Tensor) -> None:
    """Check the extent and the position of crop boxes, ``[B, 4]`` on the CPU."""
    corner, size = crop.long().split(2, dim=1)  # int64, because smaller integers cannot represent the limits
    invalid = ((corner < -MAX_OFFSET) | (corner > MAX_OFFSET) | (size < 1) | (size > MAX_SIDE)).any(1)
    if bool(invalid.any()):
        image = int(invalid.int().argmax())
        raise ValueError(
            f"crop must be boxes {_BOX} of 1 to {MAX_SIDE} pixels a side, at most {MAX_OFFSET} from the image; "
            f"got {tuple(crop[image].tolist())} for image {image}"
        )


def check_size(size: Any) -> tuple[int, int]:
    """Return height and width as ints, or as ``torch.SymInt`` while ``torch.compile`` traces."""
    # A type check of tuple is faster than of Sequence.
    if not isinstance(size, (tuple, Sequence)) or len(size) != 2 or not (is_integer(size[0]) and is_integer(size[1])):
        raise TypeError(f"size must be two whole numbers, height and width; got {size!r}")
    height, width = size
    if not isinstance(height, torch.SymInt):  # index() would replace a SymInt by its current value
        height = index(height)
    if not isinstance(width, torch.SymInt):
        width = index(width)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(f"size must be 1 to {MAX_SIDE} pixels a side, got {(height, width)}")
    return height, width


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer of any type or a ``torch.SymInt``, but not a bool."""
    # isinstance comes first, because PyTorch 2.11 cannot trace hasattr of a SymInt.
    return not isinstance(value, bool) and (isinstance(value, int) or hasattr(value, "__index__"))


def check_integer(name: str, value: Any, minimum: int | None = None) -> int:
    """Return an integer of any type as an int.

    Args:
        name: name of the argument, for the message.
        value: the argument.
        minimum: smallest value allowed; None allows all.
    """
    if not is_integer(value):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    if minimum is not None and index(value) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {index(value)}")
    return index(value)


def check_seed(seed: Any) -> int:
    """Return a seed from 0 to 2^64 - 1, an integer of any type, as an int."""
    number = check_integer("seed", seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"seed must be 0 to 2^64 - 1, got {number}")
    return number


def names(dtypes: tuple[torch.dtype, ...]) -> str:
    """Return the names of dtypes, without ``torch.``, as a list for an error message."""
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def _ratio_and_hint(number: float) -> str:
    """Return a ratio that is out of range as text, with a hint at the value that the caller may have meant."""
    hint = f"did you mean {number / 100:g}?" if 1 < number <= 100 else "the paper uses 0.05 to 0.20"
    return f"{str(number).removesuffix('.0')}; {hint}"


def _check_device(name: str, tensor: Tensor, images: Tensor) -> None:
    if tensor.device != images.device:
        raise ValueError(
            f"{name} must be on the images' device {images.device}, got {tensor.device}; move it with .to()"
        )


def _check_crop(crop: Any, images: Tensor, single: bool) -> Tensor:
    if not isinstance(crop, Tensor):
        raise TypeError(f"crop must be a tensor of boxes {_BOX}, got {type(crop).__name__}; use torch.tensor(crop)")
    if crop.dtype not in _INTEGER_DTYPES:
        raise TypeError(f"crop must be a signed integer tensor, in whole pixels; got {crop.dtype}")
    _check_per_image("crop", crop, images, single, (4,), f"of boxes {_BOX}")
    return crop[None] if single else crop


def _check_flip(flip: Any, images: Tensor, single: bool) -> Tensor:
    if not isinstance(flip, Tensor):
        raise TypeError(f"flip must be a bool tensor, got {type(flip).__name__}; use torch.tensor(flip)")
    if flip.dtype != torch.bool:
        raise TypeError(f"flip must be a bool tensor, got {flip.dtype}; convert it with .bool()")
    _check_per_image("flip", flip, images, single, (), "that says which images to flip")
    return flip[None] if single else flip


def _check_per_image(
    name: str, tensor: Tensor, images: Tensor, single: bool, entry: tuple[int, ...], content: str
) -> None:
    """Check that a tensor has one entry of shape ``entry`` per image, on the images' device."""
    shape = entry if single else (images.shape[0], *entry)
    if tuple(tensor.shape) != shape:
        hint = f"; to use it for all images pass {name}.expand{shape}" if tuple(tensor.shape) == entry else ""
        raise ValueError(f"{name} must be a tensor {list(shape)} {content}, got shape {list(tensor.shape)}{hint}")
    _check_device(name, tensor, images)


def _may_overlap_itself(tensor: Tensor) -> bool:
    """Return whether two elements may share an address: some stride does not exceed the extent of the smaller ones."""
    extent = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size > 1:
            if stride <= extent:
                return True
            extent += stride * (size - 1)
    return False


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Return whether the address ranges of two tensors overlap."""
    # The storages cannot be compared: tensors made from one NumPy array have different storages.
    if one.untyped_storage().device.type == "meta":  # a meta tensor or a FakeTensor has no memory
        return False
    (start, stop), (other_start, other_stop) = _address_range(one), _address_range(other)
    return start < other_stop and other_start < stop


def _address_range(tensor: Tensor) -> tuple[int, int]:
    """Return the address of the first byte of a tensor, and the address after its last byte."""
    elements = 0 if tensor.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr(), tensor.data_ptr() + elements * tensor.element_size()
