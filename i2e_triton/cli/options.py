"""Options that several commands share. Each option is validated when it is parsed.

The help texts repeat the names of kinds, presets and resize rules, because :mod:`i2e_triton.sources`, which defines
them, needs the packages of the ``data`` extra.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import torch
import typer

from i2e_triton.checks import PAPER_TIMESTEPS, check_ratio
from i2e_triton.ops.operator import HAS_TRITON, load_kernels
from i2e_triton.shifts import ORDERS, canonical_shifts

DEFAULT_RATIO = 0.12


def option_error(option: str | None, message: str) -> typer.BadParameter:
    """Return the error that ends a command with status 2. A callback need not name its option."""
    return typer.BadParameter(message, param_hint=option and f"'{option}'")


@contextmanager
def errors_of(option: str | None = None) -> Iterator[None]:
    """Turn a ValueError into an error of an option."""
    try:
        yield
    except ValueError as error:
        raise option_error(option, str(error)) from error


def checked_by(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return an option callback for a check that returns the value or raises ValueError. None is not checked."""

    def callback(value: Any) -> Any:
        with errors_of():
            return None if value is None else check(value)

    return callback


def check_choice(value: str, choices: Collection[str]) -> str:
    """Return a value that is one of the choices, or raise ValueError."""
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}; got {value!r}")
    return value


def one_of(choices: Collection[str]) -> Callable[[Any], Any]:
    """Return an option callback that checks a choice."""
    return checked_by(partial(check_choice, choices=choices))


def in_range(least: int, most: float = math.inf) -> Callable[[Any], Any]:
    """Return an option callback that checks a number from ``least`` to ``most``."""

    def check(value: int) -> int:
        if not least <= value <= most:
            allowed = f"{least} to {most}" if most < math.inf else f"at least {least}"
            raise ValueError(f"must be {allowed}, got {value}")
        return value

    return checked_by(check)


def check_device(name: str) -> torch.device:
    """Return the device of ``--device``, on which a conversion must be possible."""
    with errors_of("--device"):
        try:
            device = torch.device(name)
        except RuntimeError:
            device = None
        if device is None or device.type not in ("cpu", "cuda"):
            raise ValueError(f"must be cpu, cuda or cuda:N, got {name!r}")
        if device.type == "cuda":
            count = torch.cuda.device_count()
            if count == 0:
                raise ValueError(f"PyTorch finds no CUDA device for {name!r}; omit the option to use the CPU")
            if (device.index or 0) >= count:
                raise ValueError(f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}; got {name!r}")
            if not HAS_TRITON:
                raise ValueError(f"{name!r} needs Triton, which is not installed; pip install triton")
            load_kernels()
    return device


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    import PIL.Image

    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1 pixel, got {height} {width}")
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise ValueError(f"an image may have at most {limit:,} pixels, got {height} x {width} = {height * width:,}")
    return size


def _check_order(order: str) -> str:
    """Return the name of an order, which may be given by its official number."""
    canonical_shifts(int(order) if order.isdecimal() else order)
    return tuple(ORDERS)[int(order)] if order.isdecimal() else order


def _check_kind(kind: str) -> str:
    from i2e_triton.sources import KINDS

    return check_choice(kind, KINDS)


def _check_resize(rule: str) -> str:
    from i2e_triton.sources import RESIZE_RULES

    return check_choice(rule, RESIZE_RULES)


def _apply_preset(context: typer.Context, name: str | None) -> str | None:
    """Replace the defaults of the other options by those of a preset."""
    if name is None:
        return None
    from i2e_triton.sources import PRESETS

    with errors_of():
        preset = PRESETS[check_choice(name, PRESETS)]
    context.default_map = {"size": preset.size, "ratio": preset.ratio, "resize": preset.resize}
    return name


Ratio = Annotated[
    float,
    typer.Option(
        metavar="R",
        callback=checked_by(check_ratio),
        help="Sensitivity: the brightness step that gives an event, as a share of the image's range, 0 to 1. The paper "
        "uses 0.12 at 224 x 224 pixels and 0.07 at 128 x 128.",
    ),
]
Order = Annotated[
    str,
    typer.Option(
        "--order",
        "--shuffle",
        metavar="ORDER",
        callback=checked_by(_check_order),
        help=f"Order of the motion vectors: {', '.join(ORDERS)}, or the official number 0 to 5.",
    ),
]
Timesteps = Annotated[
    int,
    typer.Option(
        metavar="T", callback=in_range(1, PAPER_TIMESTEPS), help="Number of timesteps, 1 to 8: the first of ORDER."
    ),
]
Size = Annotated[
    tuple[int, int] | None,
    typer.Option(
        metavar="H W",
        callback=checked_by(_check_size),
        show_default="the size of each image",
        help="Resize the images to this height and width before the conversion.",
    ),
]
Resize = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        callback=checked_by(_check_resize),
        help="Resize rule: bicubic (the official data sets), bilinear (the official notebooks) or bilinear-crop (the "
        "official ImageNet validation: resize the shorter side to 8/7 of the size, then crop the center).",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Device of the conversion: cpu, cuda or cuda:N. The events are the same.")
]
Kind = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        callback=checked_by(_check_kind),
        show_default="detected",
        help="Kind of SOURCE: folder, parquet, tar, cifar10, cifar100, mnist, fashion-mnist, caltech101 or caltech256.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=_apply_preset,
        is_eager=True,
        help="Use the settings of an official data set where no option overrides them: cifar10, cifar100, imagenet, "
        "caltech101, caltech256, mini-imagenet, mnist or fashion-mnist.",
    ),
]
