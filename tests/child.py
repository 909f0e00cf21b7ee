"""Run code in a child process, and measure or limit its memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_START = """
import resource
from pathlib import Path

import torch
import i2e_triton.formats, i2e_triton.datasets, i2e_triton.sources

torch.set_num_threads(1)


def status(name):
    # Not ru_maxrss, which starts with the size of the parent.
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) * 1024


def peak():
    return status("VmHWM")


def resident():
    return status("VmRSS")


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def limit_memory(extra):
    limit = status("VmSize") + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


"""


def output_of(code: str, timeout: float = 60) -> str:
    """Run code in a child process, and return its output. The package is imported before the code runs.

    The code may call

    * ``peak()`` and ``resident()``: the largest and the current memory of the process in bytes,
    * ``reset_peak()``: lets the peak begin again,
    * ``limit_memory(extra)``: limits what the process may allocate from then on, in bytes.

    Raises:
        AssertionError: if the code raises, or the process is killed. The message is the child's traceback.
    """
    program = _START + textwrap.dedent(code)
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout)
    assert child.returncode == 0, f"exit status {child.returncode}: {child.stderr}"
    return child.stdout
