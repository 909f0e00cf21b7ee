"""Images and events to train on, each behind the same two methods: a length, and a sample and its label by index."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from i2e_triton.sources import Row, Source, prepare
from i2e_triton.training.sampling import seed_of

#: Images of a source up to this size are read once and kept, as they are encoded.
KEPT_BYTES = 2 * 2**30


class SourceImages:
    """The images of a source, decoded when they are asked for."""

    def __init__(self, source: Source):
        self._source = source
        self._rows = list(source.read(0, len(source))) if source.nbytes() <= KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self._read(index) if self._rows is None else self._rows[index]
        return prepare(row.image, None), row.label

    def _read(self, index: int) -> Row:
        (row,) = self._source.read(index, index + 1)
        return row


class FakeImages:
    """Gratings whose direction tells the class, with noise, made up on the spot: uint8 ``[3, size, size]``.

    Directions lie within a quarter turn, so that a mirrored image is none of another class.
    """

    def __init__(self, samples: int, classes: int, size: int, seed: int):
        self._samples = samples
        self._classes = classes
        self._seed = seed
        self._axis = torch.linspace(-1, 1, size)

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = index % self._classes
        generator = torch.Generator().manual_seed(seed_of(self._seed, index))
        angle = math.pi / 2 * label / max(1, self._classes - 1)
        phase = 2 * math.pi * torch.rand((), generator=generator)
        along = math.cos(angle) * self._axis + math.sin(angle) * self._axis[:, None]
        waves = 128 + 90 * torch.sin(4 * math.pi * along + phase)
        noise = 10 * torch.randn(3, *waves.shape, generator=generator)
        return (waves + noise).clamp(0, 255).to(torch.uint8), label


class Digits:
    """scikit-learn's handwritten digits, uint8 ``[1, 8, 8]``: every fifth one for validation."""

    def __init__(self, validation: bool):
        digits = load_digits()
        chosen = (np.arange(len(digits.target)) % 5 == 0) == validation
        grey = digits.images[chosen] * (255 / 16)
        self.images = torch.from_numpy(grey.round().astype(np.uint8))[:, None]
        self.labels = torch.from_numpy(digits.target[chosen].astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def split_each_class(labels: Sequence[int], share: float = 0.9) -> tuple[list[int], list[int]]:
    """Split indices as SpikingJelly does: of each class the first ones for training, the rest for validation."""
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        by_class.setdefault(label, []).append(index)
    train, validation = [], []
    for label in sorted(by_class):
        cut = math.ceil(len(by_class[label]) * share)
        train += by_class[label][:cut]
        validation += by_class[label][cut:]
    return train, validation
