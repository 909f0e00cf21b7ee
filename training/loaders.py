"""Loaders whose order is a function of seed, epoch and step alone, so that a run resumes anywhere.

Neither the number of processes nor of workers changes which samples form a batch and how they are augmented.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2


class Samples(Protocol):
    """Images or events, and labels, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]: ...


def seed_of(*numbers: int) -> int:
    """Mix numbers to a seed of 32 bits, all that PyTorch's CPU generator uses."""
    return int(SeedSequence(numbers).generate_state(1)[0])


class ResumableLoader:
    """Base class of loaders with a place: the epoch and the step of the next batch.

    Args:
        samples: number of samples.
        batch_size: samples per batch, over all processes together.
        seed: seed of the order.
        shuffle: a new order in every epoch; else the samples in order.
        rank: number of this process.
        processes: number of processes.

    Raises:
        ValueError: if the processes cannot share a batch, or there is no batch for each of them.
    """

    batch_sampler = None  #: PyTorch Lightning looks at it
    _identity = ("samples", "batch_size", "seed", "shuffle")  #: what must be equal for a state to be valid

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int,
        processes: int,
        drop_last: bool = False,
    ):
        if processes < 1 or not 0 <= rank < processes:
            raise ValueError(f"rank must be 0 to processes - 1, got rank {rank} of {processes} processes")
        if batch_size % processes:
            raise ValueError(f"batch_size must be a multiple of the {processes} processes, got {batch_size}")
        self.samples, self.batch_size, self.seed, self.shuffle = samples, batch_size, seed, shuffle
        self.rank, self.processes = rank, processes
        self.epoch = 0  #: epoch of the next batch
        self.step = self._resume_at = 0
        self._share = batch_size // processes
        rows = len(self.rows(0))
        self._steps = rows // self._share if drop_last else -(-rows // self._share)
        if shuffle and self._steps == 0:
            raise ValueError(
                f"{samples} samples are too few for {processes} processes and a batch_size of {batch_size}"
            )

    @property
    def sampler(self) -> ResumableLoader:
        """The loader itself: PyTorch Lightning calls ``set_epoch`` of a loader's sampler."""
        return self

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._steps

    def batches(self, epoch: int, step: int) -> Iterable[Any]:
        """Return the batches of an epoch, from a step on."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the epoch, once from where :meth:`load_state_dict` says. The next epoch follows."""
        epoch, first = self.epoch, self._resume_at
        self.step, self._resume_at = first, 0
        for step, batch in enumerate(self.batches(epoch, first), first + 1):
            self.epoch, self.step = (epoch, step) if step < len(self) else (epoch + 1, 0)
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; a place within this epoch is kept."""
        if epoch != self.epoch:
            self.epoch, self.step, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the next batch, and the order to which it belongs."""
        return {name: getattr(self, name) for name in (*self._identity, "epoch", "step")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the place at which :meth:`state_dict` was called, with the same or another number of processes.

        Raises:
            ValueError: if the state belongs to other data or another order.
        """
        for name in self._identity:
            if state.get(name) != (value := getattr(self, name)):
                raise ValueError(f"the state has another {name}: {state.get(name)}; this loader's is {value}")
        epoch, step = state["epoch"], state["step"]
        self.epoch, self.step = (epoch, step) if step < len(self) else (epoch + 1, 0)
        self._resume_at = self.step

    def rows(self, epoch: int) -> Tensor:
        """Return the row numbers of an epoch for this process. A shuffled epoch has equally many for each process."""
        rows = torch.arange(self.samples)
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed_of(self.seed, 0, epoch))
            rows = torch.randperm(self.samples, generator=generator)
            rows = rows[: self.samples - self.samples % self.processes]
        return rows[self.rank :: self.processes]


class SampleLoader(ResumableLoader):
    """Batches of samples, transformed in worker processes. Dense events become ``[T, B, 2, H, W]``.

    Args:
        samples: images (PIL or uint8 ``[C, H, W]``) or events, with labels.
        transform: applied to each sample. In a shuffled loader its draws depend only on seed, epoch and row.
        batch_size: samples per batch, over all processes together.
        seed: seed of the order and of the transform.
        shuffle: a new order in every epoch; else the samples in order.
        rank: number of this process.
        processes: number of processes.
        workers: worker processes; 0 uses this process.
        pin_memory: whether batches are in pinned memory.

    Raises:
        ValueError: if the processes cannot share a batch, or there are fewer samples than processes.
    """

    def __init__(
        self,
        samples: Samples,
        transform: v2.Transform,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        processes: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
    ):
        super().__init__(len(samples), batch_size, seed, shuffle, rank, processes)
        self._loader = DataLoader(
            _Transformed(samples, transform, seed if shuffle else None),
            batch_sampler=_Numbers(self),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            collate_fn=_stacked,
            # The seeds of the workers: not drawn from the global generator, which training uses.
            generator=torch.Generator().manual_seed(seed + rank),
        )

    def batches(self, epoch: int, step: int) -> Iterable[Any]:
        """Return the batches of an epoch, from a step on."""
        return self._loader  # its batch sampler reads the place

    def numbers(self) -> list[list[int]]:
        """Return the samples of the remaining batches, numbered over all epochs."""
        numbers = self.rows(self.epoch) + self.epoch * self.samples
        return [batch.tolist() for batch in numbers.split(self._share)[self.step :]]


class _Numbers:
    def __init__(self, loader: SampleLoader):
        self._loader = loader

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._loader.numbers())


class _Transformed(Dataset[tuple[Any, int]]):
    """Samples by their number over all epochs, with a transform whose generator is seeded by that number."""

    def __init__(self, samples: Samples, transform: v2.Transform, seed: int | None):
        self._samples, self._transform, self._seed = samples, transform, seed

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[Any, int]]:
        indices = [number % len(self._samples) for number in numbers]
        read = getattr(self._samples, "__getitems__", None)  # reads the rows of a batch together
        samples = read(indices) if read is not None else [self._samples[index] for index in indices]
        return [(self._transformed(number, sample), int(label)) for number, (sample, label) in zip(numbers, samples)]

    def _transformed(self, number: int, sample: Any) -> Any:
        if self._seed is None:
            return self._transform(sample)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self._seed, 1, number))  # torch.manual_seed resets GPUs too
            return self._transform(sample)


def _stacked(samples: list[tuple[Any, int]]) -> tuple[Tensor, Tensor]:
    inputs, labels = default_collate(samples)
    return inputs.transpose(0, 1).contiguous() if inputs.dim() == 5 else inputs, labels
