"""Compile the kernels that a conversion launches, without a GPU, and read the machine code.

Launch plans need no GPU. Triton's own launcher compiles each launch of a plan for the chosen target.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch
from i2e_triton.kernels.plan import Launch, Layout

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


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
    vectors = None
    if shifts is None:
        vectors = tuple(map(tuple, canonical_shifts(timesteps=timesteps).tolist()))
    else:
        timesteps = shifts.shape[-2]
    batch = images.shape[0]
    event_size = images.shape[-2:] if size is None else size
    shape = (batch, 2, *event_size) if packed else (timesteps, batch, 2, *event_size)
    out = torch.empty(shape, dtype=dtype, device=images.device)
    if out.numel() == 0:
        return []
    tensors = {"out": out, "images": images}
    if shifts is not None:
        tensors["shifts"] = shifts
    if images.dtype == torch.float64:
        tensors["ratios"] = images.new_empty(batch)
    if size is not None:
        tensors["crop"] = torch.ones(batch, 4, dtype=torch.int32)
        tensors["flip"] = torch.ones(batch, dtype=torch.bool)
    layouts = {name: Layout.of(tensor) for name, tensor in tensors.items()}
    return launch.conversion(layouts, vectors, packed, nearest, multiprocessors, warp_size)[0]


def unpack_launches(packed: Tensor, dtype: torch.dtype, *, timesteps: int = 8, warp_size: int = 32) -> list[Launch]:
    """Return the kernel launches that unpack events on a GPU."""
    out = torch.empty(timesteps, *packed.shape, dtype=dtype, device=packed.device)
    if out.numel() == 0:
        return []
    layouts = {"out": Layout.of(out), "packed": Layout.of(packed)}
    return launch.unpacking(layouts, packed.is_contiguous(), 1, warp_size)[0]


def compile_launch(recorded: Launch, target: GPUTarget) -> CompiledKernel:
    """Compile a recorded launch for a target of :data:`TARGETS`."""
    with mock.patch.object(driver, "_active", TargetDriver(target)):
        return recorded.compile()


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


def machine_code(kernel: CompiledKernel) -> list[str]:
    """Return the instructions of a kernel compiled for an NVIDIA GPU."""
    listing = run_nvidia_tool(kernel, "cuobjdump", "-sass")
    return re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", listing, flags=re.MULTILINE)


def resources(kernel: CompiledKernel) -> dict[str, int]:
    """Return the registers (``REG``) and the bytes of ``STACK``, ``SHARED`` and ``LOCAL`` memory of a kernel.

    The kernel must be compiled for an NVIDIA GPU.
    """
    usage = run_nvidia_tool(kernel, "cuobjdump", "-res-usage").split("Function", 1)[1]
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage)}


def run_nvidia_tool(kernel: CompiledKernel, name: str, *flags: str) -> str:
    """Run an NVIDIA tool that Triton ships on a kernel's binary, and return the output."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(kernel.asm["cubin"])
        binary.flush()
        return subprocess.run([tool, *flags, binary.name], check=True, capture_output=True, text=True).stdout
