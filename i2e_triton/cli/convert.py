"""``i2e convert``: convert image files to events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from rich.console import Console
from torch import Tensor

from i2e_triton.cli.options import (
    OUTPUT,
    Device,
    Interpolation,
    OptionalRatio,
    Order,
    Resize,
    Size,
    Timesteps,
    as_option_error,
    check_choice,
    check_device,
    check_rule,
    checked_by,
    completing,
    in_range,
    option_error,
)
from i2e_triton.cli.terminal import new_progress, new_table, percent, plain, print_line, printable
from i2e_triton.shifts import DEFAULT_ORDER, canonical_shifts

if TYPE_CHECKING:
    from i2e_triton.cli.convert_image import ConvertedImage, ConvertOptions

FORMATS = ("gif", "png", "npz", "npy", "csv", "h5", "aedat4", "evt2", "dat", "nmnist")


def _check_formats(formats: str) -> str:
    names = dict.fromkeys(name.strip().lower().removeprefix(".") for name in formats.split(","))
    return ",".join(check_choice(name, FORMATS) for name in names)


def _check_fps(fps: float) -> float:
    if not 0 < fps <= 50:
        raise ValueError(f"must be above 0 and at most 50, got {fps}")
    return fps


def convert(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Image files, folders (with subfolders), and patterns such as 'photos/*.jpg'."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", file_okay=False, help="Output folder; created if missing.")
    ],
    size: Size = None,
    resize: Resize = "stretch",
    interpolation: Interpolation = "bicubic",
    ratio: OptionalRatio = None,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMATS",
            callback=checked_by(_check_formats),
            help="Formats to write for each image, separated by commas: gif (animation: ON red, OFF blue), png "
            "(contact sheet), npz (as in the official data sets: bool [T,2,H,W] as arr_0), npy (the same array, "
            "uncompressed), csv and h5 (event list: x, y, t, p, where p is 1 for ON and 0 for OFF), and files of event "
            "cameras: aedat4, evt2 (.raw), dat and nmnist (.bin).",
            autocompletion=completing(*FORMATS),
            rich_help_panel=OUTPUT,
        ),
    ] = "gif,png,npz",
    scale: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=in_range(1, 64),
            show_default="enlarge small images to 256 pixels",
            help="Factor by which the gif is enlarged.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option(
            metavar="FPS",
            callback=checked_by(_check_fps),
            help="Timesteps per second of the gif.",
            rich_help_panel=OUTPUT,
        ),
    ] = 8,
    beside: Annotated[
        bool,
        typer.Option("--beside", help="Show the image to the left of its events in the gif.", rich_help_panel=OUTPUT),
    ] = False,
    timestep_us: Annotated[
        int,
        typer.Option(
            metavar="US", help="Duration of a timestep in event lists, in microseconds.", rich_help_panel=OUTPUT
        ),
    ] = 1000,
    device: Device = "auto",
) -> None:
    """Convert images to events, and draw or save them.

    Results keep the subfolders of the images, relative to the deepest folder that contains every IMAGE: photos/a/1.jpg
    is written to OUT/a/1.gif if IMAGE is photos, and to OUT/1.gif if IMAGE is photos/a/1.jpg. If the names of two
    images of a folder differ only in the suffix, the results keep it: 1.jpg.gif and 1.png.gif.

    All image formats that Pillow can read are supported. The EXIF orientation is applied, only the first frame of an
    animation is used, transparency is dropped, and grey images of more than 8 bits keep their precision.

    Images that are unreadable, or too large for a format, are reported and skipped. The exit status is 1 if an
    image that is named as IMAGE is skipped, a file cannot be written, or no image is converted. Skipped images that
    were found in a folder do not change it. If an argument is invalid, nothing is written and the exit status is 2.
    """
    from i2e_triton.cli.convert_image import ConvertOptions, output_paths
    from i2e_triton.cli.image_files import describe_others, find_image_files
    from i2e_triton.formats.camera_files import CAMERA_FORMATS, check_camera_time
    from i2e_triton.formats.event_list import check_duration

    chosen = tuple(formats.split(","))
    with as_option_error("--timestep-us"):
        check_duration(timesteps, timestep_us)
        for format in CAMERA_FORMATS.keys() & set(chosen):
            check_camera_time(format, (timesteps - 1) * timestep_us)
    options = ConvertOptions(
        size=size,
        rule=check_rule(size, resize, interpolation),
        ratio=ratio,
        shifts=canonical_shifts(order, timesteps),
        device=check_device(device),
        formats=chosen,
        timestep_us=timestep_us,
        scale=scale,
        fps=fps,
        beside=beside,
    )
    files = find_image_files(images, out)
    originals = {os.path.realpath(image) for image in files.targets}
    for image, target in files.targets.items():
        for path in output_paths(target, options.formats):
            if os.path.realpath(path) in originals:
                raise option_error(
                    "--out", f"the events of {printable(image)} would overwrite the image {printable(path)}"
                )

    errors = Console(stderr=True)
    for path, reason in files.unreadable.items():
        print_line(errors, f"skipped {path}: {reason}")
    if files.others:
        print_line(errors, describe_others(files.others))
    converted, unreadable = _convert_all(files.targets, options, errors)
    if len(converted) == 1:
        _print_image(Console(), converted[0], options)
    elif converted:
        _print_images(Console(), converted, options, out)
    total = len(files.unreadable) + len(files.targets)
    if len(converted) < total:
        print_line(errors, f"{total - len(converted)} of {total} skipped")
    unreadable_in_folders = unreadable - files.named
    if len(converted) + len(unreadable_in_folders) < total or not converted:
        raise typer.Exit(1)


def _convert_all(
    targets: dict[Path, Path], options: ConvertOptions, errors: Console
) -> tuple[list[ConvertedImage], set[Path]]:
    """Convert every readable image; report and skip the others. Return the results and the unreadable images."""
    from i2e_triton.cli.convert_image import convert_image
    from i2e_triton.io.pictures import PictureError

    converted, unreadable = [], set()
    with new_progress(errors) as progress:
        for image, target in progress.track(targets.items(), total=len(targets), description="converting"):
            try:
                converted.append(convert_image(image, target, options))
            except PictureError as error:
                unreadable.add(image)
                print_line(errors, f"skipped {image}: {error}")
            except OSError as error:
                print_line(errors, f"skipped {image}: cannot write {target}: {error.strerror or error}")
    return converted, unreadable


def _print_image(console: Console, image: ConvertedImage, options: ConvertOptions) -> None:
    from i2e_triton.visualize.sheet import vector_labels

    height, width = image.size
    print_line(console, f"{image.path}: {height} x {width} pixels, {_ratios([image], options)}")
    table = new_table("t", "motion vector", "ON", "OFF", "event rate", text_columns=2)
    for t, (label, rates) in enumerate(zip(vector_labels(options.shifts), image.rates)):
        table.add_row(str(t), plain(label), *_percentages(rates))
    table.add_section()
    table.add_row("", "mean", *_percentages(image.rates.mean(0)), style="bold")
    console.print(table)
    print_line(console, "written:")
    for path in image.files:
        print_line(console, f"  {path}")


def _print_images(console: Console, converted: Sequence[ConvertedImage], options: ConvertOptions, out: Path) -> None:
    from i2e_triton.cli.convert_image import suffix

    print_line(console, f"{_ratios(converted, options)}, {len(options.shifts)} timesteps")
    table = new_table("name", "pixels", "ON", "OFF", "event rate")
    means = torch.stack([image.rates.mean(0) for image in converted])
    for image, rates in zip(converted, means):
        height, width = image.size
        name = image.files[0].relative_to(out).with_suffix("")
        table.add_row(plain(name), f"{height} x {width}", *_percentages(rates))
    table.add_section()
    table.add_row(f"mean of {len(converted)}", "", *_percentages(means.mean(0)), style="bold")
    console.print(table)
    suffixes = ", ".join(suffix(format) for format in options.formats)
    print_line(console, f"written to {out}: {suffixes} of each image")


def _ratios(converted: Sequence[ConvertedImage], options: ConvertOptions) -> str:
    """Return the ratios that were used, and where they come from if the user did not choose one."""
    ratios = " and ".join(f"{ratio:g}" for ratio in sorted({image.ratio for image in converted}))
    return f"ratio {ratios}" if options.ratio is not None else f"ratio {ratios} (the paper's)"


def _percentages(rates: Tensor) -> tuple[str, str, str]:
    """Return the ON rate, the OFF rate and their mean, which is the event rate of the paper."""
    on, off = rates.tolist()
    return percent(on), percent(off), percent((on + off) / 2)
