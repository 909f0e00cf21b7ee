"""What ``i2e dataset`` shows and logs while it works, and says at the end."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import rich.box
import rich.progress
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from i2e_triton.cli.printable import printable
from i2e_triton.pipeline.manifest import Manifest, ShardRecord

_SKIPPED_SHOWN = 10


class Progress:
    """A progress bar with rate and time left on a terminal, and a log of JSON lines where one is asked for."""

    def __init__(self, console: Console, log: Path | None) -> None:
        self._console = console
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[rate]}"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("converting", total=None, rate="")
        self._log: TextIO | None = None if log is None else log.open("a", encoding="utf-8", buffering=1)
        self._start = time.perf_counter()
        self._rows = 0
        self._missing: int | None = None  # shards, once they are known

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        said = None if error is None else str(error) or type(error).__name__
        self._write(
            "ended", rows=self._rows, seconds=self._seconds(), complete=error is None and not self._missing, error=said
        )
        if self._log is not None:
            self._log.close()

    def started(self, rows: int, finished_rows: int, finished: int, shards: int) -> None:
        """Show where the work begins."""
        if finished:
            self._console.print(f"going on: {finished} of {shards} shards are finished", highlight=False)
        self._bar.update(self._task, total=rows, completed=finished_rows)
        self._start = time.perf_counter()
        self._missing = shards - finished
        self._write("begun", rows=rows, finished_rows=finished_rows, finished=finished, shards=shards)

    def rows_done(self, rows: int) -> None:
        """Advance."""
        self._rows += rows
        self._bar.update(self._task, advance=rows, rate=f"{self._rows / max(self._seconds(), 1e-3):,.0f} images/s")

    def shard_done(self, record: ShardRecord) -> None:
        """Log a shard and the rows that it skipped."""
        self._missing = (self._missing or 0) - 1
        for skipped in record.skipped:
            self._write("skipped", split=record.split, row=skipped.row, key=skipped.key, reason=skipped.reason)
        self._write("shard", shard=record.name, rows=record.rows, bytes=record.bytes, seconds=self._seconds())

    def _write(self, event: str, **fields: Any) -> None:
        if self._log is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            self._log.write(json.dumps({"time": now, "event": event, **fields}) + "\n")

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._start, 3)


def print_summary(console: Console, manifest: Manifest, out: Path) -> None:
    """Print sizes, event rates and skipped rows."""
    _print_splits(console, manifest)
    _print_rates(console, manifest)
    skipped = [(record.split, row) for record in manifest.shards for row in record.skipped]
    for split, row in skipped[:_SKIPPED_SHOWN]:
        _print_line(console, f"skipped: {split} {row.row} ({row.key}): {row.reason}")
    if len(skipped) > _SKIPPED_SHOWN:
        _print_line(console, f"… and {len(skipped) - _SKIPPED_SHOWN} more, listed in manifest.json")
    _print_line(console, f"in {out}")


def _print_splits(console: Console, manifest: Manifest) -> None:
    table = _table("split", "images", "shards", "size", "bytes an image", "event rate")
    for split in manifest.rows:
        records = [record for record in manifest.shards if record.split == split]
        rows, size = sum(record.rows for record in records), sum(record.bytes for record in records)
        events = sum(on + off for record in records for on, off in record.events)
        places = 2 * manifest.settings["timesteps"] * sum(record.pixels for record in records)
        table.add_row(
            split,
            f"{rows:,}",
            str(len(records)),
            decimal(size),
            f"{size / max(rows, 1):,.0f}",
            f"{events / max(places, 1):.2%}",
        )
    console.print(table)
    size, source = sum(record.bytes for record in manifest.shards), manifest.source["bytes"]
    if size and source:
        _print_line(console, f"{decimal(size)}, {size / source:.2f} times the source's {decimal(source)}")


def _print_rates(console: Console, manifest: Manifest) -> None:
    table = _table("timestep", "ON", "OFF")
    for t, (on, off) in enumerate(manifest.event_rate()):
        table.add_row(f"{t}", f"{on:.2%}", f"{off:.2%}")
    console.print(table)


def _print_line(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    """Start a table: names left, numbers right."""
    table = Table(box=rich.box.SIMPLE, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table
