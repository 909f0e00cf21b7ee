"""``i2e dataset`` in a child process, on a small data set, and checks of what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from typer.testing import CliRunner

from i2e_triton.__main__ import main
from i2e_triton.cli.application import app
from tests.torture.inject import Fault, Injector, install_in_workers

FORMATS = ("parquet", "tar", "npz")
ROWS_PER_SHARD = 4
_LONGEST_RUN_S = 120
_PARTIAL_FILES = ".i2e-*.part"


class DataSet:
    """A folder of images and, for each format, the files of a conversion that nothing disturbed."""

    def __init__(self, folder: Path, rows: int = 12, side: int = 24) -> None:
        self.rows = rows
        self.folder = folder
        self.images = folder / "images"
        pixels = np.random.default_rng(0)
        for row in range(rows):
            path = self.images / ("cat", "dog")[row % 2] / f"{row}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            PIL.Image.fromarray(pixels.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        self._expected: dict[tuple[str, ...], dict[str, bytes]] = {}
        # Loads the modules of the command here. Otherwise each fork loads them, which takes a second.
        done = CliRunner().invoke(app, [*_arguments(self, folder / "first"), "--workers", "0"])
        assert done.exit_code == 0, done.output

    def expected(self, *options: str) -> dict[str, bytes]:
        """Return the files of an undisturbed conversion."""
        if options not in self._expected:
            run = Run(self, self.folder / f"whole-{len(self._expected)}", *options)
            assert run.status() == 0, run.output()
            self._expected[options] = files_in(run.out)
        return self._expected[options]


class Run:
    """A running ``i2e dataset``. Forked from this process, because importing PyTorch takes seconds.

    Args:
        data: its images are converted.
        out: output folder.
        options: more options of the command.
        workers: number of worker processes.
        fault: is injected in the process, or in the workers if there are any.
    """

    def __init__(self, data: DataSet, out: Path, *options: str, workers: int = 0, fault: Fault | None = None) -> None:
        self.out = out
        self._log = Path(tempfile.mkstemp(suffix=".log", dir=data.folder)[1])
        arguments = [*_arguments(data, out), "--workers", str(workers), *options]
        self.process: BaseProcess = multiprocessing.get_context("fork").Process(
            target=_run, args=(arguments, self._log, fault, bool(workers))
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def status(self) -> int:
        """Wait for the end. Return the exit status, which is negative after a signal that ended the process."""
        self.process.join(_LONGEST_RUN_S)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"did not end within {_LONGEST_RUN_S} s; printed: {self.output()}")
        return self.process.exitcode

    def output(self) -> str:
        """Return what the command has printed."""
        return self._log.read_text()

    def check_status(self, *allowed: int) -> int:
        """Wait for the end and return the exit status.

        Raises:
            AssertionError: if the status is not allowed, or the output is a traceback or lacks the reason.
        """
        status = self.status()
        output = self.output()
        assert status in allowed, f"exit status {status} instead of {allowed}: {output}"
        assert "Traceback" not in output, output
        assert status != 1 or "stopped: " in output, f"no reason given: {output!r}"
        return status

    def check_no_process_left(self) -> None:
        """Check that the workers end soon after the command.

        Raises:
            AssertionError: if one is still running after 20 seconds.
        """
        end = time.monotonic() + 20
        while group := _running(self.pid):
            assert time.monotonic() < end, f"processes {group} still run after the end of the command"
            time.sleep(0.05)


def _arguments(data: DataSet, out: Path) -> list[str]:
    return ["dataset", str(data.images), "-o", str(out), "--rows-per-shard", str(ROWS_PER_SHARD)]


def _run(arguments: list[str], log: Path, fault: Fault | None, in_workers: bool) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have set it to ignore
    torch.set_num_threads(1)  # a fork hangs if it uses several, as its parent may have done
    sys.argv = ["i2e", *arguments]
    with log.open("w") as sys.stdout, log.open("a") as sys.stderr:
        if fault is not None and in_workers:
            install_in_workers(fault, tempfile.mkdtemp(dir=log.parent))
        elif fault is not None:
            Injector(fault).install()
        main()


def _running(group: int) -> list[int]:
    """Return the processes of a process group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(") ")[2].split()[:3]
        except OSError:
            continue  # it has ended
        if int(its_group) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def check_records(out: Path) -> None:
    """Check that every recorded shard has its files, with the recorded bytes.

    Raises:
        AssertionError: if a recorded file is missing or differs.
    """
    for path in (out / ".i2e").glob("*.json"):
        check_shard(out, json.loads(path.read_bytes()))
    if (out / "manifest.json").exists():
        for record in json.loads((out / "manifest.json").read_bytes())["shards"]:
            check_shard(out, record)


def check_shard(out: Path, record: dict[str, object]) -> None:
    """Check that the files of a shard exist and have the recorded digest."""
    paths = record["paths"]
    assert isinstance(paths, list)
    missing = [path for path in paths if not (out / path).exists()]
    assert not missing, f"{record['name']} is recorded, but {missing} are missing"
    digest = hashlib.sha256(b"".join((out / path).read_bytes() for path in paths)).hexdigest()
    assert digest == record["sha256"], f"{record['name']} is recorded with another digest"


def check_no_partial_files(out: Path, of_earlier_runs: frozenset[str] = frozenset()) -> None:
    """Check that a run that ended by itself has removed its temporary files."""
    partial = partial_files(out) - of_earlier_runs
    assert not partial, f"temporary files left: {sorted(partial)}"


def partial_files(out: Path) -> frozenset[str]:
    """Return the names of the temporary files in a folder."""
    return frozenset(path.name for path in out.rglob(_PARTIAL_FILES))


def check_resume(data: DataSet, out: Path, *options: str, workers: int = 0) -> None:
    """Run the command again, undisturbed, and check that the result equals that of one undisturbed run."""
    run = Run(data, out, *options, workers=workers)
    status = run.status()
    assert status == 0, f"resuming ended with exit status {status}: {run.output()}"
    check_equal(out, data.expected(*options))


def check_equal(out: Path, expected: dict[str, bytes]) -> None:
    """Check that a folder contains exactly the expected files."""
    found = files_in(out)
    differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    assert not differing, f"differ from an undisturbed run: {differing}"


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def operations(data: DataSet, format: str) -> Sequence[str]:
    """Return the file operations of an undisturbed run, in the output folder and in the folder of images."""
    log = Path(tempfile.mkstemp(dir=data.folder)[1])
    out = Path(tempfile.mkdtemp(dir=data.folder)) / "out"
    run = Run(data, out, "--format", format, fault=Fault("EIO", -1, (str(out), str(data.images)), str(log)))
    assert run.status() == 0, run.output()
    check_equal(out, data.expected("--format", format))
    return log.read_text().splitlines()
