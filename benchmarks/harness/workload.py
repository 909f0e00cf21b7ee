"""Images and conversions to measure. The batches of a measurement do not fit into the caches of the device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.machine import last_level_cache
from i2e_triton import canonical_shifts, convert, reference

#: Colour photographs that scikit-image ships.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
RATIO = 0.12
#: Event formats: the name in rows, and the options of ``convert``.
FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
    "uint8": {"dtype": torch.uint8},
    "bool": {"dtype": torch.bool},
    "packed": {"packed": True},
}
INPUTS = ("uint8", "float32")
#: All pairs (input, format).
PAIRS = tuple(itertools.product(INPUTS, FORMATS))
#: The pairs that are measured where all pairs would take too long.
MAIN_PAIRS = (("uint8", "bool"), ("uint8", "packed"), ("uint8", "float32"), ("float32", "float32"))
#: Names of stages and methods in the rows of results, in the order in which the report lists them.
FILE_STAGES = ("decode", "resize", "stack", "transfer", "convert", "all")
DATA_SET_STAGES = ("read", "decode and resize", "convert", "encode", "compress and write")
AUGMENTATION_METHODS = (
    "ours",
    "torchvision, image by image",
    "torchvision, converted as a batch",
    "conversion alone",
)
READING_METHODS = ("EventDataset", "pyarrow and a copy")
TRAINING_STAGES = ("data", "conversion", "forward", "backward", "optimizer")
_MAX_BATCHES = 256

Call = Callable[[], object]


def photograph_path(name: str) -> Path:
    """Return the path of one of :data:`PHOTOGRAPHS`."""
    import skimage

    return Path(skimage.__file__).with_name("data") / name


@cache
def photographs(size: int) -> Tensor:
    """Return :data:`PHOTOGRAPHS`, resized (bicubic): uint8 ``[N, 3, size, size]``."""
    from i2e_triton.io.pictures import read_picture

    return torch.stack([read_picture(photograph_path(name), (size, size)) for name in PHOTOGRAPHS])


def random_images(batch: int, size: int, input: str, device: str, content: str = "mixed") -> Tensor:
    """Return random images ``[batch, 3, size, size]``.

    Args:
        batch: number of images.
        size: height and width.
        input: ``"uint8"``, or ``"float32"`` in [0, 1].
        device: device of the result.
        content: ``"photographs"`` (randomly flipped and shifted), ``"noise"`` (uniform), or ``"mixed"`` (alternating).
    """
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    if content != "noise":
        originals = photographs(size).to(device)
        for image in images if content == "photographs" else images[::2]:
            photograph = originals[torch.randint(len(originals), ())]
            shift = torch.randint(size, (2,)).tolist()
            image.copy_(torch.roll(photograph.flip(2) if torch.rand(()) < 0.5 else photograph, shift, dims=(1, 2)))
    return images if input == "uint8" else reference.scale(images)


def image_bytes(batch: int, size: int, input: str) -> int:
    """Return the size of a batch of images in bytes."""
    return 3 * batch * size * size * (1 if input == "uint8" else 4)


def event_bytes(batch: int, size: int, format: str, timesteps: int = 8) -> int:
    """Return the size of the events of a batch in bytes."""
    positions = 2 * batch * size * size  # pixels and polarities
    return positions if format == "packed" else positions * timesteps * FORMATS[format]["dtype"].itemsize


def expected_events(images: Tensor, format: str) -> Tensor:
    """Return the events of a batch, computed by the reference implementation on the CPU."""
    events = reference.convert(images.cpu(), RATIO, canonical_shifts())
    if format != "packed":
        return events.to(FORMATS[format]["dtype"])
    bits = torch.tensor([1 << t for t in range(8)], dtype=torch.uint8).view(8, 1, 1, 1, 1)
    return (events * bits).sum(dim=0, dtype=torch.uint8)


def batches_beyond_cache(device: torch.device | str, bytes_moved: int) -> int:
    """Return how many batches to convert in turn, so that none is still in the cache when it is converted again."""
    return max(2, min(_MAX_BATCHES, math.ceil(2 * last_level_cache(device) / bytes_moved)))


def cycle_calls(calls: Sequence[Call], *, keep: bool = False) -> Callable[[], None]:
    """Return a function that runs the next one of several calls each time, and starts again after the last one.

    Args:
        calls: the calls.
        keep: keep the result of each call until the same call runs again. Otherwise a caching allocator may give all
            results the same memory, which then stays in the cache of the device.
    """
    turns = itertools.cycle(range(len(calls)))
    kept: list[object] = [None] * len(calls)

    def call() -> None:
        turn = next(turns)
        result = calls[turn]()
        if keep:
            kept[turn] = result

    return call


def cuda_graph(calls: Sequence[Call]) -> Call:
    """Capture all calls, in order, in one CUDA graph, and return the function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compile and allocate here, because a capture must not
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay


class Conversions:
    """Conversions of several batches by this package.

    Each batch has its own memory for the events. All batches together are larger than the cache.

    Args:
        device: device of the images.
        input: dtype of the images, ``"uint8"`` or ``"float32"``.
        format: event format, a key of :data:`FORMATS`.
        batch: images per batch.
        size: height and width of the images.
    """

    def __init__(self, device: str, input: str, format: str, batch: int, size: int):
        self.bytes_moved = image_bytes(batch, size, input) + event_bytes(batch, size, format)
        self._format = format
        count = batches_beyond_cache(device, self.bytes_moved)
        self._images = [random_images(batch, size, input, device) for _ in range(count)]
        options = FORMATS[format]
        self._events = [convert(images, RATIO, **options) for images in self._images]
        self.calls: Sequence[Call] = [
            partial(convert, images, RATIO, out=events, **options) for images, events in zip(self._images, self._events)
        ]

    def check(self) -> None:
        """Compare up to 16 images of the first batch with the reference, bit for bit.

        Raises:
            AssertionError: if an event differs.
        """
        images, events = self._images[0], self._events[0]
        events.copy_(poison(events))
        self.calls[0]()
        checked = slice(None, None, max(1, len(images) // 16))
        actual = events[checked] if self._format == "packed" else events[:, checked]
        assert torch.equal(actual.cpu(), expected_events(images[checked], self._format)), (
            "events differ from the reference"
        )

    def call_for(self, mode: str) -> tuple[Call, int]:
        """Return the call to measure and its number of conversions.

        The mode is ``"eager"`` for calls from Python or ``"graph"`` for a CUDA graph.
        """
        return (cycle_calls(self.calls), 1) if mode == "eager" else (cuda_graph(self.calls), len(self.calls))


def poison(events: Tensor) -> Tensor:
    """Return a tensor that differs from dense or packed events in every element."""
    return torch.full_like(events, torch.nan) if events.is_floating_point() else events.bitwise_not()
