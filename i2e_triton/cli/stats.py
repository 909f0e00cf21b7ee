"""``i2e stats``: measure event rates, entropies and sizes of a data set of events."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from i2e_triton.cli.dataset import open_sources
from i2e_triton.cli.options import INPUT, Kind, in_range, option_error
from i2e_triton.cli.terminal import exit_on_errors, new_progress, new_table, percent, plain, print_line, printable

if TYPE_CHECKING:
    from i2e_triton.analysis import EventStatistics, ImageStatistics
    from i2e_triton.analysis.events import ClassRate
    from i2e_triton.pipeline.manifest import Manifest
    from i2e_triton.sources import Source

#: If there are more classes than this, the table shows only the first and the last ones.
_MAX_CLASSES = 20
_CLASSES_AT_EACH_END = 5


@dataclass(frozen=True)
class Comparison:
    """File sizes and image statistics that the events are compared with."""

    event_file_bytes: float | None  #: bytes per image of the event files, if the data set has a manifest
    source_bytes: float | None  #: bytes per image of the source images, if known
    images: ImageStatistics | None  #: entropies of the source images, if ``--source`` is given


def stats(
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION",
            help="Output folder of i2e dataset, data set of the Hugging Face hub, official npz folders, Parquet files "
            "or tars.",
        ),
    ],
    split: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="the only one", help="Split to measure.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Data set of the images that were converted. Their entropies and sizes are compared with those of "
            "the events.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    kind: Kind = None,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(1),
            help="Number of images of SOURCE whose entropy is measured, evenly spaced.",
            rich_help_panel=INPUT,
        ),
    ] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT", file_okay=False, help="Output folder for plots (PNG) and statistics.json."
        ),
    ] = None,
) -> None:
    """Measure a data set of events: rates per timestep, polarity and class, entropies, sizes.

    An event rate is the fraction of event positions (timesteps x polarities x pixels) that have an event. Entropies are
    in bits and are computed for each image. Means and standard deviations are over images, as in the official notebook
    and in the paper's information-theoretic analysis.
    """
    from i2e_triton.analysis import measure_events
    from i2e_triton.datasets import EventDataset

    errors = Console(stderr=True)
    with exit_on_errors(errors), new_progress(errors) as progress:
        dataset = EventDataset(location, split, packed=True)
        manifest = _read_manifest(Path(location))
        images = None if source is None else _open_images(source, kind, split or _only_split(manifest))
        task = progress.add_task("events", total=len(dataset))
        statistics = measure_events(dataset, lambda rows: progress.advance(task, rows))
        task = progress.add_task("images", total=0 if images is None else min(sample, len(images)))
        comparison = _measure_source(
            statistics, manifest, split, images, sample, lambda rows: progress.advance(task, rows)
        )
    _print_statistics(Console(), statistics, comparison)
    if out is not None:
        with exit_on_errors(errors):
            _write_files(out, {"location": location, "split": split}, statistics, comparison)
        print_line(Console(), f"plots and statistics.json in {out}")


def _read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest that ``i2e dataset`` wrote, or None. Ignore a ``manifest.json`` of another program."""
    from i2e_triton.datasets.manifest import read_class_names
    from i2e_triton.pipeline.manifest import read_manifest

    return read_manifest(folder) if read_class_names(folder) is not None else None


def _only_split(manifest: Manifest | None) -> str | None:
    """Return the name of the split if the data set has exactly one, or None."""
    return next(iter(manifest.rows)) if manifest is not None and len(manifest.rows) == 1 else None


def _open_images(location: str, kind: str | None, split: str | None) -> Source:
    """Open the split of the source images that has this name, or their only split."""
    from i2e_triton.sources import find_kind, splits

    kind = kind or find_kind(location)
    names = splits(location, kind)
    name = names[0] if len(names) == 1 else split
    if name not in names:
        found = f"{location} has the splits {', '.join(names)}, but not {split!r}"
        raise option_error("--source", f"{found}; pass the file or the folder of one split")
    return open_sources(location, kind, name)[name]


def _measure_source(
    statistics: EventStatistics,
    manifest: Manifest | None,
    split: str | None,
    images: Source | None,
    sample: int,
    rows_done: Callable[[int], None],
) -> Comparison:
    """Measure the source images, if given, and read the file sizes from the manifest, if there is one."""
    from i2e_triton.analysis import measure_images

    records = [] if manifest is None else [record for record in manifest.shards if split in (None, record.split)]
    event_bytes = sum(record.bytes for record in records) / statistics.images if records else None
    if images is not None:
        size = next(iter(statistics.sizes)) if len(statistics.sizes) == 1 else None
        rule = "bicubic" if manifest is None else manifest.settings["resize"]
        measured = measure_images(images, sample, size, rule, rows_done)
        return Comparison(event_bytes, images.nbytes() / len(images), measured)
    # The manifest has the size of the source over all splits, not of each split.
    total = manifest.source["bytes"] if manifest is not None and _only_split(manifest) is not None else None
    return Comparison(event_bytes, total / statistics.images if total else None, None)


def _write_files(out: Path, data_set: dict[str, Any], statistics: EventStatistics, comparison: Comparison) -> None:
    """Write the plots and ``statistics.json``, which starts with the entries of ``data_set``."""
    from i2e_triton.analysis import plots
    from i2e_triton.analysis.events import as_json
    from i2e_triton.io.atomic import write_whole

    plots.save(plots.draw_timesteps(statistics.polarity_rates), out / "timesteps.png")
    if len(statistics.classes) > 1:
        rates = [(_class_name(label, found), found.event_rate) for label, found in statistics.classes.items()]
        plots.save(plots.draw_classes(rates), out / "classes.png")
    if statistics.map is not None:
        plots.save(plots.draw_map(statistics.map), out / "map.png")
    figures = {**data_set, **as_json(statistics), "bytes_per_image": _bytes_per_image(statistics, comparison)}
    if comparison.images is not None:
        figures["entropy_bits"] |= {
            "value_channel_pixel": comparison.images.value_entropy.as_json(),
            "grey_pixel": comparison.images.grey_entropy.as_json(),
            "images_sampled": comparison.images.images,
        }
    with write_whole(out / "statistics.json") as file:
        file.write(json.dumps(figures, indent=1, allow_nan=False).encode())


def _bytes_per_image(statistics: EventStatistics, comparison: Comparison) -> dict[str, float]:
    """Return the mean bytes per image of each representation: in memory, then on disk."""
    on_disk = {"files": comparison.event_file_bytes, "source images": comparison.source_bytes}
    return {**statistics.bytes, **{name: size for name, size in on_disk.items() if size is not None}}


def _class_name(label: int, found: ClassRate) -> str:
    return printable(found.name or str(label))


def _print_statistics(console: Console, statistics: EventStatistics, comparison: Comparison) -> None:
    sizes = [f"{height} x {width}" for height, width in statistics.sizes]
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    console.print(f"{statistics.images:,} images, {size}, {statistics.timesteps} timesteps", highlight=False)
    console.print(_rate_table(statistics))
    if len(statistics.classes) > 1:
        console.print(_class_table(statistics))
    console.print(_entropy_table(statistics, comparison.images))
    console.print(_size_table(_bytes_per_image(statistics, comparison)))


def _rate_table(statistics: EventStatistics) -> Table:
    table = new_table("event rate", "ON", "OFF", "mean", "std over images")
    for t, ((on, off), both) in enumerate(zip(statistics.polarity_rates, statistics.timestep_rates)):
        table.add_row(f"t={t}", *map(percent, (on.mean, off.mean, both.mean, both.std)))
    means = [sum(spread.mean for spread in spreads) / len(spreads) for spreads in zip(*statistics.polarity_rates)]
    total = statistics.event_rate
    table.add_section()
    table.add_row("all", *map(percent, (*means, total.mean, total.std)), style="bold")
    return table


def _class_table(statistics: EventStatistics) -> Table:
    """Return a table of the classes, sorted by event rate. If there are many, the middle ones are omitted."""
    table = new_table("class", "images", "event rate", "std over images")
    classes = sorted(statistics.classes.items(), key=lambda item: item[1].event_rate.mean, reverse=True)
    omitted = len(classes) - 2 * _CLASSES_AT_EACH_END if len(classes) > _MAX_CLASSES else 0
    for rank, (label, found) in enumerate(classes):
        if omitted and rank == _CLASSES_AT_EACH_END:
            table.add_row(f"… {omitted} more", "", "", "")
        if not omitted or not _CLASSES_AT_EACH_END <= rank < _CLASSES_AT_EACH_END + omitted:
            name = plain(_class_name(label, found), overflow="ellipsis", no_wrap=True)
            table.add_row(name, f"{found.images:,}", *map(percent, (found.event_rate.mean, found.event_rate.std)))
    return table


def _entropy_table(statistics: EventStatistics, images: ImageStatistics | None) -> Table:
    table = new_table("entropy, mean over images", "bits", "std", "maximum")
    rows = [
        ("one event position", statistics.event_entropy, 1),
        ("all timesteps of a pixel, one polarity", statistics.polarity_entropy, statistics.timesteps),
        ("all events of a pixel", statistics.pixel_entropy, 2 * statistics.timesteps),
    ]
    if images is not None:
        rows.append((f"V of a pixel ({images.images:,} images)", images.value_entropy, 8))
        rows.append(("grey level of a pixel", images.grey_entropy, 8))
    for row, (name, entropy, maximum) in enumerate(rows):
        table.add_row(name, f"{entropy.mean:.3f}", f"{entropy.std:.3f}", str(maximum), end_section=row in (2, 4))
    if images is not None:
        for name, entropy in (("one polarity", statistics.polarity_entropy), ("all events", statistics.pixel_entropy)):
            relative = entropy.mean / images.value_entropy.mean if images.value_entropy.mean else float("nan")
            table.add_row(f"{name} relative to V", f"{relative:.1%}", "", "")
    return table


def _size_table(sizes: dict[str, float]) -> Table:
    source = sizes.get("source images")
    table = new_table("size of an image", "bytes", *(("times the source",) if source else ()))
    for name, size in sizes.items():
        table.add_row(name, f"{size:,.0f}", *((f"{size / source:,.2f}",) if source else ()))
    return table
