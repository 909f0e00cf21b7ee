"""A moving average of a network, which is what is validated and kept."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def average(network: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of weights and statistics; whole numbers are taken over as they are."""
    move = get_ema_multi_avg_fn(decay)

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            move(list(averaged), list(current), count)
        else:
            for old, new in zip(averaged, current):
                old.copy_(new)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
