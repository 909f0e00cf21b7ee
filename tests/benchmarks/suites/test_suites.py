"""The benchmark suites write one row per measured case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.harness.rows import read_rows
from benchmarks.harness.workload import event_bytes, image_bytes

ROOT = Path(__file__).parents[3]


def run(results: Path, *arguments: str) -> str:
    """Run benchmarks as a user does, with the results in a separate folder, and return the output."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--results", str(results), *arguments]
    # pytest-benchmark does not run in a worker of pytest-xdist, which it recognises by these environment variables.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_measured_case_writes_a_row(tmp_path: Path) -> None:
    name = "test_throughput[cpu-eager-uint8-packed-1-224]"
    output = run(tmp_path, "--benchmark-only", f"benchmarks/suites/test_throughput.py::{name}")
    assert f"benchmark rows written to {tmp_path}: 1" in output
    (row,) = read_rows(tmp_path)
    assert row["suite"] == "throughput"
    assert row["case"] == {"input": "uint8", "format": "packed", "batch": 1, "size": 224, "mode": "eager"}
    assert row["bytes_moved"] == image_bytes(1, 224, "uint8") + event_bytes(1, 224, "packed")
    assert 0 < row["min_s"] <= row["median_s"] < 1
    assert row["iqr_s"] >= 0
    assert 0 < row["cpu_s"] < 1
    assert row["images"] == row["threads"] == 1
    assert 5 <= row["rounds"] <= 50
    assert 0 < row["peak_memory"] < 10**6
    assert row["torch"] == torch.__version__
    assert row["kind"] == "cpu"


@pytest.mark.slow
def test_both_training_loops_are_compared_and_measured(tmp_path: Path) -> None:
    run(tmp_path, "--benchmark-only", "benchmarks/suites/test_training.py", "-k", "cpu and conversion")
    case = {"model": "resnet18", "precision": "float32", "batch": 4, "size": 128, "stage": "conversion"}
    rows = read_rows(tmp_path)
    assert [row["case"] for row in rows] == [{"loop": loop, **case} for loop in ("official", "ours")]
    assert all(row["suite"] == "training stages" and row["images"] == 4 for row in rows)


def test_disabled_benchmarks_write_no_rows(tmp_path: Path) -> None:
    run(tmp_path / "results", "--benchmark-disable", "benchmarks/suites/test_latency.py", "-k", "cpu and packed")
    assert not (tmp_path / "results").exists()
