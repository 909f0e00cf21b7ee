"""Loss, accuracies and confusion matrix of a network on a set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from i2e_triton.training.metrics import build_metrics


class LabelError(ValueError):
    """A label is none of the classes; the message says what to change."""


@dataclass(frozen=True)
class Evaluation:
    """What a network reached.

    Attributes:
        loss: mean cross-entropy of the images, without label smoothing.
        top1: share of images whose class has the largest logit, 0 to 1.
        topk: share of images whose class is among the k largest logits, or among all of fewer classes.
        confusion: int64 ``[classes, classes]`` on the CPU: images of a row's class taken for a column's.
    """

    loss: float
    top1: float
    topk: float
    confusion: Tensor

    @property
    def images(self) -> int:
        """How many images were seen."""
        return int(self.confusion.sum())


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    *,
    topk: int = 5,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> Evaluation:
    """Evaluate a network; it is put into evaluation mode, and back.

    Where processes train together, each with its share of the set, all of them get the result of the whole set.

    Args:
        model: takes a batch and returns logits ``[B, num_classes]``; on ``device``.
        batches: images or events as the network takes them, and labels ``[B]``; a class is a whole number from 0.
        num_classes: number of classes.
        topk: how many of the largest logits count as well.
        device: where the network is.
        autocast: bfloat16 or float16 for automatic mixed precision.

    Raises:
        LabelError: if a label is none of the classes.
        ValueError: if there are no images, or logits do not fit ``num_classes``.
    """
    device = torch.device(device)
    counts = build_metrics(num_classes, topk, device)
    counts.add_metrics({"confusion": _Confusion(num_classes).to(device)})
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            for inputs, labels in batches:
                check_labels(labels, num_classes)
                logits = model(inputs.to(device, non_blocking=True)).float()
                _check_logits(logits, num_classes)
                labels = labels.to(device, non_blocking=True)
                losses = F.cross_entropy(logits, labels, reduction="none")
                counts.update(preds=logits, target=labels, value=losses)
    finally:
        model.train(training)
    values = counts.compute()
    confusion = values.pop("confusion").cpu()
    if not confusion.any():
        raise ValueError("there is nothing to evaluate: the set holds no image")
    return Evaluation(**{name: float(value) for name, value in values.items()}, confusion=confusion)


class _Confusion(Metric):
    """A confusion matrix; torchmetrics' takes 8 bytes a cell for each image of a batch in deterministic mode."""

    counts: Tensor

    def __init__(self, classes: int):
        super().__init__()
        self._classes = classes
        self.add_state("counts", torch.zeros(classes**2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        cells = target * self._classes + preds.argmax(1)
        self.counts.index_add_(0, cells, torch.ones_like(cells))

    def compute(self) -> Tensor:
        return self.counts.view(self._classes, self._classes)


def check_labels(labels: Tensor, classes: int) -> None:
    """Look at labels on the CPU, where it costs nothing; on a GPU a wrong one ends the process without a word.

    Raises:
        LabelError: if one is none of the classes.
    """
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise LabelError(
            f"labels are {int(labels.min())} to {int(labels.max())}, the network has {classes} classes: 0 to "
            f"{classes - 1}; set --class_number, when training, to the number of classes of the data"
        )


def _check_logits(logits: Tensor, num_classes: int) -> None:
    if logits.shape[-1] != num_classes:
        raise ValueError(f"the network has {logits.shape[-1]} classes, the set {num_classes}")
