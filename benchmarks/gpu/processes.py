"""Sections of ``make gpu`` that run in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from benchmarks.gpu.run import OutOfTimeError, Run, SkippedError

_ROOT = Path(__file__).parents[2]
_PROCESSES = 4
_TOOLS = ("memcheck", "racecheck", "synccheck")


def gpu_tests(run: Run) -> str:
    """Run the tests that are marked ``gpu``, in several processes if pytest-xdist is installed."""
    workers = ["-n", str(_PROCESSES)] if util.find_spec("xdist") and not run.dry else []
    return run_tests(run, [], *workers, *(["tests/kernels"] if run.dry else []))


def run_tests(run: Run, tool: list[str], *arguments: str, **environment: str) -> str:
    """Run tests that are marked ``gpu`` (a dry run only collects them), and return the last line of pytest's output."""
    require("hypothesis", "numpy", "PIL", "skimage")
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", *arguments, *(["--collect-only"] if run.dry else [])]
    output = run_command(run, [*tool, sys.executable, "-m", "pytest", *options], **environment)
    return output.strip().splitlines()[-1].strip("= ")


def host_time(run: Run) -> str:
    """Measure the time of calls on the host with a stub of the driver library."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise SkippedError("needs a C compiler")
    output = run_command(run, [sys.executable, "-m", "benchmarks.host_time", "--json"])
    medians = json.loads(output.strip().splitlines()[-1])
    for case, microseconds in medians.items():
        run.add("host", {"call": case}, {"images": 1, "median_s": microseconds / 1e6, "rounds": 1})
    return ", ".join(f"{case} {microseconds:.1f} µs" for case, microseconds in medians.items())


def sanitizer(run: Run) -> str:
    """Run compute-sanitizer on tests with small images, because it makes kernels many times slower."""
    tool = shutil.which("compute-sanitizer")
    if not tool and not run.dry:
        raise SkippedError("needs compute-sanitizer, which is part of the CUDA toolkit")
    files = [f"tests/kernels/test_{name}.py" for name in ("convert", "augmented", "unpack")]
    for name in _TOOLS[:1] if run.dry else _TOOLS:
        command = [tool, "--tool", name, "--error-exitcode=3"] if tool and not run.dry else []
        # PyTorch's caching allocator would hide accesses beyond the end of a tensor.
        text = run_tests(run, command, "-k", "every", *files, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    return f"{', '.join(_TOOLS)}: {text}"


def require(*modules: str) -> None:
    """Check that modules are installed.

    Raises:
        SkippedError: if one is missing.
    """
    if missing := [module for module in modules if util.find_spec(module) is None]:
        raise SkippedError(f"needs {', '.join(missing)}")


def run_command(run: Run, command: Sequence[str], **environment: str) -> str:
    """Run a command in the root of the repository until the budget ends, and return its output.

    Raises:
        OutOfTimeError: if the budget ends first.
        RuntimeError: if the command fails; the message has the last lines of its output.
    """
    try:
        result = subprocess.run(
            command,
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=run.remaining(),
        )
    except subprocess.TimeoutExpired as error:
        raise OutOfTimeError from error
    if result.returncode:
        lines = "\n".join(result.stdout.splitlines()[-40:])
        raise RuntimeError(f"exit status {result.returncode} of {' '.join(command)}\n{lines}")
    return result.stdout
