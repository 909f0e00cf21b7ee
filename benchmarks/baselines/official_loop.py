"""The official training loop on one device: a rewrite with the structure of the official scripts.

Source: github.com/Ruichen0424/I2E, the training scripts of baseline 1 and 2 (Ma et al., AAAI 2026). Loaders return
float32 images. The conversion is a convolution inside the network, under autocast, with a new random weight at each
step. Training uses float16 with gradient scaling and channels-first tensors. The loss is read at each step; the
accuracies stay on the device.

DataParallel and the progress bar are left out, because they only add time on one device. The official scripts use
SpikingJelly's CuPy neurons. Here the caller passes the network, so that all loops can use the same neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from benchmarks.baselines import official
from i2e_triton import canonical_shifts, random_shifts
from i2e_triton.shifts import convolution_weight


class Conversion(nn.Module):
    """The conversion inside a network: random selection in training mode, canonical motion vectors otherwise.

    Args:
        ratio: threshold as a fraction of the value range of each image.
    """

    weight: Tensor

    def __init__(self, ratio: float):
        super().__init__()
        self.ratio = ratio
        self.register_buffer("weight", official.motion_weight())

    def forward(self, images: Tensor) -> Tensor:
        """Convert float32 images ``[B, 3, H, W]`` to float32 events ``[8, B, 2, H, W]``."""
        shifts = random_shifts(device="cpu") if self.training else canonical_shifts(device="cpu")
        self.weight.copy_(convolution_weight(shifts), non_blocking=True)
        return official.convert(images, self.weight, self.ratio)


class Images(Dataset[tuple[Tensor, int]]):
    """Images with the augmentation of baseline 2 for CIFAR, as float32 ``[3, 128, 128]``, and their labels.

    Args:
        samples: a data set of uint8 images ``[3, 32, 32]`` and their labels.
    """

    _transform = v2.Compose(
        [
            v2.Pad(4, padding_mode="edge"),
            v2.RandomCrop(32),
            v2.Resize((128, 128)),
            v2.RandomHorizontalFlip(0.5),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    def __init__(self, samples: Any):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self._samples[index]
        return self._transform(image), label


class OfficialLoop:
    """The official training loop, called once per step.

    Args:
        network: takes float32 images ``[B, 3, H, W]`` and contains a :class:`Conversion`.
        optimizer: updates the parameters of the network.
        label_smoothing: label smoothing of the loss.
        precision: dtype of autocast; None turns autocast off. The official scripts use float16.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        label_smoothing: float,
        precision: torch.dtype | None,
    ):
        self.network = network
        self.optimizer = optimizer
        self.precision = precision
        self._device = next(network.parameters()).device
        self._label_smoothing = label_smoothing
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=precision is not None)
        self.totals: list[Tensor | float] = [0.0, 0.0, 0.0]  # of the loss, and of the top-1 and top-5 accuracies

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Train on a batch in host memory and return its loss."""
        images = images.to(self._device, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, self.precision, enabled=self.precision is not None):
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=self._label_smoothing)
        value = loss.item()
        means = (value, *accuracy(logits, labels, (1, 5)))
        self.totals = [total + len(images) * mean for total, mean in zip(self.totals, means)]
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """Return the top-k accuracy in percent for each k in ``ranks``, as timm does."""
    highest = logits.topk(max(ranks), dim=1).indices.t()
    correct = highest == labels
    return [correct[:rank].flatten().float().sum() * (100 / len(labels)) for rank in ranks]
