"""Tests of a run on a GPU: time budget, sections, resuming, and a dry run of all sections on the CPU."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.processes import require, run_command
from benchmarks.gpu.run import SUITE, OutOfTimeError, Run, SkippedError
from benchmarks.gpu.sections import SECTIONS, Section
from benchmarks.harness.rows import read_rows
from benchmarks.report.__main__ import report

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("cpu", tmp_path, 60)


def options(*names: str, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"sections": list(names), "again": False, "failed": False, "results": None, **changes})


def use_sections(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    monkeypatch.setattr(program, "SECTIONS", {name: Section(name, call) for name, call in functions.items()})


def states(run: Run) -> dict[str, tuple[str, str]]:
    return {row["case"]["section"]: (row["status"], row["text"]) for row in run.written().select(SUITE)}


def test_measurement_adds_a_row(run: Run) -> None:
    run.measure("throughput", {"batch": 4}, lambda: None, device="cpu", images=4, per_call=2, bytes_moved=100)
    (row,) = run.written().select("throughput", batch=4)
    assert (row["images"], row["bytes_moved"], row["kind"]) == (4, 100, "cpu")
    assert 0 < row["median_s"] < 1


def test_measurement_after_the_budget_is_refused(tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(OutOfTimeError):
        Run("cpu", tmp_path, 0).measure("throughput", {}, lambda: calls.append(1), device="cpu", images=1)
    assert not calls


def test_section_that_runs_out_of_time_keeps_its_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(run: Run) -> str:
        run.measure("throughput", {"batch": 1}, lambda: None, device="cpu", images=1)
        run._deadline = 0
        run.measure("throughput", {"batch": 2}, lambda: None, device="cpu", images=2)
        raise AssertionError("not reached")

    use_sections(monkeypatch, slow=slow)
    assert not program.run_sections(run, options("slow"))
    assert states(run)["slow"][0] == "out of time"
    assert [row["case"] for row in run.written().select("throughput")] == [{"batch": 1}]


def test_done_sections_are_not_repeated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def done(run: Run) -> str:
        calls.append("done")
        return "fine"

    def skipped(run: Run) -> str:
        calls.append("skipped")
        raise SkippedError("needs a tool")

    use_sections(monkeypatch, done=done, skipped=skipped)
    program.run_sections(run, options("done", "skipped"))
    program.run_sections(run, options("done", "skipped"))
    assert calls == ["done", "skipped", "skipped"]
    program.run_sections(run, options("done", again=True))
    assert calls[3:] == ["done"]
    assert states(run) == {"done": ("done", "fine"), "skipped": ("skipped", "needs a tool")}


def test_sections_of_another_commit_are_repeated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    use_sections(monkeypatch, section=lambda run: "fine")
    program.run_sections(run, options("section"))
    assert program.is_done(run, "section")
    monkeypatch.setattr(program, "commit", lambda: {"commit": "another", "dirty": False})
    assert not program.is_done(run, "section")


def test_failed_section_does_not_stop_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: Run) -> str:
        raise AssertionError("events differ")

    use_sections(monkeypatch, broken=broken, next=lambda run: "fine")
    assert program.run_sections(run, options("broken", "next"))
    assert states(run) == {"broken": ("failed", "AssertionError: events differ"), "next": ("done", "fine")}
    assert "Traceback" in capsys.readouterr().err


def test_after_a_failure_on_a_gpu_a_new_process_runs_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    program.continue_in_new_process(run, options(again=True, results=Path("rows")), ["tests", "sanitizer"])
    (command,) = commands
    monkeypatch.setattr(sys, "argv", command[2:])
    parsed = program.parse_options()
    assert parsed.sections == ["tests", "sanitizer"]
    assert parsed.failed
    assert parsed.again
    assert parsed.results == Path("rows")
    assert 0 < parsed.seconds < 60


def test_missing_module_is_named() -> None:
    require("json")
    with pytest.raises(SkippedError, match=r"needs no_such_module$"):
        require("json", "no_such_module")


def test_output_of_a_failed_command_is_in_the_message(run: Run) -> None:
    with pytest.raises(RuntimeError, match=r"exit status 3 of .*\nlast words"):
        run_command(run, [sys.executable, "-c", "print('last words'); raise SystemExit(3)"])


def test_command_is_ended_with_the_budget(tmp_path: Path) -> None:
    with pytest.raises(OutOfTimeError):
        run_command(Run("cpu", tmp_path, 0.3), [sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.mark.slow
def test_dry_run_of_all_sections_gives_rows_for_the_report(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--seconds", "300", "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(results)
    ended = {row["case"]["section"]: row["status"] for row in rows if row["suite"] == SUITE}
    assert list(ended) == sorted(SECTIONS)
    assert set(ended.values()) <= {"done", "skipped"}, done.stdout
    assert {row["suite"] for row in rows} >= {"throughput", "limits", "latency", "comparison"}
    text = report(rows, tmp_path / "plots", "")
    assert "| equality" in text
