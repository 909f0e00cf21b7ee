"""A loader without workers: the data set is one uint8 tensor on the device, and batches are augmented events of it.

    loader = GPUImageLoader(images, 512, device="cuda", augment=RandomCropResizeFlip(128), ratio=0.07, seed=1)
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for events, labels in loader:
            logits = network(events.transpose(0, 1))

Stands where a ``DataLoader`` stood. The order of an epoch is a function of the seed and the epoch alone; boxes, flips
and motion vectors are one of the seed, the epoch and the row alone, whatever the device, the batch or the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from i2e_triton import canonical_shifts, convert, row_shifts
from i2e_triton.augmentation import RandomAugmentation, RandomTimestepDrop
from i2e_triton.checks import check_format, check_integer, check_ratio, check_seed, check_size
from i2e_triton.shifts import DEFAULT_ORDER, Order, copied_to, signed, splitmix64
from i2e_triton.training.image_set import ImageSet
from i2e_triton.training.sampling import seed_of

Output = Literal["dense", "packed", "images"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
#: Sets up to this size live on the device; larger ones stay on the host and are copied in chunks.
RESIDENT_BYTES = 8 * 2**30
#: Rows whose parameters are drawn at once, and bytes of images that are copied at once.
_CHUNK_ROWS = 2**16
_CHUNK_BYTES = 64 * 2**20

Parameters = dict[str, Any]


@dataclass
class _Chunk:
    """Rows of some batches that follow each other, and what was drawn for them."""

    rows: Tensor  #: int64 on the device
    images: Tensor | None  #: those of the rows, where the set is not on the device
    parameters: Parameters


class GPUImageLoader:
    """Batches of a data set in memory, as augmented events or as images.

    Iteration gives ``(events, labels)`` or ``(images, labels, parameters)``:

    * dense events ``[B, T, 2, H, W]``, batch first as a ``DataLoader`` stacks samples; networks of this package take
      ``events.transpose(0, 1)``;
    * packed events ``[B, 2, H, W]``, which they take as they are;
    * images ``[B, C, H, W]``, of which ``convert(images, ratio, **parameters)`` makes the events.

    All on the device; nothing waits for a GPU within a chunk of batches.

    Args:
        images: the data set.
        batch_size: of all processes together; a multiple of their number.
        device: where batches are.
        augment: draws boxes and flips; None converts images as they are.
        drop: draws timesteps to leave out; None keeps all.
        size: height and width of the events without ``augment``; None keeps the images'.
        output: ``"dense"``, ``"packed"`` or ``"images"``.
        ratio: sensitivity of the threshold.
        order: of the timesteps, see :func:`i2e_triton.canonical_shifts`.
        timesteps: how many, 1 to 8.
        random: draw motion vectors for every image; else the canonical ones.
        dtype: of dense events.
        seed: of the order and of all that is drawn, 0 to 2^64 - 1.
        shuffle: a new order in every epoch, of which all processes get equally many rows, and so leave out less than
            one row each; else every row once, in order, as for validation.
        drop_last: leave out the last batch where it is smaller.
        rank: which process, of how many.
        processes: how many.
        resident_bytes: largest set that is kept on the device.

    Raises:
        TypeError: if an argument is of another type.
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
        output: Output = "dense",
        ratio: float = 0.12,
        order: Order = DEFAULT_ORDER,
        timesteps: int = 8,
        random: bool = True,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        processes: int = 1,
        resident_bytes: int = RESIDENT_BYTES,
    ):
        _check_kinds(images, augment, drop)
        _check_share(batch_size, rank, processes)
        if output not in OUTPUTS:
            raise ValueError(f"output must be {', '.join(OUTPUTS)}, got {output!r}")
        if augment is not None and size is not None:
            raise ValueError(f"size {size} is given twice; augment brings its own, {augment.size}")
        if size is not None:
            check_size(size)
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.augment, self.drop, self.size, self.output = augment, drop, size, output
        self.ratio = check_ratio(ratio)
        self.dtype = dtype
        check_format(dtype, output == "packed", timesteps)
        self.order, self.timesteps, self.random = order, timesteps, random
        self._same_shifts = not random and drop is None
        self.seed = check_seed(seed)
        self.shuffle = shuffle
        self.rank, self.processes = rank, processes
        self.epoch = 0  #: of the batch that comes next
        self._step = 0
        self._first_step = 0
        self._fingerprint = images.fingerprint
        self._samples = len(images)
        self._canonical = canonical_shifts(order, timesteps, device=self.device)
        self._resident = images.images.nbytes <= resident_bytes
        self._images = images.images.contiguous()
        if self._resident:
            self._images = self._images.to(self.device)
        self._labels = images.labels.to(self.device)
        rows, share = self._rows_here(), batch_size // processes
        self._steps = rows // share if drop_last else -(-rows // share)
        if self._steps == 0:
            raise ValueError(
                f"{len(images)} images make no batch of {batch_size} for {processes} processes; take a smaller one"
            )
        self.parameters(torch.zeros(1, dtype=torch.int64), 0)  # boxes that do not fit are told now

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._steps

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Give the batches of ``epoch``: from the first one, or once from where :meth:`load_state_dict` says.

        The next epoch follows when the last batch is handed out.
        """
        epoch, first = self.epoch, self._first_step
        self._first_step = self._step = 0
        share = self.batch_size // self.processes
        rows = self._share_of(epoch)
        per_chunk = max(1, self._chunk_rows() // share)
        for start in range(first, self._steps, per_chunk):
            steps = range(start, min(start + per_chunk, self._steps))
            chunk = self._load(rows[start * share : steps.stop * share], epoch)
            for step in steps:
                self.epoch, self._step = (epoch, step + 1) if step + 1 < self._steps else (epoch + 1, 0)
                yield self._batch(chunk, (step - start) * share, share)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next; where that is the one to resume, its place is kept.

        Raises:
            ValueError: if it is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must not be negative, got {epoch}")
        if epoch != self.epoch:
            self.epoch, self._step, self._first_step = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the batch that comes next, and what it is a place in."""
        return {**self._identity(), "epoch": self.epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at the batch where :meth:`state_dict` was called, in as many processes or in others.

        A last batch that is too small for the processes of now is left out.

        Raises:
            ValueError: if the state is of another data set, seed, batch size or order, or its place does not exist.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                what = {"fingerprint": "data set", "batch_size": "batch size"}.get(name, name)
                raise ValueError(f"the state is of another {what}: {state.get(name)}, and this loader's is {value}")
        epoch, step = state.get("epoch", -1), state.get("step", -1)
        if epoch < 0 or not 0 <= step < -(-self._samples // self.batch_size):
            raise ValueError(f"the state is at epoch {epoch}, step {step}; an epoch has the steps 0 to {len(self) - 1}")
        if step >= self._steps:
            epoch, step = epoch + 1, 0
        self.epoch, self._step, self._first_step = epoch, step, step

    def parameters(self, rows: Tensor, epoch: int) -> Parameters:
        """Draw what rows get in an epoch: arguments of :func:`i2e_triton.convert` besides the ratio.

        Args:
            rows: row numbers, int64 ``[B]``; their device is that of the result.
            epoch: number of the epoch, from 0.
        """
        found: Parameters = {}
        if self.augment is not None:
            # Only the shape counts; no image is read.
            images = self._images.new_empty((), device=rows.device).expand(len(rows), *self._images.shape[1:])
            found.update(self.augment.for_rows(images, rows, self.seed, epoch))
        elif self.size is not None:
            found["size"] = self.size
        if self.random:
            seed = seed_of(self.seed, 2, epoch)
            shifts = row_shifts(seed, rows, order=self.order, timesteps=self.timesteps)
        else:
            shifts = self._canonical.to(rows.device)
        if self.drop is not None:
            shifts = self.drop.for_rows(shifts.expand(len(rows), -1, -1), rows, self.seed, epoch)
        return {**found, "shifts": shifts}

    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
        }

    def _rows_here(self) -> int:
        rows = self._samples // self.processes
        return rows if self.shuffle else rows + (self.rank < self._samples % self.processes)

    def _share_of(self, epoch: int) -> Tensor:
        """Row numbers of this process in an epoch, where the images are."""
        rows = torch.arange(self._samples, device=self._images.device)
        if self.shuffle:
            # Sorted by random numbers: randperm would be another one on each device.
            seed = torch.tensor(signed(seed_of(self.seed, 0, epoch)), device="cpu")
            rows = splitmix64(seed, rows).argsort(stable=True)
            rows = rows[: self._samples - self._samples % self.processes]
        return rows[self.rank :: self.processes]

    def _chunk_rows(self) -> int:
        return _CHUNK_ROWS if self._resident else min(_CHUNK_ROWS, _CHUNK_BYTES // self._images[0].nbytes)

    def _load(self, rows: Tensor, epoch: int) -> _Chunk:
        """Draw for rows, and copy their images where they are not on the device."""
        images = None
        if not self._resident:
            # Pinned, so that the host does not wait for the copy; PyTorch reuses the memory when it is done.
            shape = (len(rows), *self._images.shape[1:])
            gathered = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
            torch.index_select(self._images, 0, rows, out=gathered)
            images = gathered.to(self.device, non_blocking=True)
            rows = copied_to(rows, self.device)
        return _Chunk(rows, images, self.parameters(rows, epoch))

    def _batch(self, chunk: _Chunk, start: int, count: int) -> tuple[Any, ...]:
        part = slice(start, start + count)
        rows = chunk.rows[part]
        images = self._images.index_select(0, rows) if chunk.images is None else chunk.images[part]
        labels = self._labels.index_select(0, rows)
        each = ("crop", "flip") if self._same_shifts else ("crop", "flip", "shifts")
        drawn = {name: value[part] if name in each else value for name, value in chunk.parameters.items()}
        if self.output == "images":
            return images, labels, drawn
        packed = self.output == "packed"
        events = convert(images, self.ratio, dtype=self.dtype, packed=packed, **drawn)
        return (events if packed else events.transpose(0, 1)), labels


def _check_kinds(images: Any, augment: Any, drop: Any) -> None:
    for name, value, kind in (
        ("images", images, ImageSet),
        ("augment", augment, RandomAugmentation | None),
        ("drop", drop, RandomTimestepDrop | None),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be of {getattr(kind, '__name__', kind)}, got {value!r}")


def _check_share(batch_size: int, rank: int, processes: int) -> None:
    if processes < 1 or not 0 <= rank < processes:
        raise ValueError(f"rank must be 0 to processes - 1, got rank {rank} of {processes} processes")
    if check_integer("batch_size", batch_size, 1) % processes:
        raise ValueError(f"batch_size must be a multiple of the {processes} processes, got {batch_size}")
