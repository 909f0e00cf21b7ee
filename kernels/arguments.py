"""Groups of kernel arguments. Triton passes a named tuple field by field, and specialises kernels on each field."""

from typing import Any, NamedTuple


class Images(NamedTuple):
    """Images ``[B, C, H, W]``; strides in elements."""

    ptr: Any
    channels: Any
    height: Any
    width: Any
    stride_b: Any
    stride_c: Any
    stride_y: Any
    stride_x: Any


class Augmentation(NamedTuple):
    """How images are cropped, resized and flipped.

    1 / height and 1 / width of the augmented images are passed as the bits of a float64, because Triton passes a Python
    float as float32.
    """

    crop_ptr: Any  # [B, 4] of (top, left, height, width), or None for the whole image
    flip_ptr: Any  # [B] uint8, or None
    inverse_height: Any
    inverse_width: Any


class Planes(NamedTuple):
    """The value channels of (augmented) images, each with a halo of repeated border pixels; strides in elements."""

    ptr: Any  # image pixel (0, 0) of the first plane; a part of the halo lies before it
    tie_break_ptr: Any  # the tie-break planes (see emit_swar.py), with the same layout; None without SWAR
    height: Any
    width: Any
    stride_b: Any
    stride_y: Any


class Shifts(NamedTuple):
    """Motion vectors of (dy0, dx0, dy1, dx1) in pixels, ``[T, 4]`` (``stride_b`` is 0) or ``[B, T, 4]``."""

    ptr: Any  # None if they are constants of the kernel
    timesteps: Any
    stride_b: Any


class Ratios(NamedTuple):
    """One ratio per image ``[B]``; if ``ptr`` is None, ``ratio`` for all images."""

    ptr: Any
    ratio: Any


class Events(NamedTuple):
    """Dense events ``[T, B, 2, H, W]``, or packed events ``[B, 2, H, W]`` (``stride_t`` is 0)."""

    ptr: Any
    stride_t: Any
    stride_b: Any
    stride_polarity: Any
    stride_y: Any
    stride_x: Any


class PackedEvents(NamedTuple):
    """Packed events ``[B, 2, H, W]``."""

    ptr: Any
    stride_b: Any
    stride_polarity: Any
    stride_y: Any
    stride_x: Any
