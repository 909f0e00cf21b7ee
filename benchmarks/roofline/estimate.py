"""Lower bounds on the time of a conversion on a GPU, computed without that GPU from its bytes and its machine code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.harness.workload import FORMATS, event_bytes, image_bytes
from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches, resources
from benchmarks.roofline.loops import Loop, loops

_CHANNELS, _TIMESTEPS, _SIZE = 3, 8, 224
# Functions of the kernels whose loops read images, and functions whose loops write events.
_READING = ("measure",)
_WRITING = ("emit_swar", "_emit_pixels")


@dataclass(frozen=True)
class Gpu:
    """The limits of a GPU.

    Attributes:
        name: shown in the report.
        target: key of :data:`benchmarks.roofline.ahead_of_time.TARGETS`.
        multiprocessors: number of multiprocessors.
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
class KernelCosts:
    """Resources of one compiled kernel, and its instructions per pixel.

    Attributes:
        registers: registers per thread.
        shared: bytes of shared memory per program.
        spilled: bytes of stack and local memory per thread.
        reading: instructions per pixel that read the images; None if another kernel reads them.
        writing: instructions per pixel that write the events of all timesteps; None if another kernel writes them.
    """

    registers: int
    shared: int
    spilled: int
    reading: float | None
    writing: float | None


def kernel_costs(input: str, format: str, batch: int, gpu: Gpu, shifts: Tensor | None = None) -> list[KernelCosts]:
    """Compile the kernels that convert a batch of 224x224 images, and return the costs of each kernel.

    The motion vectors are the canonical ones, or ``shifts``.
    """
    images = torch.zeros(1, _CHANNELS, _SIZE, _SIZE, dtype=getattr(torch, input)).expand(batch, -1, -1, -1)
    packed = format == "packed"
    dtype = torch.uint8 if packed else FORMATS[format]["dtype"]
    found = []
    recorded = launches(
        images, dtype, packed=packed, timesteps=_TIMESTEPS, shifts=shifts, multiprocessors=gpu.multiprocessors
    )
    for launch in recorded:
        kernel = compile_launch(launch, TARGETS[gpu.target])
        used, outermost = resources(kernel), loops(kernel)
        counts = reading_instructions(outermost, input), writing_instructions(outermost, format)
        found.append(KernelCosts(used["REG"], used["SHARED"], used["STACK"] + used["LOCAL"], *counts))
    return found


def reading_instructions(outermost: list[Loop], input: str) -> float | None:
    """Return the instructions per pixel of the shortest loop that reads images, or None if there is none."""
    reading = [loop for loop in outermost if loop.function in _READING]
    return min((len(loop.instructions) * image_bytes(1, 1, input) / sum(loop.loads) for loop in reading), default=None)


def writing_instructions(outermost: list[Loop], format: str) -> float | None:
    """Return the instructions per pixel of the shortest loop that writes events, or None if there is none.

    An inner loop runs once per timestep. A kernel has several loops, for different motion vectors or thresholds; the
    shortest one gives a lower bound.
    """
    counts = []
    for loop in (loop for loop in outermost if loop.function in _WRITING):
        instructions = len(loop.instructions) + _TIMESTEPS * sum(len(inner.instructions) for inner in loop.inner)
        stored = sum(loop.stores) + _TIMESTEPS * sum(width for inner in loop.inner for width in inner.stores)
        counts.append(instructions * event_bytes(1, 1, format) / stored)
    return min(counts, default=None)


def issue_seconds(instructions: float, gpu: Gpu) -> float:
    """Return the seconds in which the whole GPU issues ``instructions`` per pixel for one 224x224 image."""
    warps = _SIZE * _SIZE / 32
    return warps * instructions / (gpu.multiprocessors * gpu.issue_rate * gpu.clock)


def copy_seconds(input: str, format: str, gpu: Gpu) -> float:
    """Return the seconds in which the GPU reads one 224x224 image and writes its events at its copy rate."""
    return (image_bytes(1, _SIZE, input) + event_bytes(1, _SIZE, format)) / gpu.copy_rate
