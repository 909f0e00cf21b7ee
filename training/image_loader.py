"""A loader without workers: the data set is one uint8 tensor on the device, and batches are augmented events of it.

    loader = GPUImageLoader(images, 512, device="cuda", augment=RandomCropResizeFlip(128), ratio=0.07, seed=1)
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for events, labels in loader:
            logits = network(events)

The order of an epoch is a function of seed and epoch. Boxes, flips and motion vectors are a function of seed, epoch and
row, on every device and for every number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from i2e_triton import canonical_shifts, convert, row_shifts
from i2e_triton.augmentation import RandomAugmentation, RandomTimestepDrop
from i2e_triton.checks import check_format, check_integer, check_ratio, check_seed, check_size
from i2e_triton.shifts import DEFAULT_ORDER, Order
from i2e_triton.training.loaders import ResumableLoader, Samples, seed_of

#: Larger sets stay in host memory, and are copied to the device batch by batch.
RESIDENT_BYTES = 8 * 2**30


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images uint8 ``[N, C, H, W]`` and labels int64 ``[N]`` on the CPU."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or labels.dtype != torch.int64:
            raise TypeError(f"images must be uint8 and labels int64, got {images.dtype} and {labels.dtype}")
        if images.dim() != 4 or images.numel() == 0 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"images must be [N, C, H, W] and labels [N], got {list(images.shape)}, {list(labels.shape)}"
            )

    @classmethod
    def of(cls, samples: Samples) -> ImageSet:
        """Read all samples, tensors uint8 ``[C, H, W]`` or PIL images of one size."""
        images, labels = zip(*(samples[row] for row in range(len(samples))))
        tensors = [each if isinstance(each, Tensor) else pil_to_tensor(each) for each in images]
        if len(shapes := {tuple(each.shape) for each in tensors}) > 1:
            raise ValueError(f"images in memory must have one size, got {sorted(shapes)[:3]}")
        return cls(torch.stack(tensors), torch.tensor(labels))

    def __len__(self) -> int:
        return len(self.images)


class GPUImageLoader(ResumableLoader):
    """Batches of a data set in memory, as augmented events or as images, on the device.

    A batch is ``(events, labels)`` with dense events ``[T, B, 2, H, W]`` or packed events ``[B, 2, H, W]``. The host
    does not wait for a GPU.

    Args:
        images: the data set.
        batch_size: images per batch, over all processes together.
        device: device of the batches.
        augment: draws boxes and flips. Default: None, no augmentation.
        drop: draws timesteps to drop. Default: None, all are kept.
        size: height and width of the events without ``augment``. Default: None, the images'.
        ratio: event threshold as a fraction of the brightness range of an image.
        order: order of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: number of timesteps, 1 to 8.
        random: draw motion vectors for every image; else use the canonical ones.
        packed: return packed events.
        dtype: type of dense events.
        seed: seed of the order and of all draws, 0 to 2^64 - 1.
        shuffle: a new order in every epoch; else every row once, in order.
        drop_last: leave out the last batch if it is smaller.
        rank: number of this process.
        processes: number of processes.
        resident_bytes: larger sets stay in host memory.

    Raises:
        TypeError: if an argument has another type.
        ValueError: if an argument is out of range, or there is no batch for this process.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        augment: RandomAugmentation | None = None,
        drop: RandomTimestepDrop | None = None,
        size: tuple[int, int] | None = None,
        ratio: float = 0.12,
        order: Order = DEFAULT_ORDER,
        timesteps: int = 8,
        random: bool = True,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        processes: int = 1,
        resident_bytes: int = RESIDENT_BYTES,
    ):
        if not isinstance(images, ImageSet):
            raise TypeError(f"images must be an ImageSet, got {type(images).__name__}")
        check_integer("batch_size", batch_size, 1)
        super().__init__(len(images), batch_size, check_seed(seed), shuffle, rank, processes, drop_last)
        if size is not None:
            check_size(size)
            if augment is not None:
                raise ValueError(f"size {size} is given twice: augment has the size {augment.size}")
        check_format(dtype, packed, timesteps)
        self.device = torch.device(device)
        self.augment, self.drop, self.size, self.packed, self.dtype = augment, drop, size, packed, dtype
        self.ratio, self.order, self.timesteps, self.random = check_ratio(ratio), order, timesteps, random
        self._canonical = canonical_shifts(order, timesteps, device=self.device)
        self._images = images.images.contiguous()
        if self._images.nbytes <= resident_bytes:
            self._images = self._images.to(self.device)
        self._labels = images.labels.to(self.device)
        # Raises ValueError if boxes do not fit the images.
        self._parameters(self._images[:1], torch.zeros(1, dtype=torch.int64, device=self._images.device), 0)

    def batches(self, epoch: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, from a step on."""
        for host_rows in self.rows(epoch).split(self._share)[step : self._steps]:
            rows = _copied(host_rows, self.device)
            if self._images.device == rows.device:
                images = self._images.index_select(0, rows)
            else:
                images = _copied(self._images.index_select(0, host_rows), self.device)
            drawn = self._parameters(images, rows, epoch)
            events = convert(images, self.ratio, dtype=self.dtype, packed=self.packed, **drawn)
            yield events, self._labels.index_select(0, rows)

    def _parameters(self, images: Tensor, rows: Tensor, epoch: int) -> dict[str, Any]:
        """Draw boxes, flips and motion vectors for rows of an epoch: arguments of :func:`i2e_triton.convert`."""
        found: dict[str, Any] = {"size": self.size}
        if self.augment is not None:
            found.update(self.augment.for_rows(images, rows, self.seed, epoch))
        shifts = self._canonical.to(rows.device)
        if self.random:
            shifts = row_shifts(seed_of(self.seed, 2, epoch), rows, order=self.order, timesteps=self.timesteps)
        if self.drop is not None:
            shifts = self.drop.for_rows(shifts.expand(len(rows), -1, -1), rows, self.seed, epoch)
        return {**found, "shifts": shifts}


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device without waiting for it; PyTorch reuses pinned memory when the copy is done."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
