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
from i2e_triton.cli.terminal import print_line
from i2e_triton.ops.operator import HAS_TRITON, load_kernels

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
    yield "triton", _triton_version() if HAS_TRITON else "not installed"
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
    problem = _kernel_problem()
    yield "CUDA code path", f"not available: {problem}" if problem else _kernel_status(devices)
    yield "--device auto", "the CPU" if problem or not devices else "the GPU"
    if problem is None:
        yield "Triton compiles", _probe("compile")
        for device in devices:
            yield f"{device} converts", _probe(device)


def _kernel_problem() -> str | None:
    """Return why the kernels cannot be loaded, by the same check as a conversion; None if they can."""
    try:
        load_kernels()
    except ValueError as error:
        return str(error)
    return None


def _kernel_status(devices: list[str]) -> str:
    if not devices:
        return "fused Triton kernel, not used: PyTorch finds no CUDA device"
    return "fused Triton kernel" + (", never tested on an AMD GPU" if torch.version.hip else "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _triton_version() -> str:
    """Return version and name of each installed package that contains Triton. PyTorch has builds with other names."""
    packages = importlib.metadata.packages_distributions().get("triton", [])
    return ", ".join(f"{_version(package)} ({package})" for package in packages) or "unknown version"


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


def _probe(check: str) -> str:
    """Run a check of :mod:`i2e_triton.cli.probe` in a subprocess. Return its status line, or how the process failed."""
    command = [sys.executable, "-m", "i2e_triton.cli.probe", check]
    # Triton's cache and interpreter would bypass the compiler.
    environment = {**os.environ, "TRITON_ALWAYS_COMPILE": "1", "TRITON_INTERPRET": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"no: no result after {_TIMEOUT_S} s"
    if done.returncode == 0:
        return done.stdout
    return f"no: exit status {done.returncode}\n{done.stderr.strip()}"
