"""Print the instructions per pixel of the compiled kernels: ``python -m benchmarks.roofline``. No GPU is needed."""

from __future__ import annotations

import sys

from benchmarks.roofline.estimate import H100, kernel_costs
from i2e_triton import random_shifts

_FORMATS = (
    ("uint8", "packed"),
    ("uint8", "bool"),
    ("uint8", "bfloat16"),
    ("uint8", "float32"),
    ("float32", "float32"),
    ("float32", "packed"),
)
_BATCH = 128  # images: one kernel converts them
_LINE = "{:>8} {:>9} {:>9} {:>10} {:>8} {:>8} {:>8}\n"
#: The last four: registers per thread, spilled bytes, instructions per pixel of the loops that read and write.
_HEAD = ("images", "events", "vectors", "registers", "spilled", "reading", "writing")


def main() -> None:
    """Print registers, spilled bytes and instructions per pixel, with canonical and with random motion vectors."""
    sys.stdout.write(_LINE.format(*_HEAD))
    for input, format in _FORMATS:
        for vectors, shifts in (("canonical", None), ("random", random_shifts())):
            (kernel,) = kernel_costs(input, format, _BATCH, H100, shifts)
            counts = (kernel.registers, kernel.spilled, f"{kernel.reading:.1f}", f"{kernel.writing:.1f}")
            sys.stdout.write(_LINE.format(input, format, vectors, *counts))


if __name__ == "__main__":
    main()
