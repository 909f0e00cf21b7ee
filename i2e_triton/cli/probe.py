"""Checks that ``i2e info`` runs. Needs Triton.

``python -m i2e_triton.cli.probe compile`` compiles a kernel; ``python -m i2e_triton.cli.probe cuda:0`` converts images
on that device. Each check runs in its own process, because a broken compiler or driver may crash the process.
"""

from __future__ import annotations

import sys
import time

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from i2e_triton.functional import convert

#: Compute capability to compile for: that of an H100. Compiling does not need the GPU.
ARCHITECTURE = 90


@triton.jit
def double_kernel(values_ptr):
    """Double 128 values in place."""
    index = tl.arange(0, 128)
    tl.store(values_ptr + index, 2 * tl.load(values_ptr + index))


def compile_kernel() -> str:
    """Compile a small kernel with Triton. Return a status line with its size and the compile time."""
    start = time.perf_counter()
    compiled = triton.compile(
        ASTSource(double_kernel, {"values_ptr": "*fp32"}), target=GPUTarget("cuda", ARCHITECTURE, 32)
    )
    return f"ok ({len(compiled.asm['cubin'])} bytes for sm_{ARCHITECTURE} in {time.perf_counter() - start:.1f} s)"


def convert_on(device: str) -> str:
    """Convert random images on a device. Return a status line: "ok" if the events equal those of the CPU."""
    images = torch.randint(0, 256, (4, 3, 61, 67), dtype=torch.uint8)
    expected = convert(images, dtype=torch.bool)
    different = int((convert(images.to(device), dtype=torch.bool).cpu() != expected).sum())
    if different:
        return f"WRONG: {different} of {expected.numel()} events differ from the CPU"
    return "ok, the same events as on the CPU"


if __name__ == "__main__":
    (check,) = sys.argv[1:]
    sys.stdout.write(compile_kernel() if check == "compile" else convert_on(check))
