"""What a GPU that is not here could reach at best: resources of the compiled kernels, and floors that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import triton

from benchmarks.report.markdown import significant, table
from benchmarks.roofline.floors import Figures, Gpu, Phase, byte_floor, figures, issue_floor

#: Conversions that the design sets targets for.
_PAIRS = (
    ("float32", "float32"),
    ("uint8", "float32"),
    ("uint8", "bfloat16"),
    ("uint8", "bool"),
    ("uint8", "packed"),
)
_BATCHES = (128, 1)


def on_paper(gpu: Gpu, folder: Path) -> Iterator[str]:
    """Compile the kernels, and write down what came of them. Files go to ``folder``."""
    found = [(pair, batch, figures(*pair, batch, gpu, folder)) for batch in _BATCHES for pair in _PAIRS]
    yield (
        f"Compiled for {gpu.target} with Triton {triton.__version__} when the report was written, not run. For images "
        f"of 224×224; a batch of {_BATCHES[0]} takes one launch, a single image takes two. Accesses are those of a "
        "thread in one pass of the loop that reads images or writes events, all 8 timesteps together. Instructions are "
        "those that a thread issues for each pixel, counted in the bodies of these loops; where several loops do the "
        "same for other vectors or thresholds, the shortest counts, and what lies outside of them does not: a floor."
    )
    yield table(
        ["", "kernel", "registers", "shared", "spilled", "reads images by", "writes events by", "instructions a pixel"],
        [_resources(pair, batch, kernel) for pair, batch, kernels in found for kernel in kernels],
    )
    yield (
        f"Floors for one image on the whole {gpu.name}: {gpu.multiprocessors} multiprocessors that issue {gpu.issued} "
        f"instructions of 32 threads a cycle at {gpu.clock / 1e9:.3f} GHz, its boost clock (assumed to hold), and the "
        f"{gpu.copied / 1e12:.1f} TB/s that a copy is taken to reach. The higher floor bounds the share of that rate:"
    )
    yield table(
        ["a batch of 128", "instructions", "issuing them", "its bytes", "share of the copy rate at most"],
        [_floors(pair, kernels, gpu) for pair, batch, kernels in found if batch == _BATCHES[0]],
    )


def _resources(pair: tuple[str, str], batch: int, kernel: Figures) -> list[str]:
    images = f"{batch} images" if batch > 1 else "1 image"
    return [
        f"{pair[0]} → {pair[1]}, {images}",
        f"`{kernel.kernel}`",
        str(kernel.registers),
        f"{kernel.shared} B",
        f"{kernel.spilled} B",
        _accesses(kernel.reading),
        _accesses(kernel.writing),
        significant(kernel.instructions),
    ]


def _accesses(phase: Phase | None) -> str:
    if phase is None:
        return "–"
    counted: Counter[int] = phase.accesses
    return " + ".join(f"{count} × {width} B" for width, count in sorted(counted.items(), reverse=True))


def _floors(pair: tuple[str, str], kernels: list[Figures], gpu: Gpu) -> list[str]:
    instructions = sum(kernel.instructions for kernel in kernels)
    issue, copy = issue_floor(instructions, gpu), byte_floor(*pair, gpu)
    return [
        f"{pair[0]} → {pair[1]}",
        significant(instructions),
        f"{issue * 1e6:.3f} µs",
        f"{copy * 1e6:.3f} µs",
        f"{copy / max(issue, copy):.0%}",
    ]
