"""The estimate of energy, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import layer
from torch import nn

from i2e_triton.training.activity import record_activity
from i2e_triton.training.energy import estimate_energy
from i2e_triton.training.models import build_model
from tests.training.networks import enliven, sample_images


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
    first, second = energy.layers
    assert (first.name, first.acs, first.macs, first.ann_macs) == ("0", 4 * 3600 / 16, 0, 3600 * 3 // 2)
    assert (second.name, second.acs, second.macs, second.ann_macs) == ("1", 0.0, 4 * 600, 600)
    assert first.millijoules == pytest.approx(0.9e-9 * 900)
    assert second.millijoules == pytest.approx(4.6e-9 * 2400)
    assert energy.millijoules == pytest.approx(0.9e-9 * 900 + 4.6e-9 * 2400)
    assert energy.ann_millijoules == pytest.approx(4.6e-9 * (5400 + 600))


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
    assert all(entry.macs == 0 for entry in events.layers)
    assert [entry.name for entry in rgb.layers if entry.macs] == ["conv1"]
    assert rgb.layers[0].macs == 4 * 16 * 16 * 64 * 3 * 49
    assert events.ann_millijoules == pytest.approx(rgb.ann_millijoules)
    assert 0 < events.millijoules < events.ann_millijoules
