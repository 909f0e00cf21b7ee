"""The operators ``torch.ops.i2e_triton.convert`` and ``torch.ops.i2e_triton.unpack``.

:func:`i2e_triton.convert` and :func:`i2e_triton.unpack` validate all arguments except the values of ``ratios`` and
``crop``, which are unknown while tracing. The CPU operators check these values. The CUDA operators do not, because
reading them would wait for the device.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._decomp import register_decomposition

from i2e_triton.checks import check_boxes, check_ratio_values
from i2e_triton.install_hints import triton_command
from i2e_triton.ops import allocation, cpu, cpu_augmented, decomposition
from i2e_triton.shifts import canonical_shifts

#: Whether Triton is installed. It is an optional dependency: the CPU path works without it.
HAS_TRITON = importlib.util.find_spec("triton") is not None

_CONVERT = (
    "Tensor images, Tensor? shifts, Tensor? ratios, float ratio, int timesteps, ScalarType dtype, bool packed, "
    "Tensor? crop=None, Tensor? flip=None, SymInt[]? size=None, bool nearest=False"
)
_library = torch.library.Library("i2e_triton", "DEF")
for _schema in (
    f"convert({_CONVERT}) -> Tensor",
    f"convert.out({_CONVERT}, *, Tensor(a!) out) -> ()",
    "unpack(Tensor packed, int timesteps, ScalarType dtype) -> Tensor",
):
    _library.define(_schema, tags=torch.Tag.pt2_compliant_tag)


class Arguments(NamedTuple):
    """The arguments of ``convert``, as in its schema. The dispatcher omits arguments that have their default value."""

    images: Tensor  # [B, C, H, W]
    shifts: Tensor | None  # [T, 4] or [B, T, 4]; None for the canonical motion vectors
    ratios: Tensor | None  # [B]; None to use ``ratio`` for all images
    ratio: float
    timesteps: int
    dtype: torch.dtype
    packed: bool
    crop: Tensor | None = None  # [B, 4]
    flip: Tensor | None = None  # [B]
    size: Sequence[int] | None = None
    nearest: bool = False

    def event_shape(self) -> tuple[int, ...]:
        """Return the shape of the events."""
        return event_shape(self.images, self.timesteps, self.packed, self.size)

    def check_values(self) -> None:
        """Check the values of the ratios and of the boxes, which must be on the CPU."""
        if self.ratios is not None:
            check_ratio_values(self.ratios)
        if self.crop is not None:
            check_boxes(self.crop)


def event_shape(images: Tensor, timesteps: int, packed: bool, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the shape of the events of images ``[B, C, H, W]``. ``size`` replaces H and W, if it is given."""
    batch = images.shape[0]
    height, width = images.shape[-2:] if size is None else size
    return (batch, 2, height, width) if packed else (timesteps, batch, 2, height, width)


def _convert_cpu(*arguments: Any) -> Tensor:
    args = Arguments(*arguments)
    args.check_values()  # before allocating memory
    out = allocation.empty(args.event_shape(), args.dtype)
    _write_cpu(out, args)
    return out


def _convert_out_cpu(*arguments: Any, out: Tensor) -> None:
    args = Arguments(*arguments)
    args.check_values()
    _write_cpu(out, args)


def _write_cpu(out: Tensor, args: Arguments) -> None:
    images, shifts, ratios = args.images, args.shifts, args.ratios
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    if ratios is None:
        ratios = torch.full((images.shape[0],), args.ratio, dtype=dtype, device="cpu")
    ratios = ratios.to(dtype)
    if shifts is None:
        shifts = canonical_shifts_on(images.device, args.timesteps)
    if args.crop is None and args.flip is None and out.shape[-2:] == images.shape[-2:]:
        cpu.convert_into(out, images, shifts, ratios, packed=args.packed)
    else:
        cpu_augmented.convert_into(
            out, images, args.crop, args.flip, shifts, ratios, nearest=args.nearest, packed=args.packed
        )


def _convert_cuda(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    crop: Tensor | None = None,
    flip: Tensor | None = None,
    size: Sequence[int] | None = None,
    nearest: bool = False,
    *,
    out: Tensor | None = None,
) -> Tensor:
    launch = load_kernels()  # raises before memory is allocated
    if out is None:
        out = torch.empty(*event_shape(images, timesteps, packed, size), dtype=dtype, device=images.device)
    vectors = _canonical_vectors(timesteps) if shifts is None else shifts
    launch.convert_into(out, images, vectors, ratios, ratio, packed=packed, crop=crop, flip=flip, nearest=nearest)
    return out


def _convert_out_cuda(*arguments: Any, out: Tensor) -> None:
    _convert_cuda(*arguments, out=out)


def _convert_fake(*arguments: Any) -> Tensor:
    # If the environment variable CI is set, torch.compile fails for an operator that has a decomposition and is not in
    # this list.
    lowering: Any = sys.modules.get("torch._inductor.lowering")
    if hasattr(lowering, "FALLBACK_ALLOW_LIST"):
        lowering.FALLBACK_ALLOW_LIST.add("i2e_triton::convert")
    args = Arguments(*arguments)
    return args.images.new_empty(args.event_shape(), dtype=args.dtype)


def _convert_out_fake(*arguments: Any, out: Tensor) -> None:
    pass


@cache
def load_kernels() -> ModuleType:
    """Import and return the module that launches the kernels. It imports triton, which the CPU path does not need.

    Raises:
        ValueError: if Triton is not installed, or too old.
    """
    if not HAS_TRITON:
        raise ValueError(f"events cannot be computed on a CUDA device without Triton: {triton_command()}")
    try:
        from i2e_triton.kernels import launch
    except ImportError as error:
        raise ValueError(f"events cannot be computed on a CUDA device: {error}") from error
    return launch


@cache
def canonical_shifts_on(device: torch.device, timesteps: int) -> Tensor:
    """Return the canonical motion vectors on a device. Only the first call copies them there."""
    return canonical_shifts(timesteps=timesteps, device=device)


@cache
def _canonical_vectors(timesteps: int) -> tuple[tuple[int, ...], ...]:
    """Return the canonical motion vectors as constants, for which the kernels are specialised."""
    return tuple(map(tuple, canonical_shifts(timesteps=timesteps, device="cpu").tolist()))


def _unpack_cpu(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    out = allocation.empty((timesteps, *packed.shape), dtype)
    cpu.unpack_into(out, packed)
    return out


def _unpack_cuda(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    # cpu.unpack_into is plain PyTorch and also unpacks CUDA tensors, for users without Triton.
    unpack_into = load_kernels().unpack_into if HAS_TRITON else cpu.unpack_into
    out = packed.new_empty((timesteps, *packed.shape), dtype=dtype)
    unpack_into(out, packed)
    return out


def _unpack_fake(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    return packed.new_empty((timesteps, *packed.shape), dtype=dtype)


#: The implementation of each operator on CUDA devices.
CUDA_IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
for _overload, _cpu, _cuda, _fake in (
    ("convert", _convert_cpu, _convert_cuda, _convert_fake),
    ("convert.out", _convert_out_cpu, _convert_out_cuda, _convert_out_fake),
    ("unpack", _unpack_cpu, _unpack_cuda, _unpack_fake),
):
    _library.impl(_overload, _cpu, "CPU")
    _library.impl(_overload, _cuda, "CUDA")
    CUDA_IMPLEMENTATIONS[_overload] = _cuda
    torch.library.register_fake(f"i2e_triton::{_overload}", _fake, lib=_library)
    # Events have no gradient: the result never requires one.
    _library.impl(_overload, torch.library.fallthrough_kernel, "Autograd")

register_decomposition(torch.ops.i2e_triton.convert.default)(decomposition.convert)
# Without an entry of this type, fake tensors of dynamic shape would take the decomposition instead of the fake above.
register_decomposition(torch.ops.i2e_triton.convert.default, type="meta")(_convert_fake)
