"""An event data set as a stream that is shuffled, divided over ranks and workers, and can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from i2e_triton.checks import check_integer
from i2e_triton.datasets.location import Location
from i2e_triton.datasets.records import EventRow
from i2e_triton.datasets.split import EventSplit

Rows = npt.NDArray[np.int64]


class EventStream(EventSplit, IterableDataset[tuple[Any, Any]]):
    """An iterable-style data set of events and labels that reads each row group once per epoch.

    Use it instead of :class:`EventDataset` for shuffled training on files with large row groups.

    In each epoch, the row groups of all shards are shuffled and divided into equal parts over the ranks, and within a
    rank over the workers of its ``DataLoader``. A part may begin and end within a file: every row is returned once, and
    the parts differ by at most one row. Within a part, ``buffer_size`` rows at a time are read and shuffled. The order
    depends only on ``seed``, the epoch, the ranks and the workers. As with ``DistributedSampler``, it stays the same
    until :meth:`set_epoch` is called, which also reaches persistent workers::

        stream = EventStream(folder, "train", packed=True)
        loader = DataLoader(stream, batch_size=128, num_workers=4, pin_memory=True)
        for epoch in range(stream.epoch, epochs):
            stream.set_epoch(epoch)
            for packed, labels in loader:
                events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), stream.timesteps)  # [T, B, 2, H, W]

    :meth:`state_dict` and :meth:`load_state_dict` resume after the last row that was returned. This works with
    ``num_workers=0``, and with workers in torchdata's ``StatefulDataLoader``.

    The last batch of each worker may be smaller. With DDP, every rank must take the same number of steps: every rank
    has at least ``workers * (stream.rows // workers // batch_size)`` full batches, so take this number with
    ``itertools.islice``.

    Args:
        location: as for :class:`EventDataset`.
        split: name of the split. Default: None, if there is only one.
        shuffle: shuffle the rows. Otherwise, rows are in the order of the files, and each part is a range of rows.
            Default: True.
        buffer_size: minimum number of rows that are shuffled together. Each worker holds this number of records, not
            yet decoded. Default: 2048.
        seed: seed of the order, 0 or more, the same on all ranks. Default: 0.
        rank: number of this process. Pass it together with ``world_size``. Default: the rank of ``torch.distributed``
            if it is initialized, otherwise 0.
        world_size: number of processes. Default: the world size of ``torch.distributed`` if it is initialized,
            otherwise 1.
        packed: return packed events and ignore ``dtype``. Default: False.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.

    Raises:
        TypeError: if ``buffer_size``, ``seed``, ``rank`` or ``world_size`` is not an integer.
        ValueError: if one of them is out of range. All errors of :class:`EventDataset` are raised as well.
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
        self._buffer_size = check_integer("buffer_size", buffer_size, 1)
        self._seed = check_integer("seed", seed, 0)
        self._given_rank = rank is not None or world_size is not None
        self._rank, self._world_size = _check_rank(rank, world_size) if self._given_rank else _current_rank()
        # In shared memory, because persistent workers keep their copy of the stream.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._rows_returned = 0
        self._loaded_state: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that determines the order."""
        return int(self._epoch)

    @property
    def rows(self) -> int:
        """Number of rows of a rank in an epoch, over all its workers. Some ranks have one more."""
        return len(self._records) // self._world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order. Call it on every rank before an epoch.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        epoch = check_integer("epoch", epoch, 0)
        if epoch != self.epoch:
            self._rows_returned = 0
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the current position: a dict of integers and bools for ``torch.save`` or JSON."""
        return {**self._order(), "epoch": self.epoch, "taken": self._rows_returned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume at the position of :meth:`state_dict`. Only the next iteration starts there.

        Raises:
            TypeError: if it is not a state.
            ValueError: if the state is from a stream with another order. The message names what differs.
        """
        self._check_order(state)
        epoch, taken = (check_integer(f"{name} of the state", state.get(name), 0) for name in ("epoch", "taken"))
        self._epoch.fill_(epoch)
        self._rows_returned, self._loaded_state = taken, dict(state)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if not self._given_rank and _is_distributed() and _current_rank() != (self._rank, self._world_size):
            raise ValueError("the stream was created before torch.distributed was initialized; create it afterwards")
        skip = self._rows_returned = self._rows_to_skip()
        for block in self._blocks():
            rows = block[skip:]
            skip -= len(block) - len(rows)
            for row in self._in_order(rows):
                decoded = self._decode(row)
                self._rows_returned += 1
                yield decoded

    def _rows_to_skip(self) -> int:
        """Return the number of rows to skip in this iteration, and forget the loaded state."""
        state, self._loaded_state = self._loaded_state, None
        if state is None or state["epoch"] != self.epoch:
            return 0
        # The worker number is known only here.
        self._check_order(state)
        taken: int = state["taken"]
        return taken

    def _order(self) -> dict[str, int]:
        """Return everything that the order depends on, except the epoch."""
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
            raise TypeError(f"state must be the dict that state_dict returns, got {type(state).__name__}")
        differences = [
            f"{name} was {state.get(name)} and is {value}"
            for name, value in self._order().items()
            if state.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"the state is from a stream with another order: {', '.join(differences)}; use the same arguments"
            )

    def _in_order(self, rows: Rows) -> Iterator[EventRow]:
        """Read rows together, yield them in the given order, and free each one after it is used."""
        read = dict(self._read(rows.tolist()))
        for position in range(len(rows)):
            yield read.pop(position)

    def _blocks(self) -> Iterator[Rows]:
        """Yield the row numbers of this worker in order, in blocks that are read together."""
        starts, stops = self._ranges()
        worker, _ = _worker()
        for block, (first, last) in enumerate(_merged(stops - starts, self._buffer_size if self._shuffle else 1)):
            rows = np.concatenate([np.arange(starts[i], stops[i]) for i in range(first, last)])
            if self._shuffle:
                seed = [self._seed, self.epoch, 1, self._rank, worker, block]
                rows = np.random.default_rng(seed).permutation(rows)
            yield rows

    def _ranges(self) -> tuple[Rows, Rows]:
        """Return start and stop (exclusive) of the ranges of rows that this worker reads, in order."""
        offsets = self._records.group_offsets()
        starts, sizes = offsets[:-1], np.diff(offsets)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self.epoch, 0]).permutation(len(sizes))
            starts, sizes = starts[order], sizes[order]
        worker, workers = _worker()
        start, stop = _part(0, len(self._records), self._rank, self._world_size)
        start, stop = _part(start, stop, worker, max(workers, 1))
        # Position of each row group in the shuffled order, and the range of it that belongs to this worker's part.
        positions = np.cumsum(sizes) - sizes
        firsts = starts + np.clip(start - positions, 0, sizes)
        lasts = starts + np.clip(stop - positions, 0, sizes)
        not_empty = lasts > firsts
        return firsts[not_empty], lasts[not_empty]


def _part(start: int, stop: int, index: int, count: int) -> tuple[int, int]:
    """Return the ``index``-th of ``count`` parts of a range. The parts differ by at most one in size."""
    length = stop - start
    return start + length * index // count, start + length * (index + 1) // count


def _merged(sizes: Rows, least: int) -> Iterator[tuple[int, int]]:
    """Merge neighbours until their sizes add up to ``least``, and yield start and stop. The last sum may be smaller."""
    first, total = 0, 0
    for index, size in enumerate(sizes.tolist()):
        total += size
        if total >= least or index == len(sizes) - 1:
            yield first, index + 1
            first, total = index + 1, 0


def _worker() -> tuple[int, int]:
    """Return the worker number and the number of workers of the ``DataLoader``, ``(0, 0)`` in the main process."""
    info = get_worker_info()
    return (0, 0) if info is None else (info.id, info.num_workers)


def _check_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None or world_size is None:
        raise ValueError(f"pass rank and world_size together, got {rank} and {world_size}")
    rank, world_size = check_integer("rank", rank, 0), check_integer("world_size", world_size, 1)
    if rank >= world_size:
        raise ValueError(f"rank must be less than world_size, got {rank} of {world_size}")
    return rank, world_size


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _current_rank() -> tuple[int, int]:
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if _is_distributed() else (0, 1)
