"""Lower bounds on the time of a conversion on a GPU, without that GPU: from its bytes and its machine code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.harness.workload import FORMATS, event_bytes, image_bytes
from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches, resources
from benchmarks.roofline.loops import Loop, loops

_CHANNELS, _TIMESTEPS, _SIZE = 3, 8, 224
# Kernel functions whose loops read images, and those whose loops write events.
_READING = ("measure",)
_WRITING = ("emit_swar", "_emit_pixels")


@dataclass(frozen=True)
class Gpu:
    """The limits of a GPU.

    Attributes:
        name: shown in the report.
        target: key of :data:`benchmarks.roofline.ahead_of_time.TARGETS`.
        multiprocessors: their number.
        issue_rate: warp instructions that a multiprocessor issues per cycle.
        clock: cycles per second.
        copy_rate: bytes per second, read and written, of a large copy.
    """

    name: str
    target: str
    multiprocessors: int
    issue_rate: int
    clock: float
    copy_rate: float


#: The boost clock is an assumption: a GPU may run slower. The copy rate is typical of an H100 SXM.
H100 = Gpu("H100 SXM", "sm_90", multiprocessors=132, issue_rate=4, clock=1.755e9, copy_rate=3.0e12)


@dataclass(frozen=True)
class KernelFigures:
    """Resources of one compiled kernel, and instructions of a thread per pixel, all timesteps together.

    ``reading`` or ``writing`` is None if another kernel reads the images or writes the events.
    """

    registers: int
    shared: int
    spilled: int
    reading: float | None
    writing: float | None


def kernel_figures(input: str, format: str, batch: int, gpu: Gpu, folder: Path) -> list[KernelFigures]:
    """Compile the kernels that convert a batch of 224x224 images, and return the figures of each."""
    images = torch.zeros(1, _CHANNELS, _SIZE, _SIZE, dtype=getattr(torch, input)).expand(batch, -1, -1, -1)
    packed = format == "packed"
    dtype = torch.uint8 if packed else FORMATS[format]["dtype"]
    found = []
    for launch in launches(images, dtype, packed=packed, timesteps=_TIMESTEPS, multiprocessors=gpu.multiprocessors):
        kernel = compile_launch(launch, TARGETS[gpu.target])
        used, code = resources(kernel, folder), loops(kernel, folder)
        counts = reading_instructions(code, input), writing_instructions(code, format)
        found.append(KernelFigures(used["REG"], used["SHARED"], used["STACK"] + used["LOCAL"], *counts))
    return found


def reading_instructions(code: list[Loop], input: str) -> float | None:
    """Return the instructions per pixel of the fastest loop that reads images, None if there is none."""
    found = [loop for loop in code if loop.function in _READING]
    return min((len(loop.own) * image_bytes(1, 1, input) / sum(loop.loads) for loop in found), default=None)


def writing_instructions(code: list[Loop], format: str) -> float | None:
    """Return the instructions per pixel of the fastest loop that writes events, None if there is none.

    An inner loop runs once per timestep. Different motion vectors or thresholds have different loops; the fastest gives
    a lower bound.
    """
    counts = []
    for loop in (loop for loop in code if loop.function in _WRITING):
        instructions = len(loop.own) + _TIMESTEPS * sum(len(inner.own) for inner in loop.inner)
        stored = sum(loop.stores) + _TIMESTEPS * sum(width for inner in loop.inner for width in inner.stores)
        counts.append(instructions * event_bytes(1, 1, format) / stored)
    return min(counts, default=None)


def issue_seconds(instructions: float, gpu: Gpu) -> float:
    """Return the seconds that the whole GPU takes to issue this many instructions per pixel of a 224x224 image."""
    warps = _SIZE * _SIZE / 32
    return warps * instructions / (gpu.multiprocessors * gpu.issue_rate * gpu.clock)


def copy_seconds(input: str, format: str, gpu: Gpu) -> float:
    """Return the seconds that the GPU takes to copy as many bytes as a 224x224 image and its events have."""
    return (image_bytes(1, _SIZE, input) + event_bytes(1, _SIZE, format)) / gpu.copy_rate
