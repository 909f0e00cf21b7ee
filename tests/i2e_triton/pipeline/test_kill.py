"""Conversions that are interrupted, lose a worker or their main process, or run out of disk space.

``tests/torture`` kills them at random times.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.__main__ import main
from i2e_triton.formats import decode_record
from i2e_triton.pipeline.dataset import convert_dataset
from i2e_triton.pipeline.local_engine import convert_shards
from i2e_triton.pipeline.manifest import MANIFEST_NAME, read_manifest
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.sources import ImageRow, open_source
from tests.i2e_triton.pipeline.builders import (
    IN_PROCESS,
    MemorySource,
    RecordingObserver,
    files_in,
    png,
    run,
    some_images,
)

ROWS = 64


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for row, image in enumerate(some_images(ROWS, torch.Generator(), (40, 40))):
        path = folder / ("cat", "dog")[row % 2] / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(image))
    return folder


def convert(images: Path, out: Path) -> None:
    sources = {"train": open_source(str(images), kind="folder", split="train")}
    convert_dataset(sources, "folder", out, ConversionConfig(0.12, rows_per_shard=4), IN_PROCESS, RecordingObserver())


def start_command(images: Path, out: Path, *options: str, log: Path, limit: int | None = None) -> BaseProcess:
    """Start ``i2e dataset`` in a fork, which need not import PyTorch again.

    Args:
        log: receives what the command prints.
        limit: size in bytes above which a file cannot grow, as on a full disk.
    """
    arguments = ["dataset", str(images), "-o", str(out), "--rows-per-shard", "4", *options]
    process = multiprocessing.get_context("fork").Process(target=run_command, args=(arguments, log, limit))
    process.start()
    return process


def run_command(arguments: list[str], log: Path, limit: int | None) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have set it to ignore
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["i2e", *arguments]
    with log.open("w") as sys.stdout, log.open("a") as sys.stderr:
        main()


def check_files(out: Path) -> None:
    """Check that every Parquet file is complete."""
    for path in out.rglob("*.parquet"):
        for data in pq.read_table(path)["data"].to_pylist():
            assert decode_record(data).shape == (8, 2, 40, 40)


def test_full_disk_gives_message_and_keeps_finished_shards(tmp_path: Path, images: Path, one_thread: None) -> None:
    convert(images, tmp_path / "whole")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").glob("*.parquet"))
    limit = sizes[-1] - 1  # the largest shard does not fit
    assert sizes[0] < limit
    out = tmp_path / "out"
    log = tmp_path / "log"
    process = start_command(images, out, "--workers", "0", log=log, limit=limit)
    process.join()
    assert process.exitcode == 1
    assert re.search(r"stopped: \[Errno 27\] File too large: '.*/train-000\d\d-of-00016\.parquet'", log.read_text())
    assert "Traceback" not in log.read_text()
    assert not list(out.rglob("*.part"))
    check_files(out)
    convert(images, out)
    assert files_in(out) == files_in(tmp_path / "whole")


def test_ctrl_c_at_a_terminal_finishes_the_open_shard(tmp_path: Path, images: Path, one_thread: None) -> None:
    out = tmp_path / "out"
    log = tmp_path / "log"
    # Large, so that it is still running when it is interrupted.
    process = start_command(images, out, "--workers", "1", "--size", "600", "600", log=log)
    while not list(out.glob("*.parquet")) and process.is_alive():
        time.sleep(0.001)
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    process.join(60)
    assert process.exitcode == 130, log.read_text()
    assert "interrupted; rerun the same command to resume" in log.read_text()
    assert "Traceback" not in log.read_text()
    manifest = read_manifest(out)
    assert manifest is not None
    assert not manifest.complete
    assert 1 <= len(list(out.glob("*.parquet"))) < ROWS // 4
    assert not list(out.rglob("*.part"))
    for path in out.glob("*.parquet"):
        assert pq.ParquetFile(path).metadata.num_rows == 4


class Fatal(MemorySource):
    """A source that kills the process that reads its last rows."""

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        if start >= 8:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(start, stop)


def test_killed_worker_gives_message(tmp_path: Path) -> None:
    source = Fatal([png(image) for image in some_images(12, torch.Generator())])
    with pytest.raises(OSError, match=r"^a worker process was killed, .* Rerun the same command to resume, with fewer"):
        run(source, tmp_path, engine=partial(convert_shards, workers=1))
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert not list(tmp_path.rglob("*.part"))


class Slow(MemorySource):
    """A source that takes a second per row, and creates a file named by the ID of the process that reads it."""

    def __init__(self, images: list[bytes], folder: Path) -> None:
        super().__init__(images)
        self.folder = folder

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        for row in super().read(start, stop):
            (self.folder / str(os.getpid())).touch()
            time.sleep(1)
            yield row


@pytest.mark.parametrize(("thread", "start_method"), [(False, "fork"), (True, "spawn")])
def test_workers_exit_if_the_main_process_is_killed(tmp_path: Path, thread: bool, start_method: str) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    source = Slow([png(image) for image in some_images(40, torch.Generator())], pids)
    context: Any = multiprocessing.get_context(
        start_method
    )  # a forked main process would inherit the fork server of pytest, which it cannot use
    main_process = context.Process(target=convert_slowly, args=(source, tmp_path / "out", thread))
    main_process.start()
    while len(list(pids.iterdir())) < 2:
        assert main_process.is_alive()
        time.sleep(0.01)
    main_process.kill()
    main_process.join()
    end = time.monotonic() + 20
    while any(map(is_running, pids.iterdir())):
        assert time.monotonic() < end
        time.sleep(0.01)


def convert_slowly(source: MemorySource, out: Path, thread: bool) -> None:
    if thread:  # with a second thread, workers are started by a fork server
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    run(source, out, engine=partial(convert_shards, workers=2))


def is_running(pid: Path) -> bool:
    try:
        return "Z" not in Path("/proc", pid.name, "stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_second_ctrl_c_or_sigterm_removes_incomplete_files(
    tmp_path: Path, images: Path, one_thread: None, number: int, status: int
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start_command(images, out, "--workers", "2", "--size", "1500", "1500", "--rows-per-shard", "32", log=log)
    # The manifest is written first, also through a .part file: wait for the .part file of a shard.
    while not ((out / MANIFEST_NAME).exists() and list(out.glob("*.part"))) and process.is_alive():
        time.sleep(0.001)
    assert process.pid is not None
    for _ in range(2 if number == signal.SIGINT else 1):
        os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
        time.sleep(0.3)
    process.join(60)
    assert process.exitcode == status, log.read_text()
    assert "finished shards are kept" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert not list(out.rglob("*.part"))
