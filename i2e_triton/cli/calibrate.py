"""``i2e calibrate``: the ratio that gives a wanted event rate."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from i2e_triton.analysis import plots
from i2e_triton.analysis.calibration import (
    RATIOS,
    Calibration,
    CurvePoint,
    ImageSample,
    curve_columns,
    find_ratio,
    measure_curve,
    read_sample,
)
from i2e_triton.cli.dataset_settings import checked_preset, checked_resize
from i2e_triton.cli.lazy import STYLE
from i2e_triton.cli.options import Device, Order, Timesteps, checked_device, checked_shifts, checked_size, wrong
from i2e_triton.cli.running import progress_bars, stopped_by_errors
from i2e_triton.cli.source_options import Kind, checked_kind, checked_sample
from i2e_triton.io.atomic import write_whole
from i2e_triton.shifts import DEFAULT_ORDER
from i2e_triton.sources import PRESETS, RESIZE_RULES, Preset, Source, find_kind, open_source, splits


def calibrate(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Data set of images, as for i2e dataset; nothing is downloaded.")
    ],
    rate: Annotated[
        float,
        typer.Option(metavar="RATE", help="Wanted mean event rate, a share of all event positions: 0.05 is 5 %."),
    ],
    kind: Kind = None,
    preset: Annotated[
        Optional[str],  # noqa: UP045  # typer reads this at run time
        typer.Option(metavar="NAME", help=f"Size and resizing as published: {', '.join(PRESETS)}."),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Split to measure: train, validation or test. The first one without."),
    ] = None,
    size: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option(metavar="H W", help="Resize to this height and width. Images keep their own size without."),
    ] = None,
    resize: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="RULE", help=f"How to resize: {', '.join(RESIZE_RULES)}; the first one without."),
    ] = None,
    sample: Annotated[int, typer.Option(metavar="N", help="Images to measure, evenly spaced over the split.")] = 1000,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    device: Device = "cpu",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            file_okay=False,
            help="Folder for the curve: calibration.png and calibration.csv.",
        ),
    ] = None,
) -> None:
    """Find the ratio that gives a data set of images a wanted mean event rate.

    A sample of the images is read once and converted at many ratios: at those of the curve, 0 to 1, and then, halving
    the interval, at steps of 0.0001. The rate that is printed was measured at the ratio that is printed.
    """
    if not (math.isfinite(rate) and 0 < rate < 1):
        raise wrong("--rate", f"must be between 0 and 1, a share of all event positions, got {rate}")
    sample, published = checked_sample(sample), checked_preset(preset)
    if published is not None:
        size, resize = size or published.size, resize or published.resize
    size = checked_size(size)
    rule = checked_resize(size, resize or RESIZE_RULES[0])
    shifts, where = checked_shifts(order, timesteps), checked_device(device)
    errors = Console(stderr=True)
    with stopped_by_errors(errors), progress_bars(errors) as progress:
        images = _open(source, kind, split, published)
        reading = progress.add_task("reading", total=min(sample, len(images)))
        read = read_sample(
            images,
            sample,
            size=size,
            rule=rule,
            shifts=shifts,
            device=where,
            rows_done=lambda rows: progress.advance(reading, rows),
        )
        curve = measure_curve(read, progress.track(RATIOS, description="converting"))
        calibration = find_ratio(read, curve, rate)
    _print(calibration, rate, read, len(images))
    options: dict[str, object] = {
        "--preset": preset,
        "--kind": kind,
        "--split": split,
        "--size": size,
        "--resize": rule if size else None,
        "--order": None if order == DEFAULT_ORDER else order,
        "--timesteps": None if timesteps == 8 else timesteps,
    }
    typer.echo(f"next: {_command(source, calibration.found.ratio, options)}")
    if out is not None:
        with stopped_by_errors(errors):
            _write(out, curve, calibration)
        typer.echo(f"curve: {out / 'calibration.png'}, {out / 'calibration.csv'}")


def _open(source: str, kind: str | None, split: str | None, preset: Preset | None) -> Source:
    kind = checked_kind(kind) or find_kind(source, None if preset is None else preset.kind)
    known = splits(source, kind)
    if split is not None and split not in known:
        raise wrong("--split", f"must be one of {', '.join(known)}; got {split!r}")
    return open_source(source, kind=kind, split=split or known[0])


def _print(calibration: Calibration, wanted: float, sample: ImageSample, rows: int) -> None:
    found, (above, below) = calibration.found, calibration.around
    typer.echo(f"ratio {found.ratio:g}: mean event rate {found.event_rate.mean:.3%}, wanted {wanted:.3%}")
    typer.echo(f"  around it: {_rate_at(above)}, {_rate_at(below)}")
    error = found.event_rate.std / math.sqrt(sample.images)
    typer.echo(f"  of {sample.images:,} images out of {rows:,}; standard error of the mean {error:.3%}")
    if sample.unreadable:
        typer.echo(f"  left out, because they cannot be read: {sample.unreadable} of the sample")


def _rate_at(point: CurvePoint) -> str:
    return f"{point.event_rate.mean:.3%} at {point.ratio:g}"


def _command(source: str, ratio: float, options: dict[str, object]) -> str:
    """Write the command that converts as was measured, for a shell."""
    words = ["i2e", "dataset", source, "-o", "OUT", "--ratio", f"{ratio:g}"]
    for option, value in options.items():
        if value is not None:
            words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _write(out: Path, curve: Sequence[CurvePoint], calibration: Calibration) -> None:
    measured = sorted({point.ratio: point for point in (*curve, calibration.found)}.values(), key=lambda p: p.ratio)
    plots.save(plots.draw_curve(measured, calibration), out / "calibration.png")
    columns = curve_columns(measured)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values())))
    with write_whole(out / "calibration.csv") as file:
        file.write(text.getvalue().encode())


app = typer.Typer(**STYLE)
app.command("calibrate")(calibrate)
