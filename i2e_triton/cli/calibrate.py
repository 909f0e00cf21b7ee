"""``i2e calibrate``: find the ratio that gives a requested event rate."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from i2e_triton.cli.dataset import open_sources
from i2e_triton.cli.options import (
    INPUT,
    Device,
    Interpolation,
    Kind,
    Order,
    Preset,
    Resize,
    Size,
    Timesteps,
    check_device,
    check_rule,
    checked_by,
    in_range,
)
from i2e_triton.cli.terminal import exit_on_errors, new_progress, print_line
from i2e_triton.shifts import DEFAULT_ORDER, canonical_shifts

if TYPE_CHECKING:
    from i2e_triton.analysis.calibration import CurvePoint, ImageSample


def _check_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"must be between 0 and 1, got {rate}; 0.05 is 5 %")
    return rate


def calibrate(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Data set of images, as for i2e dataset. Nothing is downloaded.")
    ],
    rate: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            callback=checked_by(_check_rate),
            help="Requested mean event rate: the fraction of event positions (timesteps x polarities x pixels) that "
            "have an event. 0.05 is 5 %.",
        ),
    ],
    kind: Kind = None,
    preset: Preset = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="the first",
            help="Split to measure: train, validation or test.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    size: Size = None,
    resize: Resize = "stretch",
    interpolation: Interpolation = "bicubic",
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(1),
            help="Number of images to measure, evenly spaced over the split.",
            rich_help_panel=INPUT,
        ),
    ] = 1000,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            file_okay=False,
            help="Output folder for the curve: calibration.png and calibration.csv.",
        ),
    ] = None,
) -> None:
    """Find the ratio that gives a data set of images a requested mean event rate.

    A sample of the images is read once and converted at several ratios from 0 to 1. A bisection then finds the ratio
    with a resolution of 0.0001. The printed event rate was measured at the printed ratio.
    """
    from i2e_triton.analysis.calibration import RATIOS, find_ratio, read_sample
    from i2e_triton.sources import PRESETS, find_kind, splits

    rule = check_rule(size, resize, interpolation)
    shifts, torch_device = canonical_shifts(order, timesteps), check_device(device)
    errors = Console(stderr=True)
    with exit_on_errors(errors), new_progress(errors) as progress:
        source_kind = kind or find_kind(source, PRESETS[preset].kind if preset else None)
        (images,) = open_sources(source, source_kind, split or splits(source, source_kind)[0]).values()
        task = progress.add_task("reading", total=min(sample, len(images)))
        image_sample = read_sample(
            images,
            sample,
            size=size,
            rule=rule,
            shifts=shifts,
            device=torch_device,
            rows_done=lambda rows: progress.advance(task, rows),
        )
        curve = [image_sample.measure(ratio) for ratio in progress.track(RATIOS, description="converting")]
        found = find_ratio(image_sample, curve, rate)
    console = Console()
    _print_result(console, found, rate, image_sample, len(images))
    options: dict[str, object] = {
        "--preset": preset,
        "--kind": kind,
        "--split": split,
        "--size": size,
        "--resize": resize if size and resize != "stretch" else None,
        "--interpolation": interpolation if size and interpolation != "bicubic" else None,
        "--order": None if order == DEFAULT_ORDER else order,
        "--timesteps": None if timesteps == 8 else timesteps,
    }
    print_line(console, f"next: {_dataset_command(source, found.ratio, options)}")
    if out is not None:
        with exit_on_errors(errors):
            _write_curve(out, curve, found)
        print_line(console, f"curve: {out / 'calibration.png'}, {out / 'calibration.csv'}")


def _print_result(console: Console, found: CurvePoint, requested: float, sample: ImageSample, rows: int) -> None:
    measured = f"mean event rate {found.event_rate.mean:.3%}, requested {requested:.3%}"
    print_line(console, f"ratio {found.ratio:g}: {measured}")
    error = found.event_rate.std / math.sqrt(sample.images)
    print_line(console, f"  from {sample.images:,} images of {rows:,}; standard error of the mean {error:.3%}")
    if sample.unreadable:
        print_line(console, f"  unreadable and skipped: {sample.unreadable} images of the sample")


def _dataset_command(source: str, ratio: float, options: dict[str, object]) -> str:
    """Return the ``i2e dataset`` command with this ratio and the options of the calibration."""
    words = ["i2e", "dataset", source, "-o", "OUT", "--ratio", f"{ratio:g}"]
    for option, value in options.items():
        if value is not None:
            words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _write_curve(out: Path, curve: Sequence[CurvePoint], found: CurvePoint) -> None:
    from i2e_triton.analysis import plots
    from i2e_triton.io.atomic import write_whole

    measured = sorted({point.ratio: point for point in (*curve, found)}.values(), key=lambda p: p.ratio)
    plots.save(plots.draw_curve(measured, found), out / "calibration.png")
    lines = ["ratio,event_rate,std_over_images"]
    lines += [f"{point.ratio},{point.event_rate.mean},{point.event_rate.std}" for point in measured]
    with write_whole(out / "calibration.csv") as file:
        file.write("\n".join([*lines, ""]).encode())
