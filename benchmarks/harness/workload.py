"""What is converted, how often and in what order, so that a measurement is of conversions and not of caches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import skimage
import torch
from torch import Tensor

from benchmarks.harness.machine import last_level_cache
from i2e_triton import canonical_shifts, reference
from i2e_triton.io.pictures import read_picture

#: Colour photographs that scikit-image ships.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
RATIO = 0.12
#: What a conversion writes, by the name it has in rows.
FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
    "uint8": {"dtype": torch.uint8},
    "bool": {"dtype": torch.bool},
    "packed": {"packed": True},
}
INPUTS = ("uint8", "float32")
_MOST_BATCHES = 256

Call = Callable[[], object]


def photograph_path(name: str) -> Path:
    """Where scikit-image keeps a photograph."""
    return Path(skimage.__file__).with_name("data") / name


@cache
def photographs(size: int) -> Tensor:
    """:data:`PHOTOGRAPHS`, bicubic: uint8 ``[N, 3, size, size]``."""
    return torch.stack([read_picture(photograph_path(name), (size, size)) for name in PHOTOGRAPHS])


def fresh_images(batch: int, size: int, input: str, device: str, content: str = "mixed") -> Tensor:
    """Images that no earlier call gave: ``[batch, 3, size, size]``.

    Args:
        batch: how many.
        size: their height and width.
        input: ``"uint8"``, or ``"float32"`` in [0, 1].
        device: where they are.
        content: ``"photographs"``, mirrored and shifted at random; ``"noise"``, uniform; or ``"mixed"``, in turns.
    """
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    if content != "noise":
        known = photographs(size).to(device)
        for image in images if content == "photographs" else images[::2]:
            picture = known[torch.randint(len(known), ())]
            shift = torch.randint(size, (2,)).tolist()
            image.copy_(torch.roll(picture.flip(2) if torch.rand(()) < 0.5 else picture, shift, dims=(1, 2)))
    return images if input == "uint8" else reference.scale(images)


def image_bytes(batch: int, size: int, input: str) -> int:
    """Bytes of a batch of images."""
    return 3 * batch * size * size * (1 if input == "uint8" else 4)


def event_bytes(batch: int, size: int, format: str, timesteps: int = 8) -> int:
    """Bytes of the events of a batch."""
    pixels = 2 * batch * size * size
    return pixels if format == "packed" else pixels * timesteps * FORMATS[format]["dtype"].itemsize


def batches_beyond_cache(device: torch.device | str, bytes_moved: int) -> int:
    """How many batches to convert in turn, so that none is still in a cache when its turn comes again."""
    return max(2, min(_MOST_BATCHES, math.ceil(2 * last_level_cache(device) / bytes_moved)))


def in_turn(calls: Sequence[Call], *, keep: bool = False) -> Callable[[], None]:
    """One call after another, over and over.

    Args:
        calls: what to call.
        keep: keep each result until the same call returns the next one, so that an allocator which hands freed memory
            out again cannot give every result the same place in the cache; else a result is dropped at once.
    """
    turns = itertools.cycle(range(len(calls)))
    kept: list[object] = [None] * len(calls)

    def call() -> None:
        turn = next(turns)
        result = calls[turn]()
        if keep:
            kept[turn] = result

    return call


def expected_events(images: Tensor, format: str) -> Tensor:
    """The specification's events of a batch, in a format, on the CPU."""
    events = reference.convert(images.cpu(), RATIO, canonical_shifts())
    if format != "packed":
        return events.to(FORMATS[format]["dtype"])
    bits = torch.tensor([1 << t for t in range(8)], dtype=torch.uint8).view(8, 1, 1, 1, 1)
    return (events * bits).sum(dim=0, dtype=torch.uint8)
