"""This package's conversion as the suites call it: on inputs in turn, into memory in turn, captured or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness.workload import (
    FORMATS,
    RATIO,
    Call,
    batches_beyond_cache,
    event_bytes,
    expected_events,
    fresh_images,
    image_bytes,
    in_turn,
)
from i2e_triton import convert

#: How conversions reach the GPU: one by one from Python, or as a CUDA graph of many.
MODES = ("eager", "graph")


class Conversions:
    """Conversions of batches in turn, each into memory of its own, together larger than the device's caches.

    Args:
        device: where they run.
        input: type of the images, ``"uint8"`` or ``"float32"``.
        format: of the events, see :data:`benchmarks.harness.workload.FORMATS`.
        batch: images of each.
        size: height and width of the images.
    """

    def __init__(self, device: str, input: str, format: str, batch: int, size: int):
        self.bytes_moved = image_bytes(batch, size, input) + event_bytes(batch, size, format)
        self._format = format
        count = batches_beyond_cache(device, self.bytes_moved)
        self._images = [fresh_images(batch, size, input, device) for _ in range(count)]
        options = FORMATS[format]
        self._events = [convert(images, RATIO, **options) for images in self._images]
        self.calls: Sequence[Call] = [
            partial(convert, images, RATIO, out=events, **options) for images, events in zip(self._images, self._events)
        ]

    def check(self) -> None:
        """Compare images of the first batch, up to 16, with the specification, bit for bit.

        Raises:
            AssertionError: if an event differs.
        """
        images, events = self._images[0], self._events[0]
        events.copy_(poison(events))
        self.calls[0]()
        some = slice(None, None, max(1, len(images) // 16))
        actual = events[some] if self._format == "packed" else events[:, some]
        assert torch.equal(actual.cpu(), expected_events(images[some], self._format)), "not the reference's events"

    def timed(self, mode: str) -> tuple[Call, int]:
        """A call to time, and how many conversions it makes."""
        return (in_turn(self.calls), 1) if mode == "eager" else (captured(self.calls), len(self.calls))


def poison(events: Tensor) -> Tensor:
    """A tensor that differs from events, or packed events, in every element."""
    return torch.full_like(events, torch.nan) if events.is_floating_point() else events.bitwise_not()


def captured(calls: Sequence[Call]) -> Call:
    """Capture calls, one after another, in one CUDA graph; return what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles and allocates what a capture must not
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay
