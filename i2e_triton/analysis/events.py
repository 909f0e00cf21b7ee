"""Measure event rates, entropies and sizes of an event data set in one pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2e_triton.analysis.entropy import Counts, binary_entropy, entropy
from i2e_triton.analysis.moments import Moments, Spread
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
    totals = _EventTotals(dataset.timesteps)
    for start in range(0, len(dataset), _BATCH_ROWS):
        rows = range(start, min(start + _BATCH_ROWS, len(dataset)))
        packed, labels = zip(*dataset.__getitems__(rows))
        totals.add(packed, labels)
        rows_done(len(rows))
    return totals.statistics(dataset.classes)


class _EventTotals:
    """Accumulates the statistics of batches."""

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self._events: Counts = np.zeros((timesteps, 2), dtype=np.int64)
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._rates = Moments((timesteps, 2))
        self._timestep_rates = Moments((timesteps,))
        self._rate = Moments()
        self._entropies = Moments((3,))
        self._classes: defaultdict[int, Moments] = defaultdict(Moments)
        self._map: Counts | None = None

    def add(self, packed: Sequence[Tensor], labels: Sequence[int]) -> None:
        """Add a batch of packed events ``[2, H, W]``."""
        arrays = [events.numpy() for events in packed]
        byte_counts = [_count_bytes(events) for events in arrays]
        counts = np.stack([_count_events(histograms, self._timesteps) for histograms in byte_counts])
        rates = counts / np.array([events[0].size for events in arrays])[:, None, None]
        image_rates = rates.mean(axis=(1, 2))
        self._add_to_map(arrays)
        self._sizes.update(events.shape[1:] for events in arrays)
        self._events += counts.sum(axis=0)
        self._rates.add(rates)
        self._timestep_rates.add(rates.mean(axis=2))
        self._rate.add(image_rates)
        self._entropies.add(np.array([_entropies(*pair) for pair in zip(byte_counts, image_rates)]))
        for label in set(labels):
            self._classes[label].add(image_rates[np.array(labels) == label])

    def statistics(self, names: list[str] | None) -> EventStatistics:
        """Return the statistics of all added images. ``names`` are the class names."""
        images = self._rate.count
        steps = range(self._timesteps)
        classes = {
            label: ClassRate(names[label] if names and label >= 0 else None, moments.count, moments.spread())
            for label, moments in sorted(self._classes.items())
        }
        one_size = len(self._sizes) == 1
        return EventStatistics(
            images=images,
            timesteps=self._timesteps,
            sizes=dict(self._sizes),
            events=self._events,
            event_rate=self._rate.spread(),
            timestep_rates=[self._timestep_rates.spread(t) for t in steps],
            polarity_rates=[(self._rates.spread(t, 0), self._rates.spread(t, 1)) for t in steps],
            classes=classes,
            event_entropy=self._entropies.spread(0),
            polarity_entropy=self._entropies.spread(1),
            pixel_entropy=self._entropies.spread(2),
            map=self._map / (self._timesteps * images) if self._map is not None and one_size else None,
            bytes=_bytes(self._sizes, self._timesteps),
        )

    def _add_to_map(self, arrays: list[npt.NDArray[np.uint8]]) -> None:
        """Add the events of each pixel. Images that do not have the size of the first image are left out."""
        if self._map is None:
            self._map = np.zeros(arrays[0].shape, dtype=np.int64)
        of_same_size = [_EVENTS_OF_BYTE[events] for events in arrays if events.shape == self._map.shape]
        self._map += np.sum(of_same_size, axis=0, dtype=np.int64)


class _ByteCounts(NamedTuple):
    """Histograms of the bytes of an image's packed events."""

    on: Counts  #: ``[256]``
    off: Counts  #: ``[256]``
    both: Counts  #: of the pairs (ON byte, OFF byte) of a pixel, ``[256 * 256]``


def _count_bytes(events: npt.NDArray[np.uint8]) -> _ByteCounts:
    """Count the bytes of packed events ``[2, H, W]``."""
    on, off = events.astype(np.uint16)
    both = np.bincount((on << 8 | off).ravel(), minlength=1 << 16)
    return _ByteCounts(both.reshape(256, 256).sum(axis=1), both.reshape(256, 256).sum(axis=0), both)


def _count_events(byte_counts: _ByteCounts, timesteps: int) -> Counts:
    """Count events by timestep and polarity: ``[T, 2]``."""
    return np.stack([byte_counts.on @ _BITS, byte_counts.off @ _BITS], axis=1)[:timesteps]


def _entropies(byte_counts: _ByteCounts, rate: float) -> tuple[float, float, float]:
    """Return the entropies of an event position, of a pixel in one polarity, and of a pixel, in bits."""
    return binary_entropy(rate), (entropy(byte_counts.on) + entropy(byte_counts.off)) / 2, entropy(byte_counts.both)


def _bytes(sizes: Mapping[tuple[int, int], int], timesteps: int) -> dict[str, float]:
    """Return the mean bytes per image of each representation: dense, packed, and as an official record."""
    total: Counter[str] = Counter()
    for (height, width), images in sizes.items():
        packed = torch.zeros(1, 2, height, width, dtype=torch.uint8)
        total["dense float32"] += images * timesteps * packed.nbytes * 4
        total["dense bool"] += images * timesteps * packed.nbytes
        total["packed"] += images * packed.nbytes
        # This name must not change: version 0.1 wrote it to statistics.json.
        total["published record"] += images * len(encode_records(packed, timesteps)[0])
    return {name: size / sum(sizes.values()) for name, size in total.items()}


def as_json(statistics: EventStatistics) -> dict[str, Any]:
    """Return the statistics without the map as JSON types. NaN becomes None."""
    return {
        "images": statistics.images,
        "timesteps": statistics.timesteps,
        "sizes": [{"height": h, "width": w, "images": images} for (h, w), images in statistics.sizes.items()],
        "events": statistics.events.tolist(),
        "event_rate": spread_as_json(statistics.event_rate),
        "by_timestep": [
            {**spread_as_json(both), "on": spread_as_json(on), "off": spread_as_json(off)}
            for both, (on, off) in zip(statistics.timestep_rates, statistics.polarity_rates)
        ],
        "by_class": [
            {"label": label, "name": rate.name, "images": rate.images, **spread_as_json(rate.event_rate)}
            for label, rate in statistics.classes.items()
        ],
        "entropy_bits": {
            "event_position": spread_as_json(statistics.event_entropy),
            "pixel_and_polarity": spread_as_json(statistics.polarity_entropy),
            "pixel": spread_as_json(statistics.pixel_entropy),
        },
        "bytes_per_image": dict(statistics.bytes),
    }


def spread_as_json(spread: Spread) -> dict[str, float | None]:
    """Return mean and standard deviation as JSON types. NaN becomes None."""
    return {"mean": spread.mean, "std": None if np.isnan(spread.std) else spread.std}
