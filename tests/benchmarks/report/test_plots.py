"""What plots show, beside their being drawn from the rows alone (tests/benchmarks/test_report.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report.plots import nanoseconds_a_pixel, shares, size_sweep, speed_ups, stages
from benchmarks.report.rows import Results
from tests.benchmarks.report.made_up import CPU, race, row


def test_a_size_sweep_compares_batches_of_as_many_pixels() -> None:
    def conversion(batch: int, size: int) -> dict[str, object]:
        case = {"input": "uint8", "format": "bool", "mode": "eager", "batch": batch, "size": size}
        return row("throughput", case, 1e-9 * batch * size * size, images=batch)

    rows = [conversion(b, s) for b, s in ((64, 224), (16, 224), (1, 224), (1024, 32), (1, 2048), (4, 512))]
    sweep = size_sweep(Results(rows), CPU, "eager", "uint8", "bool")
    assert [(r["case"]["size"], r["case"]["batch"]) for r in sweep] == [(32, 1024), (224, 16), (512, 4), (2048, 1)]
    assert [nanoseconds_a_pixel(r) for r in sweep] == pytest.approx([1.0] * 4)
    assert size_sweep(Results(rows[:3]), CPU, "eager", "uint8", "bool") == []


def test_bars_are_labelled_with_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    ours, others = race("ours", "uint8", "bool", 1.0), race("ODG", "uint8", None, 12.5)
    speed_ups({"the other": (others, [ours])}, CPU, path)
    for text in ("the other", "12.5×", "this package, → bool", CPU):
        assert text in path.read_text()
    conversion = row("throughput", {"format": "bool"}, 2.0, bytes_moved=10)
    copy = row("limits", {"format": "bool"}, 1.0, bytes_moved=20)
    shares([("uint8 → bool", conversion, copy)], CPU, "a copy", path)
    for text in ("uint8 → bool", "25 %", "share of the rate of a copy", CPU):
        assert text in path.read_text()
    stages({"PNG": {"decode": row("end to end", {}, 1.0)}, "JPEG": {}}, CPU, path)
    for text in ("PNG", "JPEG", "decode", "ms an image"):
        assert text in path.read_text()
