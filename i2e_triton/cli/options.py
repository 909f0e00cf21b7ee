"""Options that several commands have, checked before any work."""

from __future__ import annotations

from typing import Annotated

import PIL.Image
import torch
import typer
from torch import Tensor

from i2e_triton.checks import check_ratio, check_timesteps
from i2e_triton.ops.operator import HAS_TRITON, load_kernels
from i2e_triton.shifts import ORDERS, canonical_shifts

Order = Annotated[
    str,
    typer.Option(
        metavar="ORDER", help=f"Order of the motion vectors: {', '.join(ORDERS)}, or the published number 0 to 5."
    ),
]
Timesteps = Annotated[int, typer.Option(metavar="T", help="How many timesteps, 1 to 8.")]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Where to convert: cpu, cuda or cuda:N. The events are the same.")
]


def wrong(option: str, message: str) -> typer.BadParameter:
    """Return the error of an option, to be raised."""
    return typer.BadParameter(message, param_hint=f"'{option}'")


def checked_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Check ``--size``, height and width in pixels."""
    if size is None:
        return None
    height, width = size
    if height < 1 or width < 1:
        raise wrong("--size", f"height and width must be at least 1 pixel, got {height} {width}")
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise wrong(
            "--size", f"an image may have at most {limit:,} pixels, got {height} x {width} = {height * width:,}"
        )
    return size


def checked_ratio(ratio: float) -> float:
    """Check ``--ratio``."""
    try:
        return check_ratio(ratio)
    except ValueError as error:
        raise wrong("--ratio", str(error)) from error


def checked_shifts(order: str, timesteps: int) -> Tensor:
    """Return the motion vectors of ``--order`` and ``--timesteps``."""
    try:
        check_timesteps(timesteps, "the paper's microsaccade has no others")
    except ValueError as error:
        raise wrong("--timesteps", str(error)) from error
    try:
        return canonical_shifts(int(order) if order.isdecimal() else order, timesteps)
    except ValueError as error:
        raise wrong("--order", str(error)) from error


def checked_device(name: str) -> torch.device:
    """Return the device of ``--device``, which must be there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise wrong("--device", f"must be cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise wrong("--device", f"must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            raise wrong("--device", f"PyTorch finds no CUDA device for {name!r}; leave the option out to use the CPU")
        if (device.index or 0) >= count:
            raise wrong("--device", f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}; got {name!r}")
        if not HAS_TRITON:
            raise wrong("--device", f"{name!r} needs Triton, which is not installed; pip install triton")
        try:
            load_kernels()
        except ValueError as error:
            raise wrong("--device", str(error)) from error
    return device
