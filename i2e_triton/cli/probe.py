"""Try what ``i2e info`` reports: ``python -m i2e_triton.cli.probe compile``, or ``cuda:0``.

A process of its own, because a broken compiler or driver may take the process with it.
"""

from __future__ import annotations

import sys
import time

import torch

from i2e_triton.functional import convert

#: What is compiled for: an H100, which need not be here.
ARCHITECTURE = 90


def compile_kernel() -> str:
    """Compile a small kernel with Triton and say how long it took."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from i2e_triton.cli.probe_kernel import double

    start = time.perf_counter()
    compiled = triton.compile(ASTSource(double, {"values": "*fp32"}), target=GPUTarget("cuda", ARCHITECTURE, 32))
    return f"ok ({len(compiled.asm['cubin'])} bytes for sm_{ARCHITECTURE} in {time.perf_counter() - start:.1f} s)"


def convert_on(device: str) -> str:
    """Convert noise on a device and compare with the CPU."""
    images = torch.randint(0, 256, (4, 3, 61, 67), dtype=torch.uint8)
    expected = convert(images, dtype=torch.bool)
    different = int((convert(images.to(device), dtype=torch.bool).cpu() != expected).sum())
    return f"WRONG: {different} of {expected.numel()} events differ from the CPU" if different else "ok, as the CPU"


if __name__ == "__main__":
    (what,) = sys.argv[1:]
    sys.stdout.write(compile_kernel() if what == "compile" else convert_on(what))
