"""Compile the kernels that a conversion launches, without a GPU, and read the machine code.

The launch functions run on the CPU, with the kernels replaced by recorders. Triton's own launcher then compiles each
recorded launch for the chosen target.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_KERNELS = ("convert_kernel", "emit_kernel", "measure_kernel", "unpack_kernel")


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, the grid, and its arguments and compiler options by name."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]


def launches(
    images: Tensor,
    dtype: torch.dtype,
    *,
    packed: bool = False,
    timesteps: int = 8,
    shifts: Tensor | None = None,
    size: tuple[int, int] | None = None,
    nearest: bool = False,
    multiprocessors: int = 132,
    warp_size: int = 32,
) -> list[Launch]:
    """Return the kernel launches that convert images on a GPU, by default on an H100.

    The motion vectors are the canonical ones, or ``shifts``. With ``size``, images are cropped, resized and flipped.
    """
    if shifts is None:
        shifts = canonical_shifts(timesteps=timesteps)
    timesteps = shifts.shape[-2]
    batch = images.shape[0]
    event_size = images.shape[-2:] if size is None else size
    shape = (batch, 2, *event_size) if packed else (timesteps, batch, 2, *event_size)
    out = torch.empty(shape, dtype=dtype, device=images.device)
    augmentation: dict[str, Any] = {}
    if size is not None:
        crop, flip = torch.ones(batch, 4, dtype=torch.int32), torch.ones(batch, dtype=torch.bool)
        augmentation = {"crop": crop, "flip": flip, "nearest": nearest}
    with _recording(multiprocessors, warp_size) as recorded:
        launch.convert_into(out, images, shifts, None, 0.12, packed=packed, **augmentation)
    return recorded


def unpack_launches(packed: Tensor, dtype: torch.dtype, *, timesteps: int = 8, warp_size: int = 32) -> list[Launch]:
    """Return the kernel launches that unpack events on a GPU."""
    out = torch.empty(timesteps, *packed.shape, dtype=dtype, device=packed.device)
    with _recording(1, warp_size) as recorded:
        launch.unpack_into(out, packed)
    return recorded


@contextlib.contextmanager
def _recording(multiprocessors: int, warp_size: int) -> Iterator[list[Launch]]:
    """Record kernel launches for a device with these properties instead of running them."""
    recorded: list[Launch] = []

    class Recorder:
        def __init__(self, kernel: Any):
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda **arguments: recorded.append(Launch(self.kernel, grid, arguments))

    with contextlib.ExitStack() as patches:
        for name in _KERNELS:
            patches.enter_context(mock.patch.object(launch, name, Recorder(getattr(launch, name))))
        patches.enter_context(mock.patch.object(launch, "_device", return_value=(multiprocessors, warp_size)))
        yield recorded


def compile_launch(recorded: Launch, target: GPUTarget) -> CompiledKernel:
    """Compile a recorded launch for a target of :data:`TARGETS`."""
    with mock.patch.object(driver, "_active", TargetDriver(target)):
        return recorded.kernel.warmup(grid=recorded.grid, **recorded.arguments)


class TargetDriver:
    """A replacement of Triton's driver that reports a target GPU, so that kernels compile without that GPU."""

    def __init__(self, target: GPUTarget):
        self.target = target

    def get_current_device(self) -> GPUTarget:  # noqa: D102
        return self.target  # a device per target, because Triton caches kernels by device

    def get_current_stream(self, device: GPUTarget) -> int:  # noqa: D102
        return 0

    def get_current_target(self) -> GPUTarget:  # noqa: D102
        return self.target


def machine_code(kernel: CompiledKernel, folder: Path) -> list[str]:
    """Return the instructions of a kernel compiled for an NVIDIA GPU; temporary files go to ``folder``."""
    listing = run_nvidia_tool("cuobjdump", ["-sass"], kernel, folder)
    return re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", listing, flags=re.MULTILINE)


def resources(kernel: CompiledKernel, folder: Path) -> dict[str, int]:
    """Return the registers (``REG``) and the bytes of ``STACK``, ``SHARED`` and ``LOCAL`` memory of a kernel.

    The kernel must be compiled for an NVIDIA GPU. Temporary files go to ``folder``.
    """
    usage = run_nvidia_tool("cuobjdump", ["-res-usage"], kernel, folder).split("Function", 1)[1]
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage)}


def run_nvidia_tool(name: str, flags: list[str], kernel: CompiledKernel, folder: Path) -> str:
    """Write a kernel's binary to ``folder``, run an NVIDIA tool that Triton ships on it, and return the output."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    binary = folder / f"{kernel.hash}.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    return subprocess.run([tool, *flags, binary], check=True, capture_output=True, text=True).stdout
