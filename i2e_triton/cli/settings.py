"""The options of a conversion, checked before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import PIL.Image
import torch
import typer
from torch import Tensor

from i2e_triton.cli.outputs import FORMATS
from i2e_triton.operator import HAS_TRITON
from i2e_triton.shifts import canonical_shifts, convolution_weight, order_of_weight


@dataclass(frozen=True)
class Settings:
    """How pictures are converted and what is written."""

    size: tuple[int, int] | None
    ratio: float
    shifts: Tensor
    formats: tuple[str, ...]
    device: torch.device


def check_settings(
    size: tuple[int, int] | None, ratio: float, order: str, timesteps: int, formats: str, device: str
) -> Settings:
    """Check the options of the command line.

    Raises:
        typer.BadParameter: naming the option, its value and what would be right.
    """
    return Settings(_size(size), _ratio(ratio), _shifts(order, timesteps), _formats(formats), _device(device))


def name_vectors(shifts: Tensor) -> list[str]:
    """Name motion vectors ``[T, 4]`` of the paper by their group and their pair of numbered pixels: ``e [9,4]``."""
    groups = order_of_weight(convolution_weight(shifts))
    pixels = [(3 * y0 + x0 + 5, 3 * y1 + x1 + 5) for y0, x0, y1, x1 in shifts.tolist()]
    return [f"{'abcdefgh'[group]} [{start},{end}]" for group, (start, end) in zip(groups, pixels)]


def _wrong(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=f"'{option}'")


def _size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size
    if height < 1 or width < 1:
        raise _wrong("--size", f"height and width must be at least 1 pixel, got {height} {width}")
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise _wrong(
            "--size", f"an image may have at most {limit:,} pixels, got {height} x {width} = {height * width:,}"
        )
    return size


def _ratio(ratio: float) -> float:
    if not (math.isfinite(ratio) and ratio >= 0):
        raise _wrong("--ratio", f"must be finite and not negative, got {ratio}; the paper uses 0.05 to 0.20")
    return ratio


def _shifts(order: str, timesteps: int) -> Tensor:
    if not 1 <= timesteps <= 8:
        raise _wrong("--timesteps", f"must be 1 to 8, got {timesteps}")
    try:
        return canonical_shifts(int(order) if order.isdecimal() else order, timesteps)
    except ValueError as error:
        raise _wrong("--order", str(error)) from error


def _formats(formats: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower().removeprefix(".") for name in formats.split(",")))
    for name in names:
        if name not in FORMATS:
            raise _wrong("--format", f"must be one or more of {', '.join(FORMATS)}, with commas between; got {name!r}")
    return names


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _wrong("--device", f"must be cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise _wrong("--device", f"must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            raise _wrong("--device", f"PyTorch finds no CUDA device for {name!r}; leave the option out to use the CPU")
        if (device.index or 0) >= count:
            raise _wrong("--device", f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}; got {name!r}")
        if not HAS_TRITON:
            raise _wrong("--device", f"{name!r} needs Triton, which is not installed; pip install triton")
    return device
