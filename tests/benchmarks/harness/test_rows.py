"""Benchmark rows: files, look-up and ratios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness.rows import (
    bandwidth_ratio,
    read_rows,
    rows_by_device,
    seconds_per_image,
    speed_up,
    write_rows,
)
from tests.benchmarks.builders import CPU, GPU, comparison, row


def test_new_rows_replace_rows_of_the_same_case(tmp_path: Path) -> None:
    write_rows([row("s", {"n": n, "m": 0}, seconds=1.0) for n in range(3)], tmp_path)
    later = row("s", {"m": 0, "n": 1}, 9.0, date="2030-01-01", commit=None)
    write_rows([later, row("t", {"n": 1, "m": 0}, 5.0), row("s", {"n": 1, "m": 0}, 7.0, device=GPU)], tmp_path)
    found = {(r["device"], r["suite"], r["case"]["n"]): r["median_s"] for r in read_rows(tmp_path)}
    on_cpu = {("s", 0): 1.0, ("s", 1): 9.0, ("s", 2): 1.0, ("t", 1): 5.0}
    assert found == {**{(CPU, *key): seconds for key, seconds in on_cpu.items()}, (GPU, "s", 1): 7.0}


def test_each_device_has_one_file_with_one_line_per_row(tmp_path: Path) -> None:
    write_rows([row("s", {"n": n}, 1.0, device=device) for n in range(3) for device in (CPU, GPU)], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test-cpu-2-cores.json", "test-gpu-9000.json"]
    text = (tmp_path / "test-gpu-9000.json").read_text()
    assert len(json.loads(text)) == 3
    assert len(text.splitlines()) == 5  # two brackets and one line per row, so that diffs are short


def test_file_order_does_not_depend_on_run_order(tmp_path: Path) -> None:
    rows = [row("s", {"n": n}, 1.0) for n in range(5)]
    write_rows(rows, tmp_path / "a")
    write_rows(reversed(rows), tmp_path / "b")
    name = "test-cpu-2-cores.json"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_file_is_written_without_rows(tmp_path: Path) -> None:
    write_rows([], tmp_path / "results")
    assert not (tmp_path / "results").exists()
    assert read_rows(tmp_path / "results") == []


def test_failed_write_keeps_the_old_rows(tmp_path: Path) -> None:
    write_rows([row("s", {"n": 1}, 1.0)], tmp_path)
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_rows([row("s", {"n": 2}, 1.0, bytes_moved=object())], tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before


def test_find_returns_the_one_matching_row() -> None:
    rows = [comparison("ours", "uint8", "bool", 1.0), comparison("ours", "uint8", "packed", 2.0)]
    rows.append(comparison("ours", "uint8", "packed", 3.0, GPU))
    gpu, cpu = rows_by_device(rows)[::-1]
    assert (cpu.device, gpu.device, cpu.cuda, gpu.cuda) == (CPU, GPU, False, True)
    found = cpu.find("comparison", format="packed")
    assert found is not None
    assert found["median_s"] == 2.0
    assert cpu.find("comparison", format="float32") is None
    assert gpu.find("comparison", format="bool") is None
    assert cpu.find("limits", format="packed") is None
    with pytest.raises(LookupError, match="found 2"):
        cpu.find("comparison", method="ours")
    assert cpu.select("comparison", method="ours") == rows[:2], "only rows of this device"


def test_speed_up_is_per_image() -> None:
    slow = row("s", {"n": 1}, 8.0, images=4)
    fast = row("s", {"n": 2}, 1.0, images=10)
    assert seconds_per_image(slow) == 2
    assert speed_up(slow, fast) == pytest.approx(20)


def test_bandwidth_ratio_compares_bytes_per_second() -> None:
    conversion = row("s", {"n": 1}, 4.0, bytes_moved=100)  # 25 bytes per second
    copy = row("s", {"n": 2}, 2.0, bytes_moved=1000)  # 500 bytes per second
    assert bandwidth_ratio(conversion, copy) == pytest.approx(0.05)
