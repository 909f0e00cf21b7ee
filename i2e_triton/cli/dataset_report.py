"""Progress bar, JSON log and final summary of ``i2e dataset``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.filesize import decimal

from i2e_triton.cli.terminal import new_progress, new_table, percent, plain, print_line
from i2e_triton.pipeline.manifest import Manifest, ShardRecord

_MAX_SKIPPED_SHOWN = 10


class DatasetProgress:
    """An observer of a conversion: a progress bar on a terminal and, if ``log`` is given, a log of JSON lines."""

    def __init__(self, console: Console, log: Path | None) -> None:
        self._console = console
        self._bar = new_progress(
            console, auto_refresh=False
        )  # auto_refresh starts a thread, and forking worker processes is unsafe with threads
        self._task = self._bar.add_task("converting", total=None)
        self._log: TextIO | None = None if log is None else log.open("a", encoding="utf-8", buffering=1)
        self._start = time.perf_counter()
        self._rows = 0
        self._unfinished_shards: int | None = None  # None before started()

    def __enter__(self) -> DatasetProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        message = None if error is None else str(error) or type(error).__name__
        complete = error is None and not self._unfinished_shards
        self._write("ended", rows=self._rows, seconds=self._seconds(), complete=complete, error=message)
        if self._log is not None:
            self._log.close()

    def started(self, rows: int, finished_rows: int, finished_shards: int, shards: int) -> None:
        """Set the total of the progress bar, and show and log what an earlier run has finished."""
        if finished_shards:
            print_line(self._console, f"resuming: {finished_shards} of {shards} shards are finished")
        self._bar.update(self._task, total=rows, completed=finished_rows, refresh=True)
        self._start = time.perf_counter()
        self._unfinished_shards = shards - finished_shards
        self._write("started", rows=rows, finished_rows=finished_rows, finished_shards=finished_shards, shards=shards)

    def rows_done(self, rows: int) -> None:
        """Advance the progress bar."""
        self._rows += rows
        self._bar.update(self._task, advance=rows, refresh=True)

    def shard_done(self, record: ShardRecord) -> None:
        """Log a shard and its skipped rows."""
        self._unfinished_shards = (self._unfinished_shards or 0) - 1
        for skipped in record.skipped:
            self._write("skipped", split=record.split, row=skipped.row, key=skipped.key, reason=skipped.reason)
        self._write("shard", shard=record.name, rows=record.rows, bytes=record.bytes, seconds=self._seconds())

    def _write(self, event: str, **fields: Any) -> None:
        if self._log is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            self._log.write(json.dumps({"time": now, "event": event, **fields}) + "\n")

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._start, 3)


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


def print_summary(console: Console, manifest: Manifest, out: Path) -> None:
    """Print sizes, event rates and skipped rows."""
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
