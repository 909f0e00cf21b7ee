"""The average of a network: weights and statistics move, whole numbers are taken over."""

from __future__ import annotations

import torch

from i2e_triton.training.averaging import average
from i2e_triton.training.recipes import recipe
from tests.training.tiny import TinyNetwork


def test_the_average_takes_whole_numbers_over_as_they_are() -> None:
    network = TinyNetwork(recipe(None, "fake"))
    averaged = average(network, 0.75)
    for count in (1, 2):
        network.get_buffer("bn.num_batches_tracked").fill_(count)
        network.get_buffer("bn.running_mean").fill_(count)
        averaged.update_parameters(network)
    assert int(averaged.module.get_buffer("bn.num_batches_tracked")) == 2
    assert float(averaged.module.get_buffer("bn.running_mean")[0]) == 1.25
    assert torch.equal(averaged.module.get_buffer("i2e.candidates"), network.get_buffer("i2e.candidates"))
