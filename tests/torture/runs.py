"""Interrupted and concurrent runs of ``i2e dataset``, at random times, resumed with another number of workers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from i2e_triton.pipeline.manifest import read_manifest
from tests.torture.commands import FORMATS, DataSet, Run, check_no_partial_files, check_records, check_resume
from tests.torture.repeat import try_cases

_LONGEST_WAIT_S = 60


def try_runs(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Interrupt runs in each way of :data:`SCENARIOS`, one after the other, and resume them."""
    data = DataSet(folder, rows=40)

    def check(seed: int) -> None:
        choices = random.Random(seed)
        out = folder / f"out-{seed}"
        options = ("--format", choices.choice(FORMATS), "--size", "400", "400")  # large, so that a run takes a while
        SCENARIOS[seed % len(SCENARIOS)](data, out, options, choices.choice((0, 1, 2)), choices)
        check_records(out)
        check_resume(data, out, *options, workers=choices.choice((0, 1, 2)))
        shutil.rmtree(out)

    return try_cases(seed, seconds, check)


def ctrl_c(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> None:
    """Ctrl-C: the open shards are finished."""
    run = _start(data, out, options, workers, choices)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    run.check_status(0, 130)
    run.check_no_process_left()
    check_no_partial_files(out)


def ctrl_c_twice(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> None:
    """Ctrl-C twice: the open shards are abandoned."""
    run = _start(data, out, options, workers, choices)
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(choices.uniform(0, 0.2))
    if run.process.is_alive():
        os.killpg(run.pid, signal.SIGINT)
    run.check_status(0, 130)
    run.check_no_process_left()


def terminate(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> None:
    """SIGTERM to the command: the open shards are abandoned."""
    run = _start(data, out, options, workers, choices)
    run.process.terminate()
    run.check_status(0, 143)
    run.check_no_process_left()
    check_no_partial_files(out)


def kill(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> None:
    """SIGKILL to the command: its workers end by themselves."""
    run = _start(data, out, options, workers, choices)
    run.process.kill()
    run.check_status(0, -signal.SIGKILL)
    run.check_no_process_left()


def two_at_once(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> None:
    """A second run into the same folder is refused, and the first one is not disturbed."""
    first = _start(data, out, options, workers, choices)
    os.killpg(first.pid, signal.SIGSTOP)  # pause it, so that it has not finished when the second one starts
    time.sleep(0.05)
    manifest = read_manifest(out)
    finished = not first.process.is_alive() or (manifest is not None and manifest.complete)
    second = Run(data, out, *options)
    second.status()
    if first.process.is_alive():
        os.killpg(first.pid, signal.SIGCONT)
    assert second.check_status(0, 1) == 1 or finished, f"the second run was not refused: {second.output()}"
    assert finished or "another process is writing to" in second.output(), second.output()
    first.check_status(0)
    first.check_no_process_left()


SCENARIOS = (ctrl_c, ctrl_c_twice, terminate, kill, two_at_once)


def _start(data: DataSet, out: Path, options: tuple[str, ...], workers: int, choices: random.Random) -> Run:
    """Start a run, and return at a random time after it began to write."""
    data.expected(*options)
    run = Run(data, out, *options, workers=workers)
    end = time.monotonic() + _LONGEST_WAIT_S
    while not (out / "manifest.json").exists() and run.process.is_alive():
        assert time.monotonic() < end, f"has not begun to write: {run.output()}"
        time.sleep(0.002)
    time.sleep(choices.uniform(0, 1.5))
    return run
