"""``i2e info``: versions, devices and self-tests for bug reports."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import torch
from rich.console import Console

from i2e_triton import __version__
from i2e_triton.cli.options import kernel_problem, why_no_cuda
from i2e_triton.cli.terminal import print_line
from i2e_triton.ops.operator import HAS_TRITON

_PACKAGES = ("torchvision", "numpy", "pillow")
_TIMEOUT_S = 300
_NAME_WIDTH = 17


def info() -> None:
    """Print versions, devices and the result of a test conversion on each GPU. Paste the output into a bug report."""
    console = Console()
    for name, value in _facts():
        first, *rest = value.expandtabs().splitlines() or [""]
        print_line(console, f"{name:{_NAME_WIDTH}}{first}")
        for line in rest:
            print_line(console, f"{'':{_NAME_WIDTH}}{line}")


def _facts() -> Iterator[tuple[str, str]]:
    yield "i2e-triton", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "platform", platform.platform()
    yield "torch", str(torch.__version__)
    yield "triton", _triton_version()
    for package in _PACKAGES:
        yield package, _version(package)
    yield "CUDA runtime", torch.version.cuda or (f"none (ROCm {torch.version.hip})" if torch.version.hip else "none")
    yield "CUDA driver", _driver_version()
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    for device in devices:
        yield device, _device_properties(device)
    if not devices:
        yield "CUDA devices", "none"
    yield "environment", _environment()
    yield "CPU code path", f"vectorised PyTorch, {torch.get_num_threads()} threads"
    problem = kernel_problem()
    unused = "" if devices else ", not used: PyTorch finds no CUDA device"
    untested = ", never tested on an AMD GPU" if torch.version.hip else ""
    yield "CUDA code path", f"not available: {problem}" if problem else f"fused Triton kernel{unused}{untested}"
    yield "--device auto", "the CPU" if why_no_cuda() else "the GPU"
    for device in devices if problem is None else ():
        yield f"{device} converts", _probe(device)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _triton_version() -> str:
    if not HAS_TRITON:
        return "not installed"
    try:
        import triton  # the package may have another name, such as pytorch-triton
    except ImportError as error:
        return f"cannot be imported: {error}"
    return str(triton.__version__)


def _driver_version() -> str:
    """Return the newest CUDA version that the driver supports."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "none"
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    return f"up to CUDA {version.value // 1000}.{version.value % 1000 // 10}"


def _device_properties(device: str) -> str:
    try:
        properties = torch.cuda.get_device_properties(device)
    except RuntimeError as error:
        return f"cannot be used: {error}"
    capability = f"sm_{properties.major}{properties.minor}"
    return f"{properties.name}, {capability}, {properties.total_memory / 2**30:.1f} GiB"


def _environment() -> str:
    """Return the environment variables of Triton and CUDA, one per line."""
    names = sorted(name for name in os.environ if name.startswith(("TRITON_", "CUDA_", "PTXAS")))
    return "\n".join(f"{name}={os.environ[name]}" for name in names) or "no TRITON_ or CUDA_ variables"


def _probe(device: str) -> str:
    """Run :mod:`i2e_triton.cli.probe` in a subprocess. Return its status line, or how the process failed."""
    command = [sys.executable, "-m", "i2e_triton.cli.probe", device]
    environment = {**os.environ, "TRITON_ALWAYS_COMPILE": "1"}  # check the compiler as well
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"no: no result after {_TIMEOUT_S} s"
    return done.stdout if done.returncode == 0 else f"no: exit status {done.returncode}\n{done.stderr.strip()}"
