"""The options of a conversion, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from i2e_triton.cli.options import checked_device, checked_ratio, checked_shifts, checked_size, wrong
from i2e_triton.cli.outputs import FORMATS
from i2e_triton.formats.event_list import check_duration
from i2e_triton.shifts import convolution_weight, order_of_weight


@dataclass(frozen=True)
class Settings:
    """How pictures are converted and what is written."""

    size: tuple[int, int] | None
    ratio: float
    shifts: Tensor
    formats: tuple[str, ...]
    device: torch.device
    timestep_us: int  #: duration of a timestep in event lists, in microseconds


def check_settings(
    size: tuple[int, int] | None,
    ratio: float,
    order: str,
    timesteps: int,
    formats: str,
    device: str,
    timestep_us: int,
) -> Settings:
    """Check the options of the command line.

    Raises:
        typer.BadParameter: naming the option, its value and what would be right.
    """
    return Settings(
        checked_size(size),
        checked_ratio(ratio),
        checked_shifts(order, timesteps),
        _formats(formats),
        checked_device(device),
        _timestep_us(timestep_us, timesteps),
    )


def name_vectors(shifts: Tensor) -> list[str]:
    """Name motion vectors ``[T, 4]`` of the paper by their group and their pair of numbered pixels: ``e [9,4]``."""
    groups = order_of_weight(convolution_weight(shifts))
    pixels = [(3 * y0 + x0 + 5, 3 * y1 + x1 + 5) for y0, x0, y1, x1 in shifts.tolist()]
    return [f"{'abcdefgh'[group]} [{start},{end}]" for group, (start, end) in zip(groups, pixels)]


def _formats(formats: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().lower().removeprefix(".") for name in formats.split(",")))
    for name in names:
        if name not in FORMATS:
            raise wrong("--format", f"must be one or more of {', '.join(FORMATS)}, with commas between; got {name!r}")
    return names


def _timestep_us(timestep_us: int, timesteps: int) -> int:
    try:
        check_duration(timesteps, timestep_us)
    except ValueError as error:
        raise wrong("--timestep-us", str(error)) from error
    return timestep_us
