"""Benchmark results: one JSON row per case, one file of rows per device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import slug
from i2e_triton.io.atomic import write_whole

RESULTS = Path(__file__).parents[1] / "results"
# Old names -> current names, replaced in the text of a result file when it is read. A key with only an opening quote
# also matches the start of longer names.
_RENAMED = {'"published': '"official', '"races"': '"comparison"', '"face"': '"clock"', '"pieces of': '"crops of'}

Row = dict[str, Any]


def make_row(environment: dict[str, Any], suite: str, case: dict[str, Any], measured: dict[str, Any]) -> Row:
    """Return a row. Its key identifies the device, the suite and the case."""
    return {"key": _key(environment["device"], suite, case), "suite": suite, "case": case, **measured, **environment}


def _key(device: str, suite: str, case: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([device, suite, case], sort_keys=True).encode()).hexdigest()[:8]


def write_rows(rows: Iterable[Row], folder: Path = RESULTS) -> None:
    """Add rows to the files of their devices. A new row replaces the one with the same key."""
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_device.setdefault(row["device"], []).append(row)
    for device, new in by_device.items():
        path = folder / f"{slug(device)}.json"
        merged = {row["key"]: row for row in [*_read(path), *new]}
        ordered = sorted(merged.values(), key=lambda row: (row["suite"], json.dumps(row["case"], sort_keys=True)))
        lines = ",\n".join(json.dumps(row) for row in ordered)
        with write_whole(path) as file:
            file.write(f"[\n{lines}\n]\n".encode())


def read_rows(folder: Path = RESULTS) -> list[Row]:
    """Return all rows of all devices."""
    return [row for path in sorted(folder.glob("*.json")) for row in _read(path)]


def _read(path: Path) -> list[Row]:
    text = path.read_text() if path.exists() else "[]"
    for old, new in _RENAMED.items():
        text = text.replace(old, new)
    # Compute the keys again: a key is a hash of the case, which can contain a replaced name.
    return [{**row, "key": _key(row["device"], row["suite"], row["case"])} for row in json.loads(text)]


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


def rows_by_device(rows: Sequence[Row]) -> list[DeviceRows]:
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
