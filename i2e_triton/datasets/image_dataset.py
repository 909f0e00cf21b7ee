"""Random access to images that are converted to events when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.checks import check_ratio, check_timesteps
from i2e_triton.datasets.decoding import SampleFormat
from i2e_triton.datasets.event_dataset import check_rows
from i2e_triton.draws import draw_shifts, source_of
from i2e_triton.functional import convert
from i2e_triton.shifts import DEFAULT_ORDER, Order, canonical_shifts, group_numbers
from i2e_triton.sources import (
    ImageRow,
    Source,
    SourceError,
    check_resize,
    open_source,
    prepare_batch,
    resize_rule,
    splits,
)

_CACHED_AT_ONCE = 256  # images


class ImageEventDataset(Dataset[tuple[Any, Any]]):
    """A map-style data set of images that are converted to events when they are read.

    ``dataset[i]`` is ``(events, label)``, as for :class:`EventDataset`. No events are stored, so the ratio or the
    motion vectors can change from run to run, and with ``random=True`` they change from epoch to epoch. A
    ``DataLoader`` converts a whole batch in one call::

        dataset = ImageEventDataset("photos", size=(224, 224), random=True, packed=True)
        for packed, labels in DataLoader(dataset, batch_size=128, shuffle=True, num_workers=4, pin_memory=True):
            events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), dataset.timesteps)  # [T, B, 2, H, W]

    Images are decoded and resized as in the official data sets, and labels are those of torchvision. A Parquet file is
    read fastest in order: use ``cache=True`` to shuffle it.

    Args:
        location: a folder of images with or without class folders, Parquet files of images, WebDataset tars, or the
            root of a torchvision data set.
        split: name of the split: ``"train"``, ``"validation"`` or ``"test"``. Default: None, which is valid if there
            is only one split.
        kind: kind of the location, one of :data:`i2e_triton.sources.KINDS`. Default: None, find out.
        download: let torchvision download its data set. Default: False.
        size: height and width of the events. Default: None, keep the size of each image.
        resize: ``"fit"`` (keep the aspect ratio and fill the rest with border pixels), ``"crop"`` (keep the aspect
            ratio and the centre) or ``"stretch"`` (ignore the aspect ratio). Default: ``"stretch"``.
        interpolation: ``"bicubic"`` or ``"bilinear"``, antialiased. Default: ``"bicubic"``.
        ratio: event threshold in [0, 1]. Default: 0.12.
        order: order of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: number of timesteps T, 1 to 8. Default: 8.
        random: draw motion vectors for each image each time it is read, with PyTorch's random numbers. Default: False,
            use the canonical ones.
        cache: decode and resize all images at once and keep them in memory: ``3 * H * W`` bytes each. It needs
            ``size``. Default: False.
        packed: return packed events and ignore ``dtype``. Default: False.
        dtype: type of dense events. Default: float32.
        layout: order of the dimensions of dense events: ``"TCHW"``, ``"CTHW"`` or ``"CHWT"``. Default: ``"TCHW"``.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.

    Raises:
        ValueError: if an argument is not valid, or the location does not have the kind or the split. Reading a damaged
            image raises it as well. The message names the row.
        OSError: if a file cannot be read, or the download fails.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        split: str | None = None,
        *,
        kind: str | None = None,
        download: bool = False,
        size: tuple[int, int] | None = None,
        resize: str = "stretch",
        interpolation: str = "bicubic",
        ratio: float = 0.12,
        order: Order = DEFAULT_ORDER,
        timesteps: int = 8,
        random: bool = False,
        cache: bool = False,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        layout: str = "TCHW",
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        rule = resize_rule(resize, interpolation)
        check_resize(size, rule)
        self._format = SampleFormat(packed, dtype, layout, transform, target_transform)
        self.timesteps = check_timesteps(timesteps)
        if cache and size is None:
            raise ValueError("cache=True needs the size of the images, for example size=(128, 128)")
        self._groups = group_numbers(order, timesteps)
        self._canonical = canonical_shifts(order, timesteps, device="cpu")
        self._ratio, self._random = check_ratio(ratio), random
        self._size, self._rule = size, rule
        self._source = _open(os.fspath(location), split, kind, download)
        self._cached = self._read_all() if cache else None

    @property
    def classes(self) -> list[str] | None:
        """Class names in the order of the labels, or None if the source has none."""
        return None if self._source.classes is None else list(self._source.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label; empty if the source has no class names."""
        return {name: label for label, name in enumerate(self._source.classes or ())}

    @cached_property
    def targets(self) -> list[int]:
        """The label of every row. Without ``cache=True``, all images are read, but not decoded."""
        if self._cached is not None:
            return list(self._cached[1])
        return [row.label for row in self._source.read(0, len(self))]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return ``(events, label)`` for each row of a batch. ``DataLoader`` calls this once per batch.

        Raises:
            IndexError: if a row does not exist.
            ValueError: if an image is damaged.
        """
        rows = check_rows(indices, len(self))
        samples: list[tuple[Any, Any]] = [(None, None)] * len(rows)
        for positions, images, labels in self._batches(rows):
            drawn = draw_shifts(source_of(images.device), len(images), self._groups) if self._random else None
            shifts = self._canonical if drawn is None else drawn
            packed = self._format.packed
            events = convert(images, self._ratio, shifts=shifts, dtype=self._format.dtype, packed=packed)
            for position, one, label in zip(positions, events.unbind(0 if packed else 1), labels):
                samples[position] = self._format.sample(one, label)
        return samples

    def _batches(self, rows: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor, list[int]]]:
        """Yield positions in ``rows``, images ``[B, C, H, W]`` and labels. The images of a batch have one shape."""
        if self._cached is not None:
            images, labels = self._cached
            # index_select copies whole images; images[rows] copies one element at a time.
            chosen = images.index_select(0, torch.tensor(rows))
            yield range(len(rows)), chosen, [labels[row] for row in rows]
            return
        ascending = sorted(range(len(rows)), key=rows.__getitem__)  # sources are read fastest in order
        found = [next(iter(self._source.read(rows[position], rows[position] + 1))) for position in ascending]
        for numbers, images in self._prepared(found, [rows[position] for position in ascending]):
            yield [ascending[number] for number in numbers], images, [found[number].label for number in numbers]

    def _prepared(self, found: Sequence[ImageRow], rows: Sequence[int]) -> list[tuple[list[int], Tensor]]:
        """Return decoded and resized images in groups of equal shape and dtype, with their positions in ``found``."""
        prepared = prepare_batch([row.image for row in found], self._size, self._rule)
        for number, error in prepared.damaged.items():
            raise SourceError(f"row {rows[number]} ({found[number].key}): {error}") from error
        return prepared.groups

    def _read_all(self) -> tuple[Tensor, list[int]]:
        """Return all images, uint8 ``[N, 3, H, W]``, and their labels."""
        from rich.console import Console
        from rich.progress import track

        assert self._size is not None
        images = torch.empty((len(self), 3, *self._size), dtype=torch.uint8)
        labels: list[int] = []
        starts, console = range(0, len(self), _CACHED_AT_ONCE), Console(stderr=True)
        for start in track(starts, "reading images", console=console, transient=True, disable=not console.is_terminal):
            rows = range(start, min(start + _CACHED_AT_ONCE, len(self)))
            found = list(self._source.read(rows.start, rows.stop))
            for numbers, group in self._prepared(found, rows):
                if group.dtype != torch.uint8:
                    raise SourceError(f"row {rows[numbers[0]]} has more than 8 bits per channel; use cache=False")
                images[[rows[number] for number in numbers]] = group
            labels += [row.label for row in found]
        return images, labels


def _open(location: str, split: str | None, kind: str | None, download: bool) -> Source:
    names = splits(location, kind)
    if split is None and len(names) > 1:
        raise ValueError(f"{location} has several splits; pass split, one of {', '.join(names)}")
    return open_source(location, kind=kind, split=split or names[0], download=download)
