"""Rates and operations as counted by hand, and by PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from i2e_triton import convert, event_rate
from i2e_triton.training.activity import record_activity
from i2e_triton.training.models import build_model
from tests.training.networks import enliven, sample_images


class Small(nn.Module):
    """Events ``[T, B, 2, 6, 5]`` to logits ``[T, B, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layer.Conv2d(2, 4, 3, step_mode="m")
        self.lif = neuron.LIFNode(decay_input=False, step_mode="m")
        self.fc = layer.Linear(4 * 4 * 3, 3, step_mode="m")
        self.spikes: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.spikes.append(self.lif(self.conv(x) * 3))
        functional.reset_net(self)
        return self.fc(self.spikes[-1].flatten(2))


def made_up_events(generator: torch.Generator) -> Tensor:
    return (torch.rand(7, 3, 2, 6, 5, generator=generator) < 0.3).float()


@torch.no_grad()
def test_rates_over_batches(generator: torch.Generator) -> None:
    network = Small()
    batches = [made_up_events(generator), made_up_events(generator)[:, :1]]
    with record_activity(network) as activity:
        for batch in batches:
            network(batch)
    network(made_up_events(generator) + 1)  # no longer recorded
    spikes = sum(int(spikes.sum()) for spikes in network.spikes[:2])
    assert list(activity.neurons) == ["lif"]
    assert 0 < activity.neurons["lif"].rate == spikes / (7 * 4 * 4 * 4 * 3) < 1
    assert list(activity.weighted) == ["conv", "fc"]
    assert activity.input_rate == int(sum(batch.sum() for batch in batches)) / (7 * 4 * 2 * 6 * 5)
    assert activity.weighted["fc"].inputs.rate == activity.neurons["lif"].rate
    assert [entry.inputs.timesteps for entry in activity.weighted.values()] == [7, 7]
    assert [entry.macs for entry in activity.weighted.values()] == [4 * 4 * 3 * 2 * 9, 4 * 4 * 3 * 3]


@torch.no_grad()
def test_counts_of_events_and_other_numbers(generator: torch.Generator) -> None:
    network = Small()
    counts = torch.randint(0, 4, (7, 3, 2, 6, 5), generator=generator).float()
    with record_activity(network) as activity:
        network(counts)
    seen = activity.weighted["conv"].inputs
    assert seen.counts_events
    assert (seen.rate, seen.mean) == (int((counts > 0).sum()) / counts.numel(), int(counts.sum()) / counts.numel())
    for other in (counts / 2, -counts):
        with record_activity(network) as activity:
            network(counts)
            network(other)
        assert not activity.weighted["conv"].inputs.counts_events
        assert activity.weighted["fc"].inputs.counts_events


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_whole_network(name: str, generator: torch.Generator) -> None:
    network = build_model(name, 10, ratio=0.07, timesteps=2)
    enliven(network, generator)
    images = sample_images(generator)
    with record_activity(network) as activity, FlopCounterMode(display=False) as flops:
        network(images)
    assert 2 * 2 * 2 * sum(entry.macs for entry in activity.weighted.values()) == flops.get_total_flops()
    assert activity.input_rate == float(event_rate(convert(images, 0.07, timesteps=2)))
    assert len(activity.neurons) == len(activity.weighted) - 1  # one before every layer but the first
    assert all(entry.inputs.counts_events for entry in activity.weighted.values())
    assert all(0 < count.rate < 1 for count in activity.neurons.values())
    before = dict(zip(list(activity.weighted)[1:], activity.neurons.values()))
    assert all(activity.weighted[name].inputs.rate == count.rate for name, count in before.items())
