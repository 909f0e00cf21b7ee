"""The results of benchmarks: one JSON row for each case, one file of rows for each device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import slug
from i2e_triton.io.atomic import write_whole

RESULTS = Path(__file__).parents[1] / "results"

Row = dict[str, Any]


def make_row(environment: dict[str, Any], suite: str, case: dict[str, Any], measured: dict[str, Any]) -> Row:
    """Put a row together; its key tells the device, the suite and the case, and nothing else."""
    identity = json.dumps([environment["device"], suite, case], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return {"key": key, "suite": suite, "case": case, **measured, **environment}


def write_rows(rows: Iterable[Row], folder: Path = RESULTS) -> list[Path]:
    """Add rows to the files of their devices, each in the place of an earlier one with its key.

    Returns:
        The files that were written.
    """
    by_device: dict[str, list[Row]] = {}
    for row in rows:
        by_device.setdefault(row["device"], []).append(row)
    paths = []
    for device, fresh in by_device.items():
        path = folder / f"{slug(device)}.json"
        merged = {row["key"]: row for row in [*_read(path), *fresh]}
        ordered = sorted(merged.values(), key=lambda row: (row["suite"], json.dumps(row["case"], sort_keys=True)))
        lines = ",\n".join(json.dumps(row) for row in ordered)
        with write_whole(path) as file:
            file.write(f"[\n{lines}\n]\n".encode())
        paths.append(path)
    return paths


def read_rows(folder: Path = RESULTS) -> list[Row]:
    """All rows of all devices."""
    return [row for path in sorted(folder.glob("*.json")) for row in _read(path)]


class Results:
    """Rows, and the questions that a report asks of them."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = list(rows)

    def devices(self, kind: str | None = None) -> list[str]:
        """Names of the devices, of a kind (``"cpu"``, ``"cuda"``) or of all."""
        return sorted({row["device"] for row in self.rows if kind in (None, row["kind"])})

    def select(self, device: str, suite: str, **case: Any) -> list[Row]:
        """Rows of a device and a suite whose cases agree with this one."""
        return [
            row
            for row in self.rows
            if row["device"] == device and row["suite"] == suite and case.items() <= row["case"].items()
        ]

    def find(self, device: str, suite: str, **case: Any) -> Row | None:
        """The one row of a case, None where it has not been measured.

        Raises:
            LookupError: if several rows agree with the case.
        """
        found = self.select(device, suite, **case)
        if len(found) > 1:
            raise LookupError(f"{len(found)} rows of {device} agree with {suite} {case}")
        return found[0] if found else None


def seconds_an_image(row: Row) -> float:
    """Median time of a row for each of its images."""
    return row["median_s"] / row["images"]


def speed_up(slow: Row, fast: Row) -> float:
    """How many times as long an image takes in one row as in another of the same device.

    Raises:
        ValueError: if the rows are of different devices.
    """
    _same_device(slow, fast)
    return seconds_an_image(slow) / seconds_an_image(fast)


def rate_share(row: Row, limit: Row) -> float:
    """Bytes a second of a row as a share of those of a limit on the same device.

    Raises:
        ValueError: if the rows are of different devices.
    """
    _same_device(row, limit)
    return (row["bytes_moved"] / row["median_s"]) / (limit["bytes_moved"] / limit["median_s"])


def _same_device(one: Row, other: Row) -> None:
    if one["device"] != other["device"]:
        raise ValueError(f"rows {one['key']} and {other['key']} are of {one['device']} and of {other['device']}")


def _read(path: Path) -> list[Row]:
    return json.loads(path.read_text()) if path.exists() else []
