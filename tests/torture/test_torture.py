"""Fault injection in a sample of file operations, the injector, and a short run of everything."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.torture.__main__ import main
from tests.torture.commands import FORMATS, DataSet, check_resume, operations
from tests.torture.faults import check_fault
from tests.torture.inject import KINDS, Fault

#: For each fault, the operations where it happens, at a random time.
FAULTS = {
    "SIGKILL": ("write", "fsync", "rename"),
    "ENOSPC": ("write", "fsync", "mkdir"),
    "EIO": ("write", "open to read", "remove"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataSet]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield DataSet(tmp_path_factory.mktemp("data"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize("format", FORMATS)
def test_faults_lose_nothing_and_a_rerun_resumes(
    tmp_path: Path, data: DataSet, format: str, generator: torch.Generator
) -> None:
    choices = random.Random(generator.initial_seed())
    sorts = operations(data, format)
    for number, (kind, sort) in enumerate((kind, sort) for kind, several in FAULTS.items() for sort in several):
        out = tmp_path / f"out-{number}"
        at = choices.choice([at for at, operation in enumerate(sorts) if operation == sort])
        fault = Fault(kind, at, (str(out), str(data.images)))
        print(fault)  # noqa: T201
        check_fault(data, out, format, fault)
        check_resume(data, out, "--format", format)


def write_with_fault(kind: str, at: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Write, sync, rename and list in a process with a fault; the operations are numbered 0 to 5."""
    code = f"""
import os, pathlib
from tests.torture.inject import Fault, Injector
folder = pathlib.Path({str(folder)!r})
Injector(Fault({kind!r}, {at}, (str(folder),))).install()
with (folder / "a.part").open("wb") as file:  # 0
    file.write(b"12345678")  # 1
    file.flush()
    os.fsync(file.fileno())  # 2
os.replace(folder / "a.part", folder / "a")  # 3
os.listdir(folder)  # 4
(folder / "a").unlink()  # 5
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=os.getcwd())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("at", "left"),
    [
        (0, {}),
        (1, {"a.part": b"1234"}),
        (2, {"a.part": b"12345678"}),
        (3, {"a.part": b"12345678"}),
        (5, {"a": b"12345678"}),
    ],
)
def test_injector_stops_at_the_numbered_operation(tmp_path: Path, kind: str, at: int, left: dict[str, bytes]) -> None:
    done = write_with_fault(kind, at, tmp_path)
    if kind == "ENOSPC" and at > 2:  # rename and remove need no space
        assert done.returncode == 0
        return
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left
    assert done.returncode == (-signal.SIGKILL if kind == "SIGKILL" else 1)
    assert kind == "SIGKILL" or {"ENOSPC": "[Errno 28]", "EIO": "[Errno 5]"}[kind] in done.stderr


@pytest.mark.slow
def test_short_torture_passes(one_thread: None) -> None:
    assert main(["--minutes", "0.2"]) == 0
