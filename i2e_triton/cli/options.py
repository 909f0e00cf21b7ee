"""Options that several commands share. Each option is validated when it is parsed.

The help texts repeat the names of kinds, presets and resize rules. They are not imported from
:mod:`i2e_triton.sources`, because ``i2e --help`` must work without the ``data`` extra.
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
from i2e_triton.cli.terminal import printable
from i2e_triton.ops.operator import HAS_TRITON, load_kernels
from i2e_triton.shifts import ORDERS, canonical_shifts

DEFAULT_RATIO = 0.12


def option_error(option: str | None, message: str) -> typer.BadParameter:
    """Return the error that ends a command with status 2. In a callback, pass None: Typer adds the option's name."""
    return typer.BadParameter(printable(message), param_hint=option and f"'{option}'")


@contextmanager
def as_option_error(option: str | None = None) -> Iterator[None]:
    """Convert a ValueError to an :func:`option_error`."""
    try:
        yield
    except ValueError as error:
        raise option_error(option, str(error)) from error


def checked_by(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap ``check`` as an option callback. It returns the value or raises ValueError; it is not called for None."""

    def callback(value: Any) -> Any:
        with as_option_error():
            return None if value is None else check(value)

    return callback


def check_choice(value: str, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of the choices; otherwise raise ValueError."""
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}; got {value!r}")
    return value


def one_of(choices: Collection[str]) -> Callable[[Any], Any]:
    """Return an option callback that accepts only the choices."""
    return checked_by(partial(check_choice, choices=choices))


def in_range(minimum: int, maximum: float = math.inf) -> Callable[[Any], Any]:
    """Return an option callback that accepts numbers from ``minimum`` to ``maximum``."""

    def check(value: int) -> int:
        if not minimum <= value <= maximum:
            allowed = f"{minimum} to {maximum}" if maximum < math.inf else f"at least {minimum}"
            raise ValueError(f"must be {allowed}, got {value}")
        return value

    return checked_by(check)


def check_device(name: str) -> torch.device:
    """Return the device that ``--device`` names. Raise an option error if it does not exist or cannot convert."""
    with as_option_error("--device"):
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
                allowed = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
                raise ValueError(f"must be {allowed}, because PyTorch finds {count} CUDA device(s); got {name!r}")
            if not HAS_TRITON:
                raise ValueError(f"{name!r} needs Triton, which is not installed; run pip install triton")
            load_kernels()  # raises ValueError if Triton is too old
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
    """Return the name of an order of the motion vectors, given its name or its official number 0 to 5."""
    canonical_shifts(int(order) if order.isdecimal() else order)
    return tuple(ORDERS)[int(order)] if order.isdecimal() else order


def _check_kind(kind: str) -> str:
    from i2e_triton.sources import KINDS

    return check_choice(kind, KINDS)


def _check_resize(rule: str) -> str:
    from i2e_triton.sources import RESIZE_RULES

    return check_choice(rule, RESIZE_RULES)


def _apply_preset(context: typer.Context, name: str | None) -> str | None:
    """Use the size, ratio and resize rule of a preset as the defaults of these options."""
    if name is None:
        return None
    from i2e_triton.sources import PRESETS

    with as_option_error():
        preset = PRESETS[check_choice(name, PRESETS)]
    context.default_map = {"size": preset.size, "ratio": preset.ratio, "resize": preset.resize}
    return name


_RATIO_HELP = (
    "Event threshold: the smallest brightness change that is an event, as a fraction (0 to 1) of the image's "
    "brightness range. The paper uses 0.12 at 224 x 224 pixels and 0.07 at 128 x 128."
)
Ratio = Annotated[float, typer.Option(metavar="R", callback=checked_by(check_ratio), help=_RATIO_HELP)]
OptionalRatio = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        callback=checked_by(check_ratio),
        show_default="the paper's ratio for the nearest of these sizes",
        help=_RATIO_HELP,
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
        metavar="T",
        callback=in_range(1, PAPER_TIMESTEPS),
        help="Number of timesteps T, 1 to 8. The first T motion vectors of ORDER are used.",
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
    str,
    typer.Option(
        metavar="DEVICE", help="Device that converts: cpu, cuda or cuda:N. All devices give identical events."
    ),
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
        help="Use the size, ratio and resize rule of an official data set: cifar10, cifar100, imagenet, caltech101, "
        "caltech256, mini-imagenet, mnist or fashion-mnist. Options given explicitly take precedence.",
    ),
]
