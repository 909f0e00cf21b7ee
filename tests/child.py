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


def peak():
    # Not ru_maxrss, which starts with the size of the parent.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def limit_memory(extra):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


before = peak()
"""


def memory_of(code: str, timeout: float = 60) -> int:
    """Run code in a child process, and return by how many bytes the peak of its memory grew.

    The package is imported before. The code may call ``limit_memory(bytes)``, which limits what it may allocate from
    then on.

    Raises:
        AssertionError: if the code raises, or the process is killed. The message is the child's traceback.
    """
    program = _START + textwrap.dedent(code) + "\nprint(peak() - before)\n"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout)
    assert child.returncode == 0, f"exit status {child.returncode}: {child.stderr}"
    return int(child.stdout.split()[-1])
