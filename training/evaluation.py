"""Top-1, top-5 and confusion matrix of a network on a set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

_TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """What a network reached.

    Attributes:
        top1: share of images whose class has the largest logit, 0 to 1.
        top5: share of images whose class is among the five largest logits, or among all of fewer classes.
        confusion: int64 ``[classes, classes]`` on the CPU: images of a row's class taken for a column's.
    """

    top1: float
    top5: float
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
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> Evaluation:
    """Evaluate a network; it is put into evaluation mode, and back.

    Where processes train together, each with its share of the set, all of them get the result of the whole set.

    Args:
        model: takes a batch and returns logits ``[B, num_classes]``; on ``device``.
        batches: images or events, and labels ``[B]``; a class is a whole number from 0.
        num_classes: number of classes.
        device: where the network is.
        autocast: bfloat16 or float16 for automatic mixed precision.

    Raises:
        ValueError: if there are no images, or labels or logits do not fit ``num_classes``.
    """
    device = torch.device(device)
    metrics = _metrics(num_classes).to(device)
    training = model.training
    model.eval()
    seen = False
    try:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            for inputs, labels in batches:
                _check_labels(labels, num_classes)
                logits = model(inputs.to(device, non_blocking=True))
                _check_logits(logits, num_classes)
                metrics.update(logits.float(), labels.to(device, non_blocking=True))
                seen = True
    finally:
        model.train(training)
    if not seen:
        raise ValueError("there is nothing to evaluate: the set holds no batch")
    values = metrics.compute()
    return Evaluation(float(values["top1"]), float(values["top5"]), values["confusion"].cpu())


def _metrics(num_classes: int) -> MetricCollection:
    # Checking each batch would wait for the device; _check_labels looks at labels where they come from.
    def accuracy(top_k: int) -> MulticlassAccuracy:
        return MulticlassAccuracy(num_classes, top_k=min(top_k, num_classes), average="micro", validate_args=False)

    confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
    return MetricCollection({"top1": accuracy(1), "top5": accuracy(_TOP), "confusion": confusion}, compute_groups=False)


def _check_labels(labels: Tensor, num_classes: int) -> None:
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels must be 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}: "
            "the set has other classes than the network"
        )


def _check_logits(logits: Tensor, num_classes: int) -> None:
    if logits.shape[-1] != num_classes:
        raise ValueError(f"the network has {logits.shape[-1]} classes, the set {num_classes}")
