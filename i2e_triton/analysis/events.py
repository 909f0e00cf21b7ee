"""One pass over a data set of events: rates, entropies, bytes."""

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
#: Bit ``t`` of each byte: ``[256, 8]``.
_BITS = np.arange(256)[:, None] >> np.arange(8) & 1
_EVENTS_OF_BYTE = _BITS.sum(axis=1).astype(np.uint8)


@dataclass(frozen=True)
class ClassRate:
    """The images of one class."""

    name: str | None
    images: int
    event_rate: Spread  #: of the images' event rates


@dataclass(frozen=True, eq=False)
class EventStatistics:
    """What a split of events holds.

    An event rate is a share of event positions: an image has ``T * 2 * H * W`` of them. A spread is over images, each
    of which counts alike, whatever its size.
    """

    images: int
    timesteps: int
    sizes: Mapping[tuple[int, int], int]  #: images by height and width
    events: Counts  #: ``[T, 2]``, of all images together
    event_rate: Spread
    timestep_rates: list[Spread]  #: of both polarities, as the published ``Load_Example`` notebook prints them
    polarity_rates: list[tuple[Spread, Spread]]  #: ON and OFF of each timestep
    classes: dict[int, ClassRate]  #: by label, in its order; those without an image are left out
    event_entropy: Spread  #: of an event, yes or no, all alike: bits an event position, at most 1
    polarity_entropy: Spread  #: of the T timesteps of a pixel in one polarity, mean of both: bits, at most T
    pixel_entropy: Spread  #: of the 2 T bits of a pixel, both polarities together: bits a pixel, at most 2 T
    map: npt.NDArray[np.float64] | None  #: mean event rate at each pixel ``[2, H, W]`` where all sizes are the same
    bytes: dict[str, float]  #: of an image, mean; by representation


def measure_events(dataset: EventDataset, rows_done: Callable[[int], None]) -> EventStatistics:
    """Read a data set once, batch by batch, and measure its events.

    Entropies are taken image by image, as the paper does, from the histogram of the symbols in it.

    Args:
        dataset: opened with ``packed=True``.
        rows_done: told of the rows of each batch.

    Raises:
        ValueError: if there are no rows.
        RecordError: if a record is damaged, or has more than 8 timesteps or others than the first row.
    """
    tally = _Tally(dataset.timesteps)
    for start in range(0, len(dataset), _BATCH_ROWS):
        rows = range(start, min(start + _BATCH_ROWS, len(dataset)))
        packed, labels = zip(*dataset.__getitems__(rows))
        tally.add(packed, labels)
        rows_done(len(rows))
    return tally.statistics(dataset.classes)


class _Tally:
    """Sums over the images that have passed."""

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
        codes = [_count_codes(events) for events in arrays]
        counts = np.stack([_count_events(code, self._timesteps) for code in codes])
        rates = counts / np.array([events[0].size for events in arrays])[:, None, None]
        image_rates = rates.mean(axis=(1, 2))
        self._add_to_map(arrays)
        self._sizes.update(events.shape[1:] for events in arrays)
        self._events += counts.sum(axis=0)
        self._rates.add(rates)
        self._timestep_rates.add(rates.mean(axis=2))
        self._rate.add(image_rates)
        self._entropies.add(np.array([_entropies(code, rate) for code, rate in zip(codes, image_rates)]))
        for label in set(labels):
            self._classes[label].add(image_rates[np.array(labels) == label])

    def statistics(self, names: list[str] | None) -> EventStatistics:
        """Return what has been measured."""
        images = self._rate.count
        steps = range(self._timesteps)
        classes = {
            label: ClassRate(names[label] if names and label >= 0 else None, moments.count, moments.spread())
            for label, moments in sorted(self._classes.items())
        }
        mapped = self._map is not None and len(self._sizes) == 1
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
            map=self._map / (self._timesteps * images) if self._map is not None and mapped else None,
            bytes=_bytes(self._sizes, self._timesteps),
        )

    def _add_to_map(self, arrays: list[npt.NDArray[np.uint8]]) -> None:
        """Sum the events of each pixel; images of another size than the first have no place in it."""
        if self._map is None:
            self._map = np.zeros(arrays[0].shape, dtype=np.int64)
        alike = [_EVENTS_OF_BYTE[events] for events in arrays if events.shape == self._map.shape]
        self._map += np.sum(alike, axis=0, dtype=np.int64)


class _Codes(NamedTuple):
    """How often each byte of packed events is found in an image."""

    on: Counts  #: ``[256]``
    off: Counts  #: ``[256]``
    both: Counts  #: of a pixel's two bytes together, ``[256 * 256]``


def _count_codes(events: npt.NDArray[np.uint8]) -> _Codes:
    """Count the bytes of packed events ``[2, H, W]``."""
    on, off = events.astype(np.uint16)
    both = np.bincount((on << 8 | off).ravel(), minlength=1 << 16)
    return _Codes(both.reshape(256, 256).sum(axis=1), both.reshape(256, 256).sum(axis=0), both)


def _count_events(codes: _Codes, timesteps: int) -> Counts:
    """Count events by timestep and polarity: ``[T, 2]``."""
    return np.stack([codes.on @ _BITS, codes.off @ _BITS], axis=1)[:timesteps]


def _entropies(codes: _Codes, rate: float) -> tuple[float, float, float]:
    """Entropies of an event, of a pixel's bits in one polarity, and in both, in bits."""
    return binary_entropy(rate), (entropy(codes.on) + entropy(codes.off)) / 2, entropy(codes.both)


def _bytes(sizes: Mapping[tuple[int, int], int], timesteps: int) -> dict[str, float]:
    """Bytes of an image in memory and as a record, mean over all."""
    total: Counter[str] = Counter()
    for (height, width), images in sizes.items():
        packed = torch.zeros(1, 2, height, width, dtype=torch.uint8)
        total["dense float32"] += images * timesteps * packed.nbytes * 4
        total["dense bool"] += images * timesteps * packed.nbytes
        total["packed"] += images * packed.nbytes
        total["published record"] += images * len(encode_records(packed, timesteps)[0])
    return {name: size / sum(sizes.values()) for name, size in total.items()}


def as_json(statistics: EventStatistics) -> dict[str, Any]:
    """Return all figures but the map as JSON has them: lists, and None for what is not a number."""
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
            {"label": label, "name": found.name, "images": found.images, **spread_as_json(found.event_rate)}
            for label, found in statistics.classes.items()
        ],
        "entropy_bits": {
            "event_position": spread_as_json(statistics.event_entropy),
            "pixel_and_polarity": spread_as_json(statistics.polarity_entropy),
            "pixel": spread_as_json(statistics.pixel_entropy),
        },
        "bytes_per_image": dict(statistics.bytes),
    }


def spread_as_json(spread: Spread) -> dict[str, float | None]:
    """Return a spread as JSON has it."""
    return {"mean": spread.mean, "std": None if np.isnan(spread.std) else spread.std}
