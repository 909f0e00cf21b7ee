"""Run Triton's launcher for NVIDIA GPUs without a GPU, with a driver library that only records launches.

Tensors on the CPU stand in for tensors on the GPU. The library is found through environment variables, so this needs a
process of its own: :func:`run` starts it, and :func:`install` prepares it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaDriver, CudaLauncher, CudaUtils
from triton.runtime.driver import driver

from i2e_triton.kernels import launch
from i2e_triton.ops import draw, operator

_SOURCE = Path(__file__).with_name("stub_libcuda.c")
#: Multiprocessors and threads per warp of an H100.
H100 = (132, 32)
_libraries: list[torch.library.Library] = []  # a library is removed with its object


class NoCompilerError(Exception):
    """There is no C compiler."""


def run(module: str, arguments: Sequence[str] = ()) -> str:
    """Run a Python module in a process that uses the stub library, and return its output.

    Raises:
        NoCompilerError: if there is no C compiler.
        subprocess.CalledProcessError: if a process fails.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompilerError("the stub of the CUDA driver needs a C compiler: install gcc, or set CC")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libcuda.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
        (Path(folder) / "libcuda.so").symlink_to(library.name)
        path = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
        environment = {**os.environ, "LD_LIBRARY_PATH": path, "TRITON_LIBCUDA_PATH": folder, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def install(multiprocessors: int = H100[0]) -> None:
    """Make tensors on the CPU take the code path of tensors on a GPU with that many multiprocessors."""
    # torch.cuda.current_device runs as with a GPU, except for the last call, which returns the device.
    torch.cuda._initialized = True
    set_device(0)
    driver.set_active(_Driver())
    launch._device = lambda device: (multiprocessors, H100[1])  # type: ignore[assignment]
    library = torch.library.Library("i2e_triton", "IMPL")
    for name, implementation in (operator.CUDA_IMPLEMENTATIONS | draw.CUDA_IMPLEMENTATIONS).items():
        library.impl(name, implementation, "CPU", allow_override=True)
    _libraries.append(library)


def set_device(index: int) -> None:
    """Make a device the current one."""
    torch._C._cuda_getDevice = itertools.repeat(index).__next__  # a function in C, as the original


class _Driver(CudaDriver):
    """Triton's driver without the questions that only a GPU can answer."""

    def __init__(self) -> None:
        self.utils = CudaUtils()
        self.launcher_cls = CudaLauncher
        self.get_current_device = torch.cuda.current_device
        self.get_current_stream = {0: 7, 1: 8}.__getitem__
        self.get_device_capability = lambda device: (9, 0)

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, H100[1])


class _Launch(ctypes.Structure):
    """The structure ``Launch`` of the stub library."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_uint64),
        ("launches", ctypes.c_uint64),
        ("parameters", ctypes.c_uint64 * 64),
    )


def record(parameters: int) -> None:
    """Record the next launches, which have this many parameters."""
    ctypes.CDLL("libcuda.so.1").stub_record(parameters)


def last_launch(types: Sequence[str]) -> dict[str, Any]:
    """Return the last recorded launch. ``types`` are the types of its parameters in Triton's notation."""
    function = ctypes.CDLL("libcuda.so.1").stub_last_launch
    function.restype = ctypes.POINTER(_Launch)
    last = function().contents
    return {
        "grid": list(last.grid),
        "block": list(last.block),
        "shared_bytes": last.shared_bytes,
        "stream": last.stream,
        "parameters": [
            (type, value & (2**32 - 1) if type in ("i32", "fp32") else value)
            for type, value in zip(types, last.parameters)
        ],
    }
