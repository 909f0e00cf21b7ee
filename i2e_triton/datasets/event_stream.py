"""An event data set as a stream. It shuffles rows, divides them over ranks and workers, and can be resumed."""

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
from i2e_triton.datasets.decoding import RowDecoder
from i2e_triton.datasets.location import Location
from i2e_triton.datasets.records import EventRow
from i2e_triton.datasets.split import EventSplit

Rows = npt.NDArray[np.int64]

# The third number of each seed: the order of the row groups, which all ranks share, and the order within a block.
_SEED_OF_ROW_GROUPS, _SEED_OF_ROWS = 0, 1


class EventStream(EventSplit, IterableDataset[tuple[Any, Any]]):
    """An iterable-style data set of events and labels that reads each row group once per epoch.

    Use it instead of :class:`EventDataset` for shuffled training on files with large row groups.

    In each epoch, the row groups of all shards are shuffled, and their rows are divided evenly over the ranks, then
    over the workers of each rank's ``DataLoader``. Every row is returned once per epoch. The share of a worker may
    start and stop inside a row group, so the shares of two ranks, and of two workers of a rank, differ by at most one
    row. Each worker reads at least ``buffer_size`` rows of its share at a time and shuffles them. The order depends
    only on ``seed``, the epoch, ``buffer_size``, the ranks and the workers. As with ``DistributedSampler``, it changes
    only when :meth:`set_epoch` is called. Persistent workers see the new epoch too::

        stream = EventStream(folder, "train", packed=True)
        loader = DataLoader(stream, batch_size=128, num_workers=4, pin_memory=True)
        for epoch in range(stream.epoch, epochs):
            stream.set_epoch(epoch)
            for packed, labels in loader:
                events = i2e_triton.unpack(packed.to("cuda", non_blocking=True), stream.timesteps)  # [T, B, 2, H, W]

    :meth:`state_dict` and :meth:`load_state_dict` resume after the last row that was returned. This works with
    ``num_workers=0``, and with workers in torchdata's ``StatefulDataLoader``.

    The last batch of each worker may be smaller. With DDP, every rank must take the same number of steps. Stop each
    rank after the number of full batches that every rank has::

        workers = max(1, num_workers)
        steps = workers * (stream.rows // workers // batch_size)
        for packed, labels in itertools.islice(loader, steps):
            ...

    Args:
        location: as for :class:`EventDataset`.
        split: name of the split. Default: None, which is valid if there is only one split.
        shuffle: shuffle the rows. If False, rows are in the order of the files, and each worker reads one contiguous
            range of rows. Default: True.
        buffer_size: row groups are read until they have at least this number of rows, which are then shuffled. Each
            worker keeps these rows in memory, not decoded. Default: 2048.
        seed: seed of the order, 0 or more. It must be the same on all ranks. Default: 0.
        rank: rank of this process, 0 to ``world_size - 1``. Pass it together with ``world_size``. Default: the rank of
            ``torch.distributed`` if it is initialized, otherwise 0.
        world_size: number of processes. Default: the world size of ``torch.distributed`` if it is initialized,
            otherwise 1.
        packed: return packed events and ignore ``dtype``. Default: False.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        layout: order of the dimensions of dense events: ``"TCHW"``, ``"CTHW"`` or ``"CHWT"``. Default: ``"TCHW"``.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.

    Raises:
        TypeError: if ``buffer_size``, ``seed``, ``rank`` or ``world_size`` is not an integer.
        ValueError: if one of these is out of range, or only one of ``rank`` and ``world_size`` is passed. All errors of
            :class:`EventDataset` are raised as well.
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
        layout: str = "TCHW",
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__(location, split, RowDecoder(packed, dtype, layout, transform, target_transform))
        self._shuffle = shuffle
        self._buffer_size = check_integer("buffer_size", buffer_size, 1)
        self._seed = check_integer("seed", seed, 0)
        self._rank_was_passed = rank is not None or world_size is not None
        if self._rank_was_passed:
            self._rank, self._world_size = _check_rank(rank, world_size)
        else:
            self._rank, self._world_size = _rank_and_world_size()
        # In shared memory: a persistent worker keeps its copy of the stream, but must see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._rows_returned = 0
        self._loaded_state: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that determines the order."""
        return int(self._epoch)

    @property
    def rows(self) -> int:
        """Smallest number of rows of any rank in an epoch. A rank has this number of rows or one more."""
        return len(self._records) // self._world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order. Call it on every rank before an epoch.

        Raises:
            TypeError: if ``epoch`` is not an integer.
            ValueError: if ``epoch`` is negative.
        """
        epoch = check_integer("epoch", epoch, 0)
        if epoch != self.epoch:
            self._rows_returned = 0
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the current position: a dict of integers and bools for ``torch.save`` or JSON."""
        return {**self._order(), "epoch": self.epoch, "taken": self._rows_returned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start the next iteration after the last row that was returned when ``state`` was saved.

        The iterations after it start at the first row. The epoch becomes that of the state.

        Raises:
            TypeError: if ``state`` is not a dict that :meth:`state_dict` returned.
            ValueError: if a value of the state is negative, or the state is from a stream with another order. The
                message names the arguments that differ.
        """
        self._check_order(state)
        epoch, taken = (check_integer(f"{name} of the state", state.get(name), 0) for name in ("epoch", "taken"))
        self._epoch.fill_(epoch)
        self._rows_returned, self._loaded_state = taken, dict(state)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if not self._rank_was_passed and _is_distributed() and _rank_and_world_size() != (self._rank, self._world_size):
            raise ValueError("the stream was created before torch.distributed was initialized; create it afterwards")
        skip = self._rows_returned = self._rows_to_skip()
        for block in self._blocks():
            rows = block[skip:]
            skip -= len(block) - len(rows)
            for row in self._in_order(rows):
                (decoded,) = self._decode([row])
                self._rows_returned += 1
                yield decoded

    def _rows_to_skip(self) -> int:
        """Return the number of rows to skip in this iteration, and forget the loaded state."""
        state, self._loaded_state = self._loaded_state, None
        if state is None or state["epoch"] != self.epoch:
            return 0
        # load_state_dict may run in the main process. Only the worker knows its own number, so check again.
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
            f"{name} is {state.get(name)} in the state and {value} in the stream"
            for name, value in self._order().items()
            if state.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"the state is from a stream with another order: {', '.join(differences)}; use the same data set, "
                "arguments, ranks and workers"
            )

    def _in_order(self, rows: Rows) -> Iterator[EventRow]:
        """Yield the rows in the given order. They are read in one call, and each one is freed after it is used."""
        read = dict(self._read(rows.tolist()))
        for position in range(len(rows)):
            yield read.pop(position)

    def _blocks(self) -> Iterator[Rows]:
        """Yield the row numbers of this worker in order, in blocks that are read together."""
        starts, stops = self._ranges()
        worker, _ = _worker()
        blocks = _consecutive_groups(stops - starts, self._buffer_size if self._shuffle else 1)
        for block, (first, stop) in enumerate(blocks):
            rows = np.concatenate([np.arange(starts[i], stops[i]) for i in range(first, stop)])
            if self._shuffle:
                seed = [self._seed, self.epoch, _SEED_OF_ROWS, self._rank, worker, block]
                rows = np.random.default_rng(seed).permutation(rows)
            yield rows

    def _ranges(self) -> tuple[Rows, Rows]:
        """Return start and stop (exclusive) of the ranges of rows that this worker reads, in order."""
        offsets = self._records.group_offsets()
        starts, sizes = offsets[:-1], np.diff(offsets)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self.epoch, _SEED_OF_ROW_GROUPS]).permutation(len(sizes))
            starts, sizes = starts[order], sizes[order]
        worker, workers = _worker()
        start, stop = _share(0, len(self._records), self._rank, self._world_size)
        start, stop = _share(start, stop, worker, max(workers, 1))
        # Cut each row group to the rows of this worker: those at positions start to stop of the order.
        positions = np.cumsum(sizes) - sizes
        range_starts = starts + np.clip(start - positions, 0, sizes)
        range_stops = starts + np.clip(stop - positions, 0, sizes)
        not_empty = range_stops > range_starts
        return range_starts[not_empty], range_stops[not_empty]


def _share(start: int, stop: int, index: int, count: int) -> tuple[int, int]:
    """Return start and stop of the ``index``-th of ``count`` shares of a range. Sizes differ by at most one."""
    length = stop - start
    return start + length * index // count, start + length * (index + 1) // count


def _consecutive_groups(sizes: Rows, minimum: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` of consecutive ``sizes`` that sum to at least ``minimum``. The last sum may be less."""
    first, total = 0, 0
    for index, size in enumerate(sizes.tolist()):
        total += size
        if total >= minimum or index == len(sizes) - 1:
            yield first, index + 1
            first, total = index + 1, 0


def _worker() -> tuple[int, int]:
    """Return the worker number and the number of workers of the ``DataLoader``, or ``(0, 0)`` in the main process."""
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


def _rank_and_world_size() -> tuple[int, int]:
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if _is_distributed() else (0, 1)
