"""``i2e dataset``: convert data sets of images to data sets of events."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from i2e_triton.cli.options import (
    CONVERSION,
    DEFAULT_RATIO,
    INPUT,
    MACHINE,
    OUTPUT,
    Interpolation,
    Kind,
    Order,
    Preset,
    Ratio,
    Resize,
    Size,
    Timesteps,
    as_option_error,
    check_choice,
    check_rule,
    checked_by,
    choice_option,
    completing,
    in_range,
    option_error,
)
from i2e_triton.cli.terminal import exit_on_errors, print_line
from i2e_triton.cli.typer_classes import Application, DefaultGroup
from i2e_triton.install_hints import pip_command
from i2e_triton.pipeline.plan import FORMATS, ROWS_PER_SHARD, ConversionConfig
from i2e_triton.shifts import DEFAULT_ORDER

if TYPE_CHECKING:
    from i2e_triton.pipeline.dataset import Engine
    from i2e_triton.sources import Source

CPUS = os.cpu_count() or 1
CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
ENGINES = ("local", "ray")


def _check_bits(bits: str) -> str:
    from i2e_triton.formats import check_bits

    return check_bits(bits)


Workers = Annotated[
    int,
    typer.Option(
        metavar="N",
        callback=in_range(0),
        help="Processes, each of which converts one shard at a time; 0 uses the main process.",
        rich_help_panel=MACHINE,
    ),
]


app = Application(cls=DefaultGroup, no_args_is_help=True, help="Convert a data set of images to events, or verify it.")


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of images (class folders or flat), Parquet files of images (Hugging Face), WebDataset tars, "
            "or the root of a torchvision data set.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT", file_okay=False, help="Output folder outside of SOURCE; created if missing."
        ),
    ],
    preset: Preset = None,
    kind: Kind = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="all",
            help="Split to convert: train, validation or test.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Let torchvision download the data set if it is missing.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    size: Size = None,
    resize: Resize = "stretch",
    interpolation: Interpolation = "bicubic",
    ratio: Ratio = DEFAULT_RATIO,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    random_shifts: Annotated[
        bool,
        typer.Option(
            "--random-shifts",
            help="Draw random motion vectors for each row. They depend on the seed and the row number only.",
            rich_help_panel=CONVERSION,
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(0, 2**63 - 1),
            help="Seed of --random-shifts.",
            rich_help_panel=CONVERSION,
        ),
    ] = 0,
    format: Annotated[
        str,
        choice_option(
            FORMATS,
            metavar="FORMAT",
            rich_help_panel=OUTPUT,
            help="parquet (shards with the official schema), npz (files in class folders, as in the official data "
            "sets) or tar (WebDataset).",
        ),
    ] = "parquet",
    bits: Annotated[
        str,
        typer.Option(
            metavar="BITS",
            callback=checked_by(_check_bits),
            autocompletion=completing("official", "packed"),
            rich_help_panel=OUTPUT,
            help="official (records that the official code reads) or packed (one byte per pixel and polarity).",
        ),
    ] = "official",
    compression: Annotated[
        str | None,
        choice_option(
            CODECS,
            metavar="CODEC",
            rich_help_panel=OUTPUT,
            show_default="zstd",
            help="Compression of Parquet: zstd, snappy, gzip, lz4 or none.",
        ),
    ] = None,
    rows_per_shard: Annotated[
        int,
        typer.Option(metavar="N", callback=in_range(1), help="Images per shard.", rich_help_panel=OUTPUT),
    ] = ROWS_PER_SHARD,
    workers: Workers = CPUS,
    engine: Annotated[
        str,
        choice_option(
            ENGINES,
            metavar="ENGINE",
            rich_help_panel=MACHINE,
            help="local, or ray to use the nodes of a Ray cluster. The result is the same.",
        ),
    ] = "local",
) -> None:
    """Convert a data set of images to events; `i2e dataset verify OUT` checks the result.

    OUT contains Parquet shards (train-00000-of-00013.parquet), WebDataset tars or npz files in class folders, and
    manifest.json: settings, source, shards with checksums, event rates, and the rows that were skipped because their
    image is unreadable.

    Unreadable images are reported and skipped. They do not change the exit status, which is 1 if no image is readable.

    Class folders of images are numbered in the order of their names as text, as by torchvision: 10 precedes 2. The
    class names are stored with the events.

    Images are read as they are stored, as by torchvision: the EXIF orientation is not applied.

    After an interruption, rerun the same command to resume; the result has the same bytes. Ctrl-C finishes the current
    shards first; a second Ctrl-C or SIGTERM abandons them. A rerun with other settings, or with source files of other
    names or sizes, is refused.
    """
    from i2e_triton.cli.dataset_report import DatasetProgress, print_summary
    from i2e_triton.cli.image_files import describe_others
    from i2e_triton.pipeline.dataset import convert_dataset
    from i2e_triton.sources import PRESETS, find_kind

    if format == "npz" and bits != "official":
        raise option_error("--bits", "npz files contain official bits only; use official, or another --format")
    config = ConversionConfig(
        ratio=ratio,
        size=size,
        resize=check_rule(size, resize, interpolation),
        order=order,
        timesteps=timesteps,
        random_shifts=random_shifts,
        seed=seed if random_shifts else 0,
        format=format,
        bits=bits,
        compression=_compression(format, compression),
        rows_per_shard=rows_per_shard,
    )
    convert_shards = shard_engine(engine, workers)
    errors = Console(stderr=True)
    with exit_on_errors(errors, interrupted="interrupted; finished shards are kept. Rerun the same command to resume"):
        kind = kind or find_kind(source, PRESETS[preset].kind if preset else None)
        _check_output(kind, source, out)
        sources = open_sources(source, kind, split, download=download, preset=preset)
        with DatasetProgress(errors) as progress:
            manifest = convert_dataset(sources, kind, out, config, convert_shards, progress)
    if kind == "folder" and (others := _other_files(source)):
        print_line(errors, describe_others(others))
    print_summary(manifest, out)
    if any(record.skipped for record in manifest.shards) and not any(record.rows for record in manifest.shards):
        print_line(errors, "no image is readable: the result is empty")
        raise typer.Exit(1)


def _other_files(location: str) -> Counter[str]:
    """Count the files of a folder that are not images, by suffix."""
    from i2e_triton.cli.image_files import other_files
    from i2e_triton.io.location import IMAGE_SUFFIXES

    names = chain.from_iterable(files for _, _, files in os.walk(Path(location).expanduser()))
    return other_files(names, IMAGE_SUFFIXES)


def _compression(format: str, codec: str | None) -> str:
    """Return the codec of Parquet, or "none" for the other formats."""
    if format == "parquet":
        return codec or "zstd"
    if codec is not None:
        reason = {"npz": "npz files are always deflated", "tar": "tars stay uncompressed, so that readers can seek"}
        raise option_error("--compression", f"applies to Parquet only: {reason[format]}")
    return "none"


def shard_engine(name: str, workers: int) -> Engine:
    """Return the function that converts shards."""
    from i2e_triton.pipeline.local_engine import convert_shards

    if name == "local":
        return partial(convert_shards, workers=workers)
    try:
        from i2e_triton.pipeline.ray_engine import convert_shards_with_ray
    except ModuleNotFoundError as error:
        raise option_error("--engine", f"ray needs the package {error.name}: {pip_command('ray')}") from error
    return convert_shards_with_ray


def open_sources(
    location: str, kind: str, split: str | None = None, *, download: bool = False, preset: str | None = None
) -> dict[str, Source]:
    """Open the splits of the source, or one split, by the names that they have in the result."""
    from i2e_triton.sources import PRESETS, open_source, splits
    from i2e_triton.sources.torchvision_sets import FOLDERS

    if download and kind not in FOLDERS:
        allowed = ", ".join(FOLDERS)
        raise option_error("--download", f"applies to torchvision data sets ({allowed}); SOURCE is of kind {kind}")
    names = splits(location, kind)
    if split is not None:
        with as_option_error("--split"):
            names = (check_choice(split, names),)
    official = PRESETS[preset].splits if preset else {}
    # If the source has splits of both names, each keeps its name.
    renamed = {name: name if official.get(name) in names else official.get(name, name) for name in names}
    path = str(Path(location).expanduser().absolute())  # worker processes may have another working directory
    return {renamed[name]: open_source(path, kind=kind, split=name, download=download) for name in names}


def _check_output(kind: str, location: str, out: Path) -> None:
    """Check that the result does not become a part of the source."""
    from i2e_triton.sources.torchvision_sets import FOLDERS

    source, result = (Path(location).expanduser() / FOLDERS.get(kind, "")).resolve(), out.resolve()
    if source in (result, *result.parents):
        raise option_error("--out", f"must be outside of SOURCE, which it would change; got {out} in {location}")
