"""Rates, operations and energy, counted a second time."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from i2e_triton import convert, event_rate
from i2e_triton.training.activity import estimate_energy, record_activity
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


def network() -> nn.Sequential:
    """A first layer of 5 x 5 x 8 x 2 x 9 = 3,600 MACs, a second one of 5 x 5 x 3 x 8 = 600."""
    return nn.Sequential(layer.Conv2d(2, 8, 3, padding=1, step_mode="m"), layer.Conv2d(8, 3, 1, step_mode="m"))


@torch.no_grad()
def test_events_are_added_up_and_numbers_multiplied() -> None:
    events = torch.zeros(4, 2, 2, 5, 5)
    events[0, 0, 0, :2] = 1
    events[3, 1, 1, 4] = 3  # five pixels that count three events each: 25 in all, 1/16 of the 400 positions
    layers = network()
    with record_activity(layers) as activity:
        layers(events)
    energy = estimate_energy(activity)
    first, second = energy
    assert (first.name, first.acs, first.macs, first.ann_macs) == ("0", 4 * 3600 / 16, 0, 3600 * 3 // 2)
    assert (second.name, second.acs, second.macs, second.ann_macs) == ("1", 0.0, 4 * 600, 600)
    assert first.millijoules == pytest.approx(0.9e-9 * 900)
    assert second.millijoules == pytest.approx(4.6e-9 * 2400)
    assert first.ann_millijoules == pytest.approx(4.6e-9 * 5400)


@torch.no_grad()
def test_networks_that_see_events_and_images(generator: torch.Generator) -> None:
    images = sample_images(generator)
    energies = {}
    for seen in ("events", "rgb"):
        model = build_model("resnet18", 10, input=seen)  # type: ignore[arg-type]
        enliven(model, generator)
        with record_activity(model) as activity:
            model(images)
        energies[seen] = estimate_energy(activity)
    events, rgb = energies["events"], energies["rgb"]
    assert all(entry.macs == 0 for entry in events)
    assert [entry.name for entry in rgb if entry.macs] == ["conv1"]
    assert rgb[0].macs == 4 * 16 * 16 * 64 * 3 * 49
    without = [sum(layer.ann_millijoules for layer in layers) for layers in (events, rgb)]
    assert without[0] == pytest.approx(without[1])
    assert 0 < sum(layer.millijoules for layer in events) < without[0]
