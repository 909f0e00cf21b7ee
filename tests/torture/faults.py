"""Fault injection: ``i2e dataset`` with a fault in one of its file operations, then again without.

After each fault, the exit status and the message are checked, every recorded shard has its files, and a rerun gives
the bytes of an undisturbed run.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.torture.commands import (
    FORMATS,
    DataSet,
    Run,
    check_equal,
    check_no_partial_files,
    check_records,
    check_resume,
    operations,
    partial_files,
)
from tests.torture.inject import KINDS, Fault
from tests.torture.repeat import try_cases


def try_faults(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Inject random faults: one or two runs of a data set with a fault each, then a run without."""
    data = DataSet(folder)
    counts = {format: len(operations(data, format)) for format in FORMATS}

    def check(seed: int) -> None:
        choices = random.Random(seed)
        out = folder / f"out-{seed}"
        format = choices.choice(FORMATS)
        workers = choices.choice((0, 0, 0, 1))
        for _ in range(choices.choice((1, 1, 2))):
            fault = random_fault(choices, counts[format] // (1 + workers), data, out)
            check_fault(data, out, format, fault, workers)
        check_resume(data, out, "--format", format, workers=choices.choice((0, 0, 0, 2)))
        shutil.rmtree(out)

    return try_cases(seed, seconds, check)


def random_fault(choices: random.Random, operations: int, data: DataSet, out: Path) -> Fault:
    """Return a random fault at one of the operations of an undisturbed run."""
    return Fault(choices.choice(KINDS), choices.randrange(operations), (str(out), str(data.images)))


def check_fault(data: DataSet, out: Path, format: str, fault: Fault, workers: int = 0) -> None:
    """Run the command with a fault and check how it ends and what it leaves.

    Raises:
        AssertionError: if a check fails.
    """
    # A run that fails before it begins to write leaves the temporary files of an earlier, killed run.
    before = partial_files(out)
    run = Run(data, out, "--format", format, workers=workers, fault=fault)
    # A killed worker makes the command stop with a message.
    status = run.check_status(*((0, -9) if fault.kind == "SIGKILL" and not workers else (0, 1)))
    run.check_no_process_left()
    check_records(out)
    if status == 0:
        check_equal(out, data.expected("--format", format))
    elif fault.kind == "ENOSPC":
        check_no_partial_files(out, before)
