"""``i2e stats``: what a data set of events holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import Progress

from i2e_triton.analysis import EventStatistics, measure_events, measure_images, plots
from i2e_triton.analysis.events import as_json, spread_as_json
from i2e_triton.cli.lazy import STYLE
from i2e_triton.cli.options import wrong
from i2e_triton.cli.running import progress_bars, stopped_by_errors
from i2e_triton.cli.source_options import Kind, checked_kind, checked_sample
from i2e_triton.cli.stats_report import Origin, bytes_per_image, print_statistics, shown_name
from i2e_triton.datasets import EventDataset
from i2e_triton.datasets.manifest import read_class_names
from i2e_triton.io.atomic import write_whole
from i2e_triton.pipeline.manifest import Manifest, read_manifest
from i2e_triton.sources import RESIZE_RULES, Source, find_kind, open_source, splits


def stats(
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION",
            help="What i2e dataset wrote, a data set of the Hugging Face hub, published npz folders, Parquet files or "
            "tars.",
        ),
    ],
    split: Annotated[
        Optional[str],  # noqa: UP045  # typer reads this at run time
        typer.Option(metavar="NAME", help="Split to measure; may be left out where there is one only."),
    ] = None,
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="SOURCE", help="The images that the events come from, to compare entropies and bytes with theirs."
        ),
    ] = None,
    kind: Kind = None,
    sample: Annotated[
        int, typer.Option(metavar="N", help="Images of SOURCE to measure the entropy of, evenly spaced.")
    ] = 1000,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="OUT", file_okay=False, help="Folder for plots (PNG) and statistics.json."),
    ] = None,
) -> None:
    """Measure a data set of events: rates per timestep, polarity and class, entropies, bytes.

    A rate is the share of positions that hold an event. Means and standard deviations are over images, as the published
    notebook and the paper's section on information have them; entropies are in bits, of the symbols of each image.
    """
    sample, kind = checked_sample(sample), checked_kind(kind)
    errors = Console(stderr=True)
    with stopped_by_errors(errors), progress_bars(errors) as progress:
        dataset = EventDataset(location, split, packed=True)
        manifest = _manifest(Path(location))
        images = None if source is None else _open_images(source, kind, split or _only_split(manifest))
        statistics = _measure(dataset, progress)
        origin = _origin(statistics, manifest, split, images, sample, progress)
    print_statistics(Console(), statistics, origin)
    if out is not None:
        with stopped_by_errors(errors):
            _write(out, {"location": location, "split": split}, statistics, origin)
        typer.echo(f"plots and statistics.json in {out}")


def _measure(dataset: EventDataset, progress: Progress) -> EventStatistics:
    task = progress.add_task("events", total=len(dataset))
    return measure_events(dataset, lambda rows: progress.advance(task, rows))


def _origin(
    statistics: EventStatistics,
    manifest: Manifest | None,
    split: str | None,
    images: Source | None,
    sample: int,
    progress: Progress,
) -> Origin:
    """Gather what is known of the images and of the files."""
    records = [] if manifest is None else [record for record in manifest.shards if split in (None, record.split)]
    stored = sum(record.bytes for record in records) / statistics.images if records else None
    if images is None:
        # A manifest sums the source's bytes over all its splits.
        whole = manifest is not None and _only_split(manifest) is not None
        total = manifest.source["bytes"] if manifest is not None and whole else None
        return Origin(stored, total / statistics.images if total else None, None)
    task = progress.add_task("images", total=min(sample, len(images)))
    size = next(iter(statistics.sizes)) if len(statistics.sizes) == 1 else None
    rule = RESIZE_RULES[0] if manifest is None else manifest.settings["resize"]
    entropies = measure_images(images, sample, size, rule, lambda rows: progress.advance(task, rows))
    return Origin(stored, images.nbytes() / len(images), entropies)


def _manifest(folder: Path) -> Manifest | None:
    """Read what ``i2e dataset`` wrote down; a ``manifest.json`` of something else is none."""
    return read_manifest(folder) if read_class_names(folder) is not None else None


def _only_split(manifest: Manifest | None) -> str | None:
    return next(iter(manifest.rows)) if manifest is not None and len(manifest.rows) == 1 else None


def _open_images(source: str, kind: str | None, split: str | None) -> Source:
    """Open the split of the same name, or the only one."""
    kind = kind or find_kind(source)
    known = splits(source, kind)
    name = known[0] if len(known) == 1 else split
    if name not in known:
        raise wrong(
            "--source",
            f"{source} has no split {split!r} but {', '.join(known)}; give the file or the folder of one split",
        )
    return open_source(source, kind=kind, split=name)


def _write(out: Path, about: dict[str, Any], statistics: EventStatistics, origin: Origin) -> None:
    plots.save(plots.draw_timesteps(statistics.polarity_rates), out / "timesteps.png")
    if len(statistics.classes) > 1:
        named = [(shown_name(label, found), found.event_rate) for label, found in statistics.classes.items()]
        plots.save(plots.draw_classes(named), out / "classes.png")
    if statistics.map is not None:
        plots.save(plots.draw_map(statistics.map), out / "map.png")
    figures = {**about, **as_json(statistics), "bytes_per_image": bytes_per_image(statistics, origin)}
    if origin.images is not None:
        figures["entropy_bits"] |= {
            "value_channel_pixel": spread_as_json(origin.images.value_entropy),
            "grey_pixel": spread_as_json(origin.images.grey_entropy),
            "images_sampled": origin.images.images,
        }
    with write_whole(out / "statistics.json") as file:
        file.write(json.dumps(figures, indent=1, allow_nan=False).encode())


app = typer.Typer(**STYLE)
app.command("stats")(stats)
