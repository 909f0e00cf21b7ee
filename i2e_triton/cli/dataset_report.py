"""Progress bar and final summary of ``i2e dataset`` and ``i2e import``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.filesize import decimal

from i2e_triton.cli.terminal import INTERRUPTED, new_progress, new_table, percent, plain, print_line
from i2e_triton.pipeline.manifest import Manifest, ShardRecord

_MAX_SKIPPED_SHOWN = 10


class DatasetProgress:
    """Shows the progress of a conversion as a bar on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # auto_refresh would start a thread, and forking worker processes is unsafe with threads.
        self._bar = new_progress(console, auto_refresh=False)
        self._task = self._bar.add_task("converting", total=None)

    def __enter__(self) -> DatasetProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def started(self, rows: int, finished_rows: int, finished_shards: int, shards: int) -> None:
        """Set the total of the progress bar, and print what an earlier run has finished."""
        if finished_shards:
            print_line(self._console, f"resuming: {finished_shards} of {shards} shards are finished")
        self._bar.update(self._task, total=rows, completed=finished_rows, refresh=True)

    def rows_done(self, rows: int) -> None:
        """Advance the progress bar."""
        self._bar.update(self._task, advance=rows, refresh=True)

    def shard_done(self, record: ShardRecord) -> None:
        """Show nothing: the bar counts rows."""


@dataclass(frozen=True)
class SplitSummary:
    """Size and event rate of one split of a converted data set."""

    split: str
    images: int
    shards: int
    bytes: int
    event_rate: float


def split_summaries(manifest: Manifest) -> Iterator[SplitSummary]:
    """Yield the summary of each split, from the records of its shards."""
    for split in manifest.rows:
        records = [record for record in manifest.shards if record.split == split]
        events = sum(on + off for record in records for on, off in record.events)
        positions = 2 * manifest.settings["timesteps"] * sum(record.pixels for record in records)
        images, size = sum(record.rows for record in records), sum(record.bytes for record in records)
        yield SplitSummary(split, images, len(records), size, events / max(positions, 1))


def print_summary(manifest: Manifest, out: Path) -> None:
    """Print sizes, event rates and skipped rows. Exit if the data set is not complete."""
    console = Console()
    table = new_table("split", "images", "shards", "size", "bytes per image", "event rate")
    for summary in split_summaries(manifest):
        per_image = f"{summary.bytes / max(summary.images, 1):,.0f}"
        counts = f"{summary.images:,}", str(summary.shards), decimal(summary.bytes)
        table.add_row(plain(summary.split), *counts, per_image, percent(summary.event_rate))
    console.print(table)
    size, source = sum(record.bytes for record in manifest.shards), manifest.source["bytes"]
    if size and source:
        print_line(console, f"{decimal(size)}, {size / source:.2f} times the size of the source ({decimal(source)})")

    table = new_table("timestep", "ON", "OFF")
    for t, (on, off) in enumerate(manifest.event_rate()):
        table.add_row(str(t), percent(on), percent(off))
    console.print(table)

    skipped = [(record.split, row) for record in manifest.shards for row in record.skipped]
    for split, row in skipped[:_MAX_SKIPPED_SHOWN]:
        print_line(console, f"skipped: {split} {row.row} ({row.key}): {row.reason}")
    if len(skipped) > _MAX_SKIPPED_SHOWN:
        print_line(console, f"… and {len(skipped) - _MAX_SKIPPED_SHOWN} more, listed in manifest.json")
    print_line(console, f"written to {out}")
    if not manifest.complete:
        print_line(Console(stderr=True), "interrupted; rerun the same command to resume")
        raise typer.Exit(INTERRUPTED)
