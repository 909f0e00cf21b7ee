"""Options that several commands share. Each option is validated when it is parsed."""

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
from i2e_triton.io.geometry import INTERPOLATIONS, RESIZE_RULES, RESIZES, check_resize, resize_rule
from i2e_triton.ops.operator import load_kernels
from i2e_triton.shifts import ORDERS, canonical_shifts

DEFAULT_RATIO = 0.12
#: The names in :mod:`i2e_triton.sources`, which is slow to import and needs the ``data`` extra.
KINDS = ("folder", "parquet", "tar", "cifar10", "cifar100", "mnist", "fashion-mnist", "caltech101", "caltech256")
PRESETS = ("cifar10", "cifar100", "imagenet", "caltech101", "caltech256", "mini-imagenet", "mnist", "fashion-mnist")
#: Groups of options in the help.
INPUT, CONVERSION, OUTPUT, MACHINE = "Input", "Conversion", "Output", "Machine"


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


def in_range(minimum: int, maximum: float = math.inf) -> Callable[[Any], Any]:
    """Return an option callback that accepts numbers from ``minimum`` to ``maximum``."""

    def check(value: int) -> int:
        if not minimum <= value <= maximum:
            allowed = f"{minimum} to {maximum}" if maximum < math.inf else f"at least {minimum}"
            raise ValueError(f"must be {allowed}, got {value}")
        return value

    return checked_by(check)


def completing(*choices: str) -> Callable[[str], list[str]]:
    """Return the shell completion of an option."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def choice_option(choices: Collection[str], **options: Any) -> Any:
    """Return an option that accepts only the choices, and completes them. ``options`` are those of ``typer.Option``."""
    check = checked_by(partial(check_choice, choices=choices))
    return typer.Option(**{"callback": check, "autocompletion": completing(*choices), **options})


def check_device(name: str) -> torch.device:
    """Return the device that ``--device`` names. Raise an option error if it does not exist or cannot convert.

    ``"auto"`` is the current CUDA device if it can convert, else the CPU.
    """
    if name == "auto":
        return torch.device("cuda" if why_no_cuda() is None else "cpu")
    with as_option_error("--device"):
        try:
            device = torch.device(name)
        except RuntimeError:
            device = None
        if device is None or device.type not in ("cpu", "cuda"):
            raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {name!r}")
        if device.type == "cuda":
            count = torch.cuda.device_count()
            if count and (device.index or 0) >= count:
                allowed = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
                raise ValueError(f"must be {allowed}, because PyTorch finds {count} CUDA device(s); got {name!r}")
            if reason := why_no_cuda():
                raise ValueError(f"{name!r} cannot be used: {reason}; or use --device cpu")
    return device


def why_no_cuda() -> str | None:
    """Return why no CUDA device can convert, or None if one can."""
    return "PyTorch finds no CUDA device" if torch.cuda.device_count() == 0 else kernel_problem()


def kernel_problem() -> str | None:
    """Return why the kernels cannot be loaded, by the same check as a conversion; None if they can."""
    try:
        load_kernels()
    except ValueError as error:
        return str(error)
    return None


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


def _check_resize(resize: str) -> str:
    return check_choice(resize, RESIZES if resize not in RESIZE_RULES else RESIZE_RULES)  # rules: as in version 0.1


def check_rule(size: tuple[int, int] | None, resize: str, interpolation: str) -> str:
    """Return the resize rule of ``--resize`` and ``--interpolation``. Raise an option error if the size prevents it."""
    rule = resize_rule(resize, interpolation)
    with as_option_error("--resize"):
        check_resize(size, rule)
    return rule


def _apply_preset(context: typer.Context, name: str | None) -> str | None:
    """Use the size and ratio of a preset as the defaults of these options."""
    if name is None:
        return None
    with as_option_error():
        check_choice(name, PRESETS)
    from i2e_triton import sources

    preset = sources.PRESETS[name]
    context.default_map = {"size": preset.size, "ratio": preset.ratio}
    return name


_RATIO_HELP = (
    "Event threshold: the smallest brightness change that is an event, as a fraction (0 to 1) of the image's "
    "brightness range. The paper uses 0.12 at 224 x 224 pixels and 0.07 at 128 x 128."
)
Ratio = Annotated[
    float,
    typer.Option(metavar="R", callback=checked_by(check_ratio), help=_RATIO_HELP, rich_help_panel=CONVERSION),
]
OptionalRatio = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        callback=checked_by(check_ratio),
        show_default="the paper's ratio for the nearest of these sizes",
        help=_RATIO_HELP,
        rich_help_panel=CONVERSION,
    ),
]
Order = Annotated[
    str,
    typer.Option(
        "--order",
        "--shuffle",
        metavar="ORDER",
        callback=checked_by(_check_order),
        autocompletion=completing(*ORDERS),
        help=f"Order of the motion vectors: {', '.join(ORDERS)}, or the official number 0 to 5.",
        rich_help_panel=CONVERSION,
    ),
]
Timesteps = Annotated[
    int,
    typer.Option(
        metavar="T",
        callback=in_range(1, PAPER_TIMESTEPS),
        help="Number of timesteps T, 1 to 8. The first T motion vectors of ORDER are used.",
        rich_help_panel=CONVERSION,
    ),
]
Size = Annotated[
    tuple[int, int] | None,
    typer.Option(
        metavar="H W",
        callback=checked_by(_check_size),
        show_default="the size of each image",
        help="Resize the images to this height and width before the conversion.",
        rich_help_panel=CONVERSION,
    ),
]
Resize = Annotated[
    str,
    choice_option(
        RESIZES,
        callback=checked_by(_check_resize),
        metavar="|".join(RESIZES),
        help="How images get the size: fit (keep the aspect ratio; fill the rest with border pixels), crop (keep the "
        "aspect ratio and the center) or stretch (ignore the aspect ratio, as in the official data sets).",
        rich_help_panel=CONVERSION,
    ),
]
Interpolation = Annotated[
    str,
    choice_option(
        INTERPOLATIONS,
        metavar="|".join(INTERPOLATIONS),
        help="Interpolation of resized images: bicubic (the official data sets) or bilinear (the official notebooks).",
        rich_help_panel=CONVERSION,
    ),
]
DEVICE_HELP = (
    "auto (the GPU if there is one that can convert, else the CPU), cpu, cuda or cuda:N. All devices give identical "
    "events."
)
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        autocompletion=completing("auto", "cpu", "cuda"),
        help=f"Device that converts: {DEVICE_HELP}",
        rich_help_panel=MACHINE,
    ),
]
Kind = Annotated[
    str | None,
    choice_option(
        KINDS,
        metavar="KIND",
        show_default="detected",
        help=f"Kind of SOURCE: {', '.join(KINDS[:-1])} or {KINDS[-1]}.",
        rich_help_panel=INPUT,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=_apply_preset,
        autocompletion=completing(*PRESETS),
        is_eager=True,
        help=f"Use the size and ratio of an official data set: {', '.join(PRESETS[:-1])} or {PRESETS[-1]}. Options "
        "given explicitly take precedence.",
    ),
]
