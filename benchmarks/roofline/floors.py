"""What a conversion must cost at least on a GPU that need not be here: from its machine code, and from its bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.harness.workload import FORMATS, event_bytes, image_bytes
from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches, resources
from benchmarks.roofline.instructions import Loop, loops

_CHANNELS = 3
_TIMESTEPS = 8
_SIZE = 224
# The functions of the kernels whose loops read images, and those whose loops write events.
_READING = ("measure",)
_WRITING = ("emit_words", "_emit_pixels")


@dataclass(frozen=True)
class Gpu:
    """What bounds a GPU.

    Attributes:
        name: as in the report.
        target: as in :data:`benchmarks.roofline.ahead_of_time.TARGETS`.
        multiprocessors: how many.
        issued: instructions of a warp that each of them issues in a cycle.
        clock: cycles a second.
        copied: bytes a second, read and written, of a copy.
    """

    name: str
    target: str
    multiprocessors: int
    issued: int
    clock: float
    copied: float


#: The clock is the boost clock, which a GPU need not hold; the rate of a copy is that of the design.
H100 = Gpu("H100 SXM", "sm_90", multiprocessors=132, issued=4, clock=1.755e9, copied=3.0e12)


@dataclass(frozen=True)
class Phase:
    """A loop that reads images or writes events.

    Attributes:
        accesses: to global memory, by thread: how many of how many bytes, loads where it reads images and else stores.
        instructions: of a thread for each pixel, all timesteps together.
    """

    accesses: Counter[int]
    instructions: float


@dataclass(frozen=True)
class Figures:
    """What the compiler made of one kernel of a conversion; a phase is None where another kernel does it."""

    input: str
    format: str
    batch: int
    kernel: str
    registers: int
    shared: int
    spilled: int
    reading: Phase | None
    writing: Phase | None

    @property
    def instructions(self) -> float:
        """Instructions of a thread for each pixel."""
        return sum(phase.instructions for phase in (self.reading, self.writing) if phase)


def figures(input: str, format: str, batch: int, gpu: Gpu, folder: Path) -> list[Figures]:
    """Compile what the conversion of a batch of 224x224 images launches, and read its machine code."""
    images = torch.zeros(1, _CHANNELS, _SIZE, _SIZE, dtype=getattr(torch, input)).expand(batch, -1, -1, -1)
    packed = format == "packed"
    dtype = torch.uint8 if packed else FORMATS[format]["dtype"]
    recorded = launches(images, dtype, packed=packed, timesteps=_TIMESTEPS, multiprocessors=gpu.multiprocessors)
    found = []
    for launch in recorded:
        kernel = compile_launch(launch, TARGETS[gpu.target])
        used = resources(kernel, folder)
        code = loops(kernel, folder)
        found.append(
            Figures(
                input=input,
                format=format,
                batch=batch,
                kernel=launch.kernel.__name__,
                registers=used["REG"],
                shared=used["SHARED"],
                spilled=used["STACK"] + used["LOCAL"],
                reading=reading_phase(code, input),
                writing=writing_phase(code, format),
            )
        )
    return found


def reading_phase(code: list[Loop], input: str) -> Phase | None:
    """The loop that reads images, of a kernel's outermost loops."""
    phases = [
        Phase(Counter(loop.loads), len(loop.own) * image_bytes(1, 1, input) / sum(loop.loads))
        for loop in code
        if loop.functions[-1] in _READING
    ]
    return _shortest(phases)


def writing_phase(code: list[Loop], format: str) -> Phase | None:
    """The loop that writes events, of a kernel's outermost loops; one within it goes over the timesteps."""
    phases = []
    for loop in code:
        if loop.functions[-1] in _WRITING:
            instructions = len(loop.own) + _TIMESTEPS * sum(len(inner.own) for inner in loop.inner)
            stores = loop.stores + _TIMESTEPS * [width for inner in loop.inner for width in inner.stores]
            phases.append(Phase(Counter(stores), instructions * event_bytes(1, 1, format) / sum(stores)))
    return _shortest(phases)


def _shortest(phases: list[Phase]) -> Phase | None:
    """Of loops for different vectors or thresholds, the one that takes the fewest instructions: a floor."""
    return min(phases, key=lambda phase: phase.instructions, default=None)


def issue_floor(instructions: float, gpu: Gpu) -> float:
    """Seconds that issuing so many instructions a thread and pixel takes for one 224x224 image, on the whole GPU."""
    warps = _SIZE * _SIZE / 32
    return warps * instructions / (gpu.multiprocessors * gpu.issued * gpu.clock)


def byte_floor(input: str, format: str, gpu: Gpu) -> float:
    """Seconds that a copy of as many bytes as one 224x224 image and its events takes, on the whole GPU."""
    return (image_bytes(1, _SIZE, input) + event_bytes(1, _SIZE, format)) / gpu.copied
