"""The tests of ``i2e info``: ``python -m i2e_triton.cli.probe compile`` or ``cuda:0``. Needs Triton.

They run in their own process, because a broken compiler or driver may crash it.
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

#: Compute capability to compile for: an H100, which need not be present.
ARCHITECTURE = 90


@triton.jit
def double(values):
    """Double 128 values."""
    index = tl.arange(0, 128)
    tl.store(values + index, 2 * tl.load(values + index))


def compile_kernel() -> str:
    """Compile a small kernel with Triton and return the time it took."""
    start = time.perf_counter()
    compiled = triton.compile(ASTSource(double, {"values": "*fp32"}), target=GPUTarget("cuda", ARCHITECTURE, 32))
    return f"ok ({len(compiled.asm['cubin'])} bytes for sm_{ARCHITECTURE} in {time.perf_counter() - start:.1f} s)"


def convert_on(device: str) -> str:
    """Convert noise on a device and compare the events with those of the CPU."""
    images = torch.randint(0, 256, (4, 3, 61, 67), dtype=torch.uint8)
    expected = convert(images, dtype=torch.bool)
    different = int((convert(images.to(device), dtype=torch.bool).cpu() != expected).sum())
    if different:
        return f"WRONG: {different} of {expected.numel()} events differ from the CPU"
    return "ok, the same events as on the CPU"


if __name__ == "__main__":
    (test,) = sys.argv[1:]
    sys.stdout.write(compile_kernel() if test == "compile" else convert_on(test))
