"""Loss and accuracy over an epoch, kept on the device and summed over all processes when they are read."""

from __future__ import annotations

import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


def build_metrics(classes: int, topk: int, device: torch.device) -> MetricCollection:
    """Return ``loss``, ``top1`` and ``topk`` (of 5 by default), of shares from 0 to 1.

    Update with logits ``preds`` ``[B, classes]``, labels ``target`` ``[B]`` and the loss of each image, ``value``
    ``[B]``.
    """
    metrics = MetricCollection(
        {
            # Anything but "disable" would look at every loss, and so wait for the GPU at every step.
            "loss": MeanMetric(nan_strategy="disable"),
            "top1": MulticlassAccuracy(classes, average="micro", validate_args=False),
            "topk": MulticlassAccuracy(classes, top_k=min(topk, classes), average="micro", validate_args=False),
        },
        compute_groups=False,
    )
    return metrics.to(device)


def read(metrics: MetricCollection) -> dict[str, float]:
    """Return the values over all processes, each of which must call this."""
    return {name: float(value) for name, value in metrics.compute().items()}


def summed_state(metrics: MetricCollection) -> dict[str, dict[str, torch.Tensor]]:
    """Return what was counted in all processes, each of which must call this."""
    state = {}
    for name, metric in metrics.items():
        with metric.sync_context():
            state[name] = {key: torch.as_tensor(value).clone() for key, value in metric.metric_state.items()}
    return state


def restore_state(metrics: MetricCollection, state: dict[str, dict[str, torch.Tensor]]) -> None:
    """Go on counting from what :func:`summed_state` returned; in one process only."""
    for name, metric in metrics.items():
        for key, value in state[name].items():
            setattr(metric, key, value.to(metric.device))
        metric._update_count = 1  # else its first reading warns that nothing was counted
