"""Which sample comes when, and with which random augmentation: a function of seed, epoch and step alone.

Not of the number of processes, of workers, or of what came before, so that a run can be cut and continued anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from numpy.random import SeedSequence
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2


class Samples(Protocol):
    """Images or events, and labels, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]: ...


def seed_of(*numbers: int) -> int:
    """Mix numbers to a seed of 32 bits, all that PyTorch's generator on the CPU uses."""
    return int(SeedSequence(numbers).generate_state(1)[0])


class TrainingBatches(Sampler[list[int]]):
    """The batches of one process: its share of each batch of all processes, in a new order in every epoch.

    Samples are numbered over all epochs: ``epoch * samples + index``. The last batch of an epoch is what is left, cut
    to a multiple of the processes.

    Args:
        samples: how many there are.
        batch_size: of all processes together; a multiple of their number.
        seed: of the order.
        rank: which process, of how many.
        processes: how many.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1):
        if batch_size % processes:
            raise ValueError(
                f"a batch of {batch_size} cannot be shared by {processes} processes evenly; "
                f"take a --batch_size that is a multiple of {processes}"
            )
        if samples < processes:
            raise ValueError(f"{samples} training samples are too few for {processes} processes")
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = 0
        self.first_step = 0  #: where iteration starts

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return -(-(self.samples - self.samples % self.processes) // self.batch_size)

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, 0, self.epoch))
        order = torch.randperm(self.samples, generator=generator) + self.epoch * self.samples
        order = order[: self.samples - self.samples % self.processes]
        for batch in order.split(self.batch_size)[self.first_step :]:
            yield batch[self.rank :: self.processes].tolist()


class ValidationBatches(Sampler[list[int]]):
    """The batches of one process: every sample once, by one of the processes."""

    def __init__(self, samples: int, batch_size: int, rank: int = 0, processes: int = 1):
        self._indices = range(rank, samples, processes)
        self._size = max(1, batch_size // processes)

    def __len__(self) -> int:
        return -(-len(self._indices) // self._size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self._indices), self._size):
            yield list(self._indices[start : start + self._size])


class Augmented(Dataset[tuple[Any, int]]):
    """Samples with a random transform, seeded for each by its number in :class:`TrainingBatches`."""

    def __init__(self, samples: Samples, transform: v2.Transform, seed: int):
        self.samples = samples
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[Any, int]]:
        """Return the samples of a batch, read together where that can be."""
        indices = [number % len(self.samples) for number in numbers]
        read = getattr(self.samples, "__getitems__", None)
        samples = read(indices) if read is not None else [self.samples[index] for index in indices]
        return [(self._transformed(number, sample), int(label)) for number, (sample, label) in zip(numbers, samples)]

    def _transformed(self, number: int, sample: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone: torch.manual_seed would reset the GPU's too.
            torch.default_generator.manual_seed(seed_of(self.seed, 1, number))
            return self.transform(sample)
