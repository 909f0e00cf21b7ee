"""Benchmark results: one JSON row per case, one file of rows per device."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import slug
from i2e_triton.io.atomic import write_whole

RESULTS = Path(__file__).parents[1] / "results"

#: One measurement: the suite, the case (values that identify it within the suite), and measured and environment fields.
Row = dict[str, Any]


def write_rows(rows: Iterable[Row], folder: Path = RESULTS) -> None:
    """Add rows to the files of their devices. A new row replaces the one of the same suite and case."""
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_device.setdefault(row["device"], []).append(row)
    for device, new in by_device.items():
        path = folder / f"{slug(device)}.json"
        old = json.loads(path.read_text()) if path.exists() else []
        merged = {(row["suite"], json.dumps(row["case"], sort_keys=True)): row for row in [*old, *new]}
        lines = ",\n".join(json.dumps(merged[key]) for key in sorted(merged))
        with write_whole(path) as file:
            file.write(f"[\n{lines}\n]\n".encode())


def read_rows(folder: Path = RESULTS) -> list[Row]:
    """Return all rows of all devices."""
    return [row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text())]


class DeviceRows:
    """The rows of one device.

    Args:
        device: name of the device.
        rows: rows of any devices.
    """

    def __init__(self, device: str, rows: Iterable[Row]):
        self.device = device
        self.rows = [row for row in rows if row["device"] == device]
        self.cuda = any(row["kind"] == "cuda" for row in self.rows)

    def select(self, suite: str, **case: Any) -> list[Row]:
        """Return the rows of a suite whose cases contain all items of ``case``."""
        return [row for row in self.rows if row["suite"] == suite and case.items() <= row["case"].items()]

    def find(self, suite: str, **case: Any) -> Row | None:
        """Return the only row that :meth:`select` finds, or None if the case was not measured.

        Raises:
            LookupError: if there are several rows.
        """
        found = self.select(suite, **case)
        if len(found) > 1:
            raise LookupError(f"expected one row of {suite} {case}, found {len(found)}; give more values of the case")
        return found[0] if found else None


def rows_by_device(rows: list[Row]) -> list[DeviceRows]:
    """Return the rows of each device, sorted by name."""
    return [DeviceRows(device, rows) for device in sorted({row["device"] for row in rows})]


def seconds_per_image(row: Row) -> float:
    """Return the median time per image of a row."""
    return row["median_s"] / row["images"]


def speed_up(slow: Row, fast: Row) -> float:
    """Return the time per image of ``slow`` divided by the time per image of ``fast``, two rows of one device."""
    return seconds_per_image(slow) / seconds_per_image(fast)


def bandwidth_ratio(row: Row, limit: Row) -> float:
    """Return the bytes per second of ``row`` divided by the bytes per second of ``limit``, two rows of one device."""
    return (row["bytes_moved"] / row["median_s"]) / (limit["bytes_moved"] / limit["median_s"])
