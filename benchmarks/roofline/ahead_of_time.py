"""Compile the kernels that an operator launches, without a GPU, and read the machine code.

The operator runs on the CPU with its kernels replaced by recorders. Each recorded launch is then compiled with the
argument types, constants and alignments that Triton's launcher would pass to the compiler.
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
from triton.compiler import ASTSource, CompiledKernel

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_TYPES = {
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}
_KERNELS = (
    "augment_kernel",
    "convert_augmented_kernel",
    "convert_kernel",
    "emit_kernel",
    "measure_kernel",
    "unpack_kernel",
)
_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


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
    multiprocessors: int = 132,
    warp_size: int = 32,
) -> list[Launch]:
    """Return the launches that convert images on a GPU; by default one with the multiprocessors of an H100."""
    batch, _, height, width = images.shape
    shape = (batch, 2, height, width) if packed else (timesteps, batch, 2, height, width)
    out = torch.empty(shape, dtype=dtype, device=images.device)
    shifts = canonical_shifts(timesteps=timesteps)
    with _recording(multiprocessors, warp_size) as recorded:
        launch.convert_into(out, images, shifts, None, 0.12, packed=packed)
    return recorded


def augmented_launches(
    images: Tensor,
    size: tuple[int, int],
    dtype: torch.dtype,
    *,
    nearest: bool = False,
    packed: bool = False,
    multiprocessors: int = 132,
    warp_size: int = 32,
) -> list[Launch]:
    """Return the launches that crop, resize, flip and convert images on a GPU."""
    batch = images.shape[0]
    out = torch.empty((batch, 2, *size) if packed else (8, batch, 2, *size), dtype=dtype, device=images.device)
    crop, flip = torch.ones(batch, 4, dtype=torch.int32), torch.ones(batch, dtype=torch.bool)
    with _recording(multiprocessors, warp_size) as recorded:
        launch.convert_augmented_into(
            out, images, crop, flip, canonical_shifts(), None, 0.12, nearest=nearest, packed=packed
        )
    return recorded


def unpack_launches(packed: Tensor, dtype: torch.dtype, *, timesteps: int = 8, warp_size: int = 32) -> list[Launch]:
    """Return the launches that unpack events on a GPU."""
    out = torch.empty(timesteps, *packed.shape, dtype=dtype, device=packed.device)
    with _recording(1, warp_size) as recorded:
        launch.unpack_into(out, packed)
    return recorded


@contextlib.contextmanager
def _recording(multiprocessors: int, warp_size: int) -> Iterator[list[Launch]]:
    """Record launches instead of running them, as if for a device with these properties."""
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
    signature, constants, attributes = {}, {}, {}
    for position, name in enumerate(recorded.kernel.arg_names):
        value = recorded.arguments[name]
        signature[name] = _type_of(value, recorded.kernel.params[position].is_constexpr)
        if signature[name] == "constexpr":
            constants[name] = value
        elif _divisible(value):
            attributes[(position,)] = [["tt.divisibility", 16]]
    options = {name: recorded.arguments[name] for name in _OPTIONS if name in recorded.arguments}
    source = ASTSource(recorded.kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=target, options=options)


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
    """Write a kernel's binary to ``folder`` and return what a tool that Triton ships prints about it."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    binary = folder / f"{kernel.hash}.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    return subprocess.run([tool, *flags, binary], check=True, capture_output=True, text=True).stdout


def _type_of(value: Any, constant: bool) -> str:
    if constant or value is None or (isinstance(value, int) and value == 1):
        return "constexpr"
    if isinstance(value, Tensor):
        return "*" + _TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def _divisible(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.data_ptr() % 16 == 0
    return isinstance(value, int) and value % 16 == 0
