"""``i2e dataset``: whole data sets to events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from i2e_triton.cli.dataset_progress import Progress, print_summary
from i2e_triton.cli.dataset_settings import Request, check_engine, check_places, check_settings, kind_of, open_sources
from i2e_triton.cli.lazy import STYLE, DefaultGroup
from i2e_triton.cli.options import Device, Order, Timesteps
from i2e_triton.cli.running import stopped_by_errors
from i2e_triton.cli.source_options import Kind
from i2e_triton.cli.verify import verify
from i2e_triton.formats import BITS
from i2e_triton.pipeline.dataset import convert_dataset
from i2e_triton.pipeline.plan import FORMATS, ROWS_PER_SHARD
from i2e_triton.shifts import DEFAULT_ORDER
from i2e_triton.sources import PRESETS

INTERRUPTED = 130  #: exit status of a shell command that Ctrl-C ended


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of images (class folders or flat), Hugging Face image Parquet, WebDataset tars, or the folder "
            "of a torchvision data set.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            file_okay=False,
            help="Folder to write to, outside of SOURCE; made if missing.",
        ),
    ],
    preset: Annotated[
        Optional[str],  # noqa: UP045  # typer reads this at run time
        typer.Option(metavar="NAME", help=f"Size, ratio, resizing and splits as published: {', '.join(PRESETS)}."),
    ] = None,
    kind: Kind = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Convert this split alone: train, validation or test."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let torchvision download a data set that is not there.")
    ] = False,
    size: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045
        typer.Option(metavar="H W", help="Resize to this height and width. Images keep their own size without."),
    ] = None,
    resize: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="RULE",
            help="bicubic (the published data sets), bilinear (the published notebooks), or bilinear-crop (their "
            "validation of ImageNet: the shorter side to 8/7 of the size, then the middle).",
        ),
    ] = None,
    ratio: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="R", help="Sensitivity of the threshold; 0.12 without a preset."),
    ] = None,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    random_shifts: Annotated[
        bool,
        typer.Option(
            "--random-shifts",
            help="Draw the motion vectors of each row; which ones depends on the seed and the row's number alone.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of --random-shifts.")] = 0,
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help=f"{', '.join(FORMATS)}: Parquet shards in the published schema, npz files in class folders as "
            "published, or WebDataset tars.",
        ),
    ] = "parquet",
    bits: Annotated[
        str,
        typer.Option(
            metavar="BITS",
            help=f"{' or '.join(BITS)}: records that the official code reads, or one byte a pixel and polarity.",
        ),
    ] = "official",
    compression: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="CODEC", help="Of Parquet: zstd, snappy, gzip, lz4 or none. zstd without the option."),
    ] = None,
    rows_per_shard: Annotated[int, typer.Option(metavar="N", help="Images of a shard.")] = ROWS_PER_SHARD,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes that decode and resize; 0 works in this one.")
    ] = os.cpu_count() or 1,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Images of one conversion. The result is the same.")
    ] = 256,
    device: Device = "cpu",
    engine: Annotated[
        str, typer.Option(metavar="ENGINE", help="local, or ray: the nodes of a Ray cluster. The result is the same.")
    ] = "local",
    log: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Append what happens to this file, a JSON object a line."),
    ] = None,
) -> None:
    """Convert a data set of images to events.

    OUT holds shards of Parquet (train-00000-of-00013.parquet), WebDataset tars or npz files in class folders, and
    manifest.json: settings, source, shards with checksums, event rates and the rows that were skipped because their
    image could not be read.

    Pictures are taken as they are stored, as torchvision's data sets do: an EXIF orientation is not followed.

    Killed at any moment, the same command goes on where it stopped, to the same bytes; with other settings, or files of
    other names or sizes, it refuses. Ctrl-C finishes the shards in hand. `i2e dataset verify OUT` checks the result.
    """
    request = Request(
        preset=preset,
        kind=kind,
        split=split,
        download=download,
        size=size,
        resize=resize,
        ratio=ratio,
        order=order,
        timesteps=timesteps,
        random_shifts=random_shifts,
        seed=seed,
        format=format,
        bits=bits,
        compression=compression,
        rows_per_shard=rows_per_shard,
        workers=workers,
        batch_size=batch_size,
        device=device,
        engine=engine,
    )
    settings, convert_shards = check_settings(request), check_engine(request)
    errors = Console(stderr=True)
    try:
        with stopped_by_errors(errors):
            kind = kind_of(source, request)
            check_places(kind, source, out, log)
            sources = open_sources(kind, source, request)
            with Progress(errors, log) as progress:
                manifest = convert_dataset(sources, kind, out, settings, convert_shards, progress)
    except KeyboardInterrupt as error:
        errors.print("interrupted; finished shards are kept, and the same command goes on from them", highlight=False)
        raise typer.Exit(INTERRUPTED) from error
    print_summary(Console(), manifest, out)
    if not manifest.complete:
        errors.print("interrupted; the same command goes on from here", highlight=False)
        raise typer.Exit(INTERRUPTED)
    if any(record.skipped for record in manifest.shards) and not any(record.rows for record in manifest.shards):
        errors.print("no image could be read: the result is empty", highlight=False)
        raise typer.Exit(1)


app = typer.Typer(cls=DefaultGroup, **STYLE)
app.command("convert")(convert)
app.command("verify")(verify)
