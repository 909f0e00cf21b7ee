"""A data set of events as a stream: shuffled, shared out over ranks and workers, resumed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from i2e_triton.checks import check_whole_number
from i2e_triton.datasets.location import Location
from i2e_triton.datasets.records import Row
from i2e_triton.datasets.split import Split

Rows = npt.NDArray[np.int64]


class EventStream(Split, IterableDataset[tuple[Any, Any]]):
    """Events and labels in an order that reads each row group once: :class:`EventDataset` for shuffled training.

    In each epoch the row groups of all shards are shuffled and shared out in equal parts over the ranks, and within a
    rank over the workers of its ``DataLoader``. Parts are cut at a row, not at a file: every row comes once, and parts
    differ by a row at most. Within a part, ``buffer_size`` rows at a time are read and shuffled. The order depends on
    ``seed``, the epoch, the ranks and the workers alone. It stays the same until :meth:`set_epoch` is called, as with
    ``DistributedSampler``; that reaches persistent workers too::

        stream = EventStream(folder, "train", packed=True)
        loader = DataLoader(stream, batch_size=128, num_workers=4, pin_memory=True)
        for epoch in range(stream.epoch, epochs):
            stream.set_epoch(epoch)
            for packed, labels in loader:
                events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), stream.timesteps)  # [T, B, 2, H, W]

    :meth:`state_dict` and :meth:`load_state_dict` go on behind the last row that was taken: with ``num_workers=0``, or
    with workers in torchdata's ``StatefulDataLoader``. Each worker ends with a batch of its own, which may be smaller.
    Ranks that must take equally many steps (DDP) all have ``workers * (stream.rows // workers // batch_size)`` full
    batches: take so many with ``itertools.islice``.

    Args:
        location: as of :class:`EventDataset`.
        split: name of the split; may be left out where there is one only.
        shuffle: if not, rows come in the order of the files, and each part is a run of them.
        buffer_size: rows that are shuffled together, at least; each worker holds as many records, not yet decoded.
        seed: of the order, not negative; the same on all ranks.
        rank: number of this process, together with ``world_size``. Without both, what ``torch.distributed`` says if it
            is initialised; else one process reads all.
        world_size: number of processes.
        packed: return packed events, whatever ``dtype``.
        dtype: of dense events: float32, float16, bfloat16, uint8 or bool.
        transform: applied to the events of each row.
        target_transform: applied to each label.

    Raises:
        TypeError: if ``buffer_size``, ``seed``, ``rank`` or ``world_size`` are no integers, besides all that
            :class:`EventDataset` raises.
        ValueError: if they are unfit.
    """

    def __init__(
        self,
        location: Location,
        split: str | None = None,
        *,
        shuffle: bool = True,
        buffer_size: int = 2048,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        packed: bool = False,
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__(location, split, packed, dtype, transform, target_transform)
        self._shuffle = shuffle
        self._buffer_size = check_whole_number("buffer_size", buffer_size, 1)
        self._seed = check_whole_number("seed", seed, 0)
        self._given_rank = rank is not None or world_size is not None
        self._rank, self._world_size = _check_rank(rank, world_size) if self._given_rank else _current_rank()
        # In shared memory: persistent workers keep the copy of the stream that they started with.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._taken = 0
        self._resumed: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """The epoch whose order is read."""
        return int(self._epoch)

    @property
    def rows(self) -> int:
        """Rows that every rank has in an epoch, over all its workers; some ranks have one more."""
        return len(self._records) // self._world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of another epoch; call it on every rank, before its rows are read.

        Raises:
            TypeError: if it is no integer.
            ValueError: if it is negative.
        """
        epoch = check_whole_number("epoch", epoch, 0)
        if epoch != self.epoch:
            self._taken = 0
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where reading stands: numbers only, for ``torch.save`` or JSON."""
        return {**self._order(), "epoch": self.epoch, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` stood: the next iteration begins there, those after it at their beginning.

        Raises:
            TypeError: if it is no state.
            ValueError: if it is of a stream with another order; the message names what differs.
        """
        self._check_order(state)
        epoch, taken = (check_whole_number(f"{name} of the state", state.get(name), 0) for name in ("epoch", "taken"))
        self._epoch.fill_(epoch)
        self._taken, self._resumed = taken, dict(state)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if not self._given_rank and _is_distributed() and _current_rank() != (self._rank, self._world_size):
            raise ValueError("the stream was made before torch.distributed was initialised; make it afterwards")
        skip = self._taken = self._take_up()
        for block in self._blocks():
            rows = block[skip:]
            skip -= len(block) - len(rows)
            for row in self._held(rows):
                decoded = self._decode(row)
                self._taken += 1
                yield decoded

    def _take_up(self) -> int:
        """Return how many rows an earlier run has taken, once."""
        state, self._resumed = self._resumed, None
        if state is None or state["epoch"] != self.epoch:
            return 0
        # Only now is it sure which worker this is.
        self._check_order(state)
        taken: int = state["taken"]
        return taken

    def _order(self) -> dict[str, int]:
        """Return all that the order depends on besides the epoch."""
        worker, workers = _worker()
        return {
            "seed": self._seed,
            "shuffle": self._shuffle,
            "buffer_size": self._buffer_size,
            "total": len(self._records),
            "rank": self._rank,
            "world_size": self._world_size,
            "worker": worker,
            "workers": workers,
        }

    def _check_order(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise TypeError(f"a state is what state_dict returns, got {type(state).__name__}")
        wrong = [
            f"{name} was {state.get(name)} and is {value}"
            for name, value in self._order().items()
            if state.get(name) != value
        ]
        if wrong:
            raise ValueError(
                f"the state is of a stream in another order: {', '.join(wrong)}; make the stream as it was"
            )

    def _held(self, rows: Rows) -> Iterator[Row]:
        """Read rows together, hand them out in their order, and hold none longer than that."""
        held = dict(self._read(rows.tolist()))
        for position in range(len(rows)):
            yield held.pop(position)

    def _blocks(self) -> Iterator[Rows]:
        """Yield this worker's row numbers in order, as many at a time as are read together."""
        starts, stops = self._runs()
        worker, _ = _worker()
        for block, (first, last) in enumerate(_gathered(stops - starts, self._buffer_size if self._shuffle else 1)):
            rows = np.concatenate([np.arange(starts[run], stops[run]) for run in range(first, last)])
            if self._shuffle:
                seed = [self._seed, self.epoch, 1, self._rank, worker, block]
                rows = np.random.default_rng(seed).permutation(rows)
            yield rows

    def _runs(self) -> tuple[Rows, Rows]:
        """Return first and last row, exclusive, of the runs of rows that this worker reads, in order."""
        pieces = self._records.pieces()
        starts, sizes = pieces[:-1], np.diff(pieces)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self.epoch, 0]).permutation(len(sizes))
            starts, sizes = starts[order], sizes[order]
        worker, workers = _worker()
        start, stop = _part(0, len(self._records), self._rank, self._world_size)
        start, stop = _part(start, stop, worker, max(workers, 1))
        # Where each piece would begin if all lay behind each other in this order, and how much of it the part covers.
        begins = np.cumsum(sizes) - sizes
        firsts = starts + np.clip(start - begins, 0, sizes)
        lasts = starts + np.clip(stop - begins, 0, sizes)
        covered = lasts > firsts
        return firsts[covered], lasts[covered]


def _part(start: int, stop: int, index: int, count: int) -> tuple[int, int]:
    """Return the ``index``-th of ``count`` parts of a range that differ by one at most."""
    length = stop - start
    return start + length * index // count, start + length * (index + 1) // count


def _gathered(sizes: Rows, least: int) -> Iterator[tuple[int, int]]:
    """Cut sizes into runs of neighbours that add up to ``least`` or more; the last one may have less."""
    first, total = 0, 0
    for index, size in enumerate(sizes.tolist()):
        total += size
        if total >= least or index == len(sizes) - 1:
            yield first, index + 1
            first, total = index + 1, 0


def _worker() -> tuple[int, int]:
    """Return number and count of the ``DataLoader``'s workers; the count is 0 in the main process."""
    info = get_worker_info()
    return (0, 0) if info is None else (info.id, info.num_workers)


def _check_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None or world_size is None:
        raise ValueError(f"rank and world_size go together; got {rank} and {world_size}")
    rank, world_size = check_whole_number("rank", rank, 0), check_whole_number("world_size", world_size, 1)
    if rank >= world_size:
        raise ValueError(f"rank must be less than world_size, got {rank} of {world_size}")
    return rank, world_size


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _current_rank() -> tuple[int, int]:
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if _is_distributed() else (0, 1)
