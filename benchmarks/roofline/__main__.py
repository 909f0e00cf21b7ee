"""Print the instructions per pixel of the compiled kernels: ``python -m benchmarks.roofline``. No GPU is needed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
_LINE = "{:>8} {:>9} {:>9} {:>6} {:>10} {:>8} {:>8} {:>8}\n"
#: The last four: registers per thread, spilled bytes, instructions per pixel of the loops that read and write.
_HEAD = ("images", "events", "vectors", "batch", "registers", "spilled", "reading", "writing")


def main() -> None:
    """Print registers, spilled bytes and instructions per pixel, with canonical and with random motion vectors."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="number of images (default: 128)")
    batch = parser.parse_args().batch
    sys.stdout.write(_LINE.format(*_HEAD))
    sys.stdout.writelines(_lines(batch))


def _lines(batch: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        for input, format in _FORMATS:
            for vectors, shifts in (("canonical", None), ("random", random_shifts())):
                for kernel in kernel_costs(input, format, batch, H100, Path(folder), shifts):
                    counts = ("" if count is None else f"{count:.1f}" for count in (kernel.reading, kernel.writing))
                    yield _LINE.format(input, format, vectors, batch, kernel.registers, kernel.spilled, *counts)


if __name__ == "__main__":
    main()
