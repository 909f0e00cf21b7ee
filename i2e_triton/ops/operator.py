"""The operators ``torch.ops.i2e_triton.convert``, ``convert_augmented`` and ``unpack``: schemas, and one implementation
per device.

The arguments are trusted here; :func:`i2e_triton.convert` and :func:`i2e_triton.unpack` check them.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from i2e_triton.checks import check_boxes, check_ratio_values
from i2e_triton.ops import allocation, cpu, cpu_augmented
from i2e_triton.shifts import canonical_shifts

#: Triton is an optional dependency: without it, images on the CPU still convert.
HAS_TRITON = importlib.util.find_spec("triton") is not None

_ARGUMENTS = "Tensor images, Tensor? shifts, Tensor? ratios, float ratio, int timesteps, ScalarType dtype, bool packed"
_AUGMENTATION = "Tensor? crop, Tensor? flip, SymInt height, SymInt width, bool nearest"
_AUGMENTED = _ARGUMENTS.replace("Tensor images", f"Tensor images, {_AUGMENTATION}")
_library = torch.library.Library("i2e_triton", "DEF")
_library.define(f"convert({_ARGUMENTS}) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
_library.define(f"convert.out({_ARGUMENTS}, *, Tensor(a!) out) -> ()", tags=torch.Tag.pt2_compliant_tag)
_library.define(f"convert_augmented({_AUGMENTED}) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
_library.define(f"convert_augmented.out({_AUGMENTED}, *, Tensor(a!) out) -> ()", tags=torch.Tag.pt2_compliant_tag)
_library.define("unpack(Tensor packed, int timesteps, ScalarType dtype) -> Tensor", tags=torch.Tag.pt2_compliant_tag)


def event_shape(images: Tensor, timesteps: int, packed: bool, size: tuple[int, int] | None = None) -> tuple[int, ...]:
    """Shape of the events of images ``[B, C, H, W]``, or of their augmented versions of another size."""
    batch = images.shape[0]
    height, width = size or images.shape[-2:]
    return (batch, 2, height, width) if packed else (timesteps, batch, 2, height, width)


def arithmetic_dtype(images: Tensor) -> torch.dtype:
    """The type in which differences and thresholds are computed."""
    return torch.float64 if images.dtype == torch.float64 else torch.float32


@torch.library.impl(_library, "convert.out", "CPU")
def _convert_out_cpu(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    *,
    out: Tensor,
) -> None:
    ratios = _ratios_on_cpu(images, ratios, ratio)
    if shifts is None:
        shifts = canonical_shifts(timesteps=timesteps, device="cpu")
    cpu.convert_into(out, images, shifts, ratios, packed=packed)


@torch.library.impl(_library, "convert", "CPU")
def _convert_cpu(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    if ratios is not None:
        check_ratio_values(ratios)  # before any memory is taken
    out = allocation.empty(event_shape(images, timesteps, packed), dtype)
    _convert_out_cpu(images, shifts, ratios, ratio, timesteps, dtype, packed, out=out)
    return out


def _ratios_on_cpu(images: Tensor, ratios: Tensor | None, ratio: float) -> Tensor:
    """One ratio per image, checked, in the arithmetic type."""
    if ratios is None:
        ratios = torch.full((images.shape[0],), ratio, dtype=torch.float64)
    else:
        check_ratio_values(ratios)
    return ratios.to(arithmetic_dtype(images))


@torch.library.impl(_library, "convert.out", "CUDA")
def _convert_out_cuda(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    *,
    out: Tensor,
) -> None:
    launch = load_kernels()
    if shifts is None:
        shifts = _canonical_shifts_on(images.device)[:timesteps]
    launch.convert_into(out, images, shifts, ratios, ratio, packed=packed)


@torch.library.impl(_library, "convert", "CUDA")
def _convert_cuda(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    load_kernels()  # before any memory is taken
    out = images.new_empty(event_shape(images, timesteps, packed), dtype=dtype)
    _convert_out_cuda(images, shifts, ratios, ratio, timesteps, dtype, packed, out=out)
    return out


@torch.library.impl(_library, "convert_augmented.out", "CPU")
def _convert_augmented_out_cpu(
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    height: int,
    width: int,
    nearest: bool,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    *,
    out: Tensor,
) -> None:
    if crop is not None:
        check_boxes(crop)
    ratios = _ratios_on_cpu(images, ratios, ratio)
    if shifts is None:
        shifts = canonical_shifts(timesteps=timesteps, device="cpu")
    cpu_augmented.convert_into(out, images, crop, flip, shifts, ratios, nearest=nearest, packed=packed)


@torch.library.impl(_library, "convert_augmented", "CPU")
def _convert_augmented_cpu(
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    height: int,
    width: int,
    nearest: bool,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    if ratios is not None:
        check_ratio_values(ratios)  # before any memory is taken, as boxes are
    if crop is not None:
        check_boxes(crop)
    out = allocation.empty(event_shape(images, timesteps, packed, (height, width)), dtype)
    _convert_augmented_out_cpu(
        images, crop, flip, height, width, nearest, shifts, ratios, ratio, timesteps, dtype, packed, out=out
    )
    return out


@torch.library.impl(_library, "convert_augmented.out", "CUDA")
def _convert_augmented_out_cuda(
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    height: int,
    width: int,
    nearest: bool,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    *,
    out: Tensor,
) -> None:
    launch = load_kernels()
    if shifts is None:
        shifts = _canonical_shifts_on(images.device)[:timesteps]
    launch.convert_augmented_into(out, images, crop, flip, shifts, ratios, ratio, nearest=nearest, packed=packed)


@torch.library.impl(_library, "convert_augmented", "CUDA")
def _convert_augmented_cuda(
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    height: int,
    width: int,
    nearest: bool,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    load_kernels()  # before any memory is taken
    out = images.new_empty(event_shape(images, timesteps, packed, (height, width)), dtype=dtype)
    _convert_augmented_out_cuda(
        images, crop, flip, height, width, nearest, shifts, ratios, ratio, timesteps, dtype, packed, out=out
    )
    return out


def load_kernels() -> ModuleType:
    """Import what launches the kernels; it imports triton, which the CPU path must not need.

    Raises:
        ValueError: if Triton is not there, or too old.
    """
    try:
        from i2e_triton.kernels import launch
    except ImportError as error:
        raise ValueError(f"events cannot be computed on a CUDA device: {error}") from error
    return launch


@torch.library.impl(_library, "unpack", "CPU")
def _unpack_cpu(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    out = allocation.empty((timesteps, *packed.shape), dtype)
    cpu.unpack_into(out, packed)
    return out


@torch.library.impl(_library, "unpack", "CUDA")
def _unpack_cuda(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    # What others converted can be read without Triton.
    unpack_into = load_kernels().unpack_into if HAS_TRITON else cpu.unpack_into
    out = packed.new_empty((timesteps, *packed.shape), dtype=dtype)
    unpack_into(out, packed)
    return out


@torch.library.register_fake("i2e_triton::convert", lib=_library)
def _convert_fake(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    return images.new_empty(event_shape(images, timesteps, packed), dtype=dtype)


@torch.library.register_fake("i2e_triton::convert.out", lib=_library)
def _convert_out_fake(*arguments: object, out: Tensor) -> None:
    pass


@torch.library.register_fake("i2e_triton::convert_augmented", lib=_library)
def _convert_augmented_fake(
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    height: int,
    width: int,
    nearest: bool,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
) -> Tensor:
    return images.new_empty(event_shape(images, timesteps, packed, (height, width)), dtype=dtype)


@torch.library.register_fake("i2e_triton::convert_augmented.out", lib=_library)
def _convert_augmented_out_fake(*arguments: object, out: Tensor) -> None:
    pass


@torch.library.register_fake("i2e_triton::unpack", lib=_library)
def _unpack_fake(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    return packed.new_empty((timesteps, *packed.shape), dtype=dtype)


# Events have no gradient: autograd is passed by, and the result never requires one.
for _overload in ("convert", "convert.out", "convert_augmented", "convert_augmented.out", "unpack"):
    _library.impl(_overload, torch.library.fallthrough_kernel, "Autograd")


@cache
def _canonical_shifts_on(device: torch.device) -> Tensor:
    """Keep the default vectors on each device: only the first call there copies them, whatever its timesteps."""
    return canonical_shifts(device=device)
