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
    require("hypothesis", "numpy", "PIL", "skimage")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    if run.dry:
        command += ["--collect-only", "tests/kernels"]
    elif util.find_spec("xdist"):
        command += ["-n", str(_PROCESSES)]
    output = run_command(run, command)
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
    """Run compute-sanitizer on small conversions of every kind."""
    tool = shutil.which("compute-sanitizer")
    prefixes: list[list[str]] = (
        [[]] if run.dry else [[tool, "--tool", name, "--error-exitcode=3"] for name in _TOOLS if tool]
    )
    if not prefixes:
        raise SkippedError("needs compute-sanitizer, which is part of the CUDA toolkit")
    for prefix in prefixes:
        # PyTorch's caching allocator would hide accesses beyond the end of a tensor.
        command = [*prefix, sys.executable, "-m", "benchmarks.gpu.small_cases", run.device]
        run_command(run, command, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    return "equal" if run.dry else f"no errors: {', '.join(_TOOLS)}"


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
