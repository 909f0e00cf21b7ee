"""Measure event rates, entropies and sizes of an event data set in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from i2e_triton.analysis.entropy import Counts, binary_entropy, entropy
from i2e_triton.analysis.spread import Spread
from i2e_triton.datasets import EventDataset
from i2e_triton.formats import encode_records

_BATCH_ROWS = 128
#: Bit ``t`` of each byte value: ``[256, 8]``.
_BITS = np.arange(256)[:, None] >> np.arange(8) & 1
_EVENTS_OF_BYTE = _BITS.sum(axis=1).astype(np.uint8)


@dataclass(frozen=True)
class ClassRate:
    """Event rate of one class."""

    name: str | None
    images: int  #: number of images of the class
    event_rate: Spread  #: mean and standard deviation over the images of the class


@dataclass(frozen=True, eq=False)
class EventStatistics:
    """Statistics of one split of an event data set.

    An event position is one element of the dense events ``[T, 2, H, W]`` of an image. An event rate is the fraction of
    event positions with an event. Each :class:`Spread` is the mean and standard deviation over images, which have equal
    weight regardless of their size.
    """

    images: int  #: number of images
    timesteps: int
    sizes: Mapping[tuple[int, int], int]  #: number of images by height and width
    events: Counts  #: number of events of all images by timestep and polarity, ``[T, 2]``
    event_rate: Spread
    timestep_rates: list[Spread]  #: both polarities together, as the official ``Load_Example`` notebook prints them
    polarity_rates: list[tuple[Spread, Spread]]  #: ON and OFF of each timestep
    classes: dict[int, ClassRate]  #: by label, in increasing order; classes without images are left out
    event_entropy: Spread  #: of one event position, in bits (at most 1)
    polarity_entropy: Spread  #: of the T timesteps of a pixel in one polarity, mean of both, in bits (at most T)
    pixel_entropy: Spread  #: of all events of a pixel, in bits (at most 2 T)
    map: npt.NDArray[np.float64] | None  #: mean event rate of each pixel, ``[2, H, W]``; None if image sizes differ
    bytes: dict[str, float]  #: mean bytes per image, by representation


def measure_events(dataset: EventDataset, rows_done: Callable[[int], None]) -> EventStatistics:
    """Read a data set once, in batches, and return the statistics of its events.

    The entropies of each image are computed from the histograms of its symbols, as in the paper.

    Args:
        dataset: a data set opened with ``packed=True``.
        rows_done: called after each batch with its number of rows.

    Raises:
        ValueError: if the data set is empty.
        RecordError: if a record is damaged, has more than 8 timesteps, or has another number of timesteps than the
            first row.
    """
    images, timesteps = len(dataset), dataset.timesteps
    # One row per image, about 200 bytes.
    labels = np.zeros(images, np.int64)
    sizes = np.zeros((images, 2), np.int64)
    events = np.zeros((images, timesteps, 2), np.int64)
    entropies = np.zeros((images, 3))
    of_pixels: Counts = np.zeros((2, 0, 0), np.int64)  # events of each pixel in the images of the size of the first one
    for start in range(0, images, _BATCH_ROWS):
        rows = range(start, min(start + _BATCH_ROWS, images))
        for row, (tensor, label) in zip(rows, dataset.__getitems__(rows)):
            packed = tensor.numpy()
            labels[row], sizes[row] = label, packed.shape[1:]
            events[row], entropies[row] = _count(packed, timesteps)
            if row == 0:
                of_pixels = np.zeros(packed.shape, np.int64)
            if packed.shape == of_pixels.shape:
                of_pixels += _EVENTS_OF_BYTE[packed]
        rows_done(len(rows))

    rates = events / sizes.prod(1)[:, None, None]
    image_rates = rates.mean((1, 2))
    names = dataset.classes
    size_counts = Counter((height, width) for height, width in sizes.tolist())
    return EventStatistics(
        images=images,
        timesteps=timesteps,
        sizes=size_counts,
        events=events.sum(0),
        event_rate=Spread.of(image_rates),
        timestep_rates=[Spread.of(rates[:, t].mean(1)) for t in range(timesteps)],
        polarity_rates=[(Spread.of(rates[:, t, 0]), Spread.of(rates[:, t, 1])) for t in range(timesteps)],
        classes={
            label: ClassRate(
                names[label] if names and label >= 0 else None, int(count), Spread.of(image_rates[labels == label])
            )
            for label, count in zip(*(found.tolist() for found in np.unique(labels, return_counts=True)))
        },
        event_entropy=Spread.of(entropies[:, 0]),
        polarity_entropy=Spread.of(entropies[:, 1]),
        pixel_entropy=Spread.of(entropies[:, 2]),
        map=of_pixels / (timesteps * images) if len(size_counts) == 1 else None,
        bytes=_bytes(size_counts, timesteps),
    )


def _count(packed: npt.NDArray[np.uint8], timesteps: int) -> tuple[Counts, tuple[float, float, float]]:
    """Count the events ``[T, 2]`` of packed events ``[2, H, W]``.

    Returns:
        The counts, and the entropies of an event position, of a pixel in one polarity, and of a pixel, in bits.
    """
    on, off = packed.astype(np.uint16)
    pairs = np.bincount((on << 8 | off).ravel(), minlength=1 << 16).reshape(256, 256)  # by ON byte and OFF byte
    on_bytes, off_bytes = pairs.sum(1), pairs.sum(0)
    events = np.stack([on_bytes @ _BITS, off_bytes @ _BITS], axis=1)[:timesteps]
    rate = events.sum() / (timesteps * packed.size)
    return events, (binary_entropy(rate), (entropy(on_bytes) + entropy(off_bytes)) / 2, entropy(pairs))


def _bytes(sizes: Mapping[tuple[int, int], int], timesteps: int) -> dict[str, float]:
    """Return the mean bytes per image of each representation: dense, packed, and as an official record."""
    total: Counter[str] = Counter()
    for (height, width), images in sizes.items():
        packed = torch.zeros(1, 2, height, width, dtype=torch.uint8)
        total["dense float32"] += images * timesteps * packed.nbytes * 4
        total["dense bool"] += images * timesteps * packed.nbytes
        total["packed"] += images * packed.nbytes
        total["official record"] += images * len(encode_records(packed, timesteps)[0])
    return {name: size / sum(sizes.values()) for name, size in total.items()}


def as_json(statistics: EventStatistics) -> dict[str, Any]:
    """Return the statistics without the map as JSON types. NaN becomes None."""
    return {
        "images": statistics.images,
        "timesteps": statistics.timesteps,
        "sizes": [{"height": h, "width": w, "images": images} for (h, w), images in statistics.sizes.items()],
        "events": statistics.events.tolist(),
        "event_rate": statistics.event_rate.as_json(),
        "by_timestep": [
            {**both.as_json(), "on": on.as_json(), "off": off.as_json()}
            for both, (on, off) in zip(statistics.timestep_rates, statistics.polarity_rates)
        ],
        "by_class": [
            {"label": label, "name": rate.name, "images": rate.images, **rate.event_rate.as_json()}
            for label, rate in statistics.classes.items()
        ],
        "entropy_bits": {
            "event_position": statistics.event_entropy.as_json(),
            "pixel_and_polarity": statistics.polarity_entropy.as_json(),
            "pixel": statistics.pixel_entropy.as_json(),
        },
        "bytes_per_image": dict(statistics.bytes),
    }
