"""The conversion with gradients: the operator ``torch.ops.i2e_triton.convert``, and ``convert_backward`` after it.

They are joined by an ``autograd.Function``, because gradients registered by ``torch.library.register_autograd``
fail under ``torch.func`` (PyTorch 2.14). The operator ``convert`` keeps its own, cheaper path without gradients.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from i2e_triton.ops import cpu_backward, operator
from i2e_triton.surrogate import Surrogate

_library = torch.library.Library("i2e_triton", "FRAGMENT")
_library.define(
    "convert_backward(Tensor gradient, Tensor images, Tensor? shifts, Tensor? ratios, float ratio, Tensor? crop, "
    "Tensor? flip, bool nearest, str surrogate, float alpha, bool need_images) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


class Convert(torch.autograd.Function):
    """Events that have a gradient. It saves only its inputs."""

    @staticmethod
    def forward(surrogate: Surrogate, *arguments: Any) -> Tensor:
        """Return events of the ``arguments`` of ``torch.ops.i2e_triton.convert``."""
        return torch.ops.i2e_triton.convert.default(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save the inputs."""
        ctx.surrogate, *arguments = inputs
        args = operator.Arguments(*arguments)
        ctx.save_for_backward(args.images, args.shifts, args.ratios, args.crop, args.flip)
        ctx.ratio, ctx.nearest, ctx.count = args.ratio, args.nearest, len(arguments)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Return the gradients for the images and the ratios."""
        images, shifts, ratios, crop, flip = ctx.saved_tensors
        need_images, need_ratios = ctx.needs_input_grad[1], ctx.needs_input_grad[3]
        # torch.compile (PyTorch 2.14) cannot trace this nested function, and refuses second derivatives itself.
        compiling = torch.compiler.is_compiling()
        gradients = torch.ops.i2e_triton.convert_backward.default if compiling else _Gradients.apply
        for_images, for_ratios = gradients(
            gradient, images, shifts, ratios, ctx.ratio, crop, flip, ctx.nearest,
            ctx.surrogate.name, ctx.surrogate.alpha, need_images,
        )  # fmt: skip
        results = [None] * (1 + ctx.count)
        results[1] = for_images if need_images else None
        results[3] = for_ratios.to(ratios.dtype) if need_ratios else None
        return tuple(results)


class _Gradients(torch.autograd.Function):
    """The first derivative, which refuses to be differentiated."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        return torch.ops.i2e_triton.convert_backward.default(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise RuntimeError(
            "the conversion to events has no second derivative, because the first one is a surrogate; "
            "do not differentiate a gradient through i2e_triton.convert"
        )


class _Arguments(NamedTuple):
    """The arguments of ``convert_backward``, as in its schema."""

    gradient: Tensor
    images: Tensor
    shifts: Tensor | None
    ratios: Tensor | None
    ratio: float
    crop: Tensor | None
    flip: Tensor | None
    nearest: bool
    surrogate: str
    alpha: float
    need_images: bool

    def vectors(self) -> Tensor:
        """Return the motion vectors as a tensor on the images' device."""
        if self.shifts is not None:
            return self.shifts
        return operator.canonical_shifts_on(self.images.device, len(self.gradient))

    def results(self) -> tuple[Tensor, Tensor]:
        """Return tensors for the gradients of the images (empty if it is not needed) and of the ratios."""
        dtype = torch.float64 if self.images.dtype == torch.float64 else torch.float32
        images = torch.empty_like(self.images) if self.need_images else self.images.new_empty(0)
        return images, self.images.new_empty(self.images.shape[0], dtype=dtype)


def _gradients_cpu(*arguments: Any) -> tuple[Tensor, Tensor]:
    args = _Arguments(*arguments)
    images, ratios = args.results()
    cpu_backward.gradients_into(
        images if args.need_images else None, ratios, args.gradient, args.images, args.vectors(),
        torch.full_like(ratios, args.ratio) if args.ratios is None else args.ratios.to(ratios.dtype),
        Surrogate(args.surrogate, args.alpha), crop=args.crop, flip=args.flip, nearest=args.nearest,
    )  # fmt: skip
    return images, ratios


def _gradients_cuda(*arguments: Any) -> tuple[Tensor, Tensor]:
    args = _Arguments(*arguments)
    images, ratios = args.results()
    _load_kernels().gradients_into(
        images if args.need_images else None, ratios, args.gradient, args.images, args.vectors(), args.ratios,
        args.ratio, args.surrogate, args.alpha, crop=args.crop, flip=args.flip, nearest=args.nearest,
    )  # fmt: skip
    return images, ratios


def _gradients_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _Arguments(*arguments).results()


@cache
def _load_kernels() -> ModuleType:
    """Import and return the module that launches the kernels of the backward pass."""
    operator.load_kernels()  # raises an error with the remedy if the kernels cannot be used
    from i2e_triton.kernels import launch_backward

    return launch_backward


_library.impl("convert_backward", _gradients_cpu, "CPU")
_library.impl("convert_backward", _gradients_cuda, "CUDA")
operator.CUDA_IMPLEMENTATIONS["convert_backward"] = _gradients_cuda
torch.library.register_fake("i2e_triton::convert_backward", _gradients_fake, lib=_library)
_library.impl("convert_backward", torch.library.fallthrough_kernel, "Autograd")
