"""The spike generator for snnTorch."""

from __future__ import annotations

import pytest
import snntorch
import torch
from snntorch import spikegen
from torch import Tensor

from i2e_triton import convert
from i2e_triton.integrations.snntorch import i2e
from tests.samples import assert_same_events, photograph


@pytest.fixture
def images() -> Tensor:
    return torch.stack([photograph(name)[:, :40, :56] for name in ("astronaut", "coffee")]).float() / 255


def test_spikes_are_events_with_the_time_first(images: Tensor) -> None:
    spikes = i2e(images, num_steps=5, ratio=0.07)
    assert_same_events(spikes, convert(images, 0.07, timesteps=5))
    rate = spikegen.rate(images, num_steps=5)
    assert (spikes.shape[:2], spikes.dtype) == (rate.shape[:2], rate.dtype)
    assert_same_events(i2e(images[0]), convert(images[0]))
    assert i2e(images, dtype=torch.bool).dtype == torch.bool


def test_random_spikes_differ_between_images_and_calls(images: Tensor) -> None:
    torch.manual_seed(0)
    same = images[[0, 0]]
    first, second = i2e(same, random=True), i2e(same, random=True)
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, second)
    assert i2e(images[0], num_steps=3, random=True).shape == (3, 2, 40, 56)


def test_leaky_neurons_take_the_spikes(images: Tensor) -> None:
    neuron = snntorch.Leaky(beta=0.9)
    membrane = neuron.init_leaky()
    output = []
    for x in i2e(images):
        spikes, membrane = neuron(x, membrane)
        output.append(spikes)
    expected = spikegen.rate(torch.zeros(2, 2, 40, 56), num_steps=8)
    assert torch.stack(output).shape == expected.shape
    assert 0 < torch.stack(output).mean() < 1


def test_wrong_number_of_steps_raises_error(images: Tensor) -> None:
    with pytest.raises(ValueError, match="timesteps must be 1 to 8, got 25"):
        i2e(images, num_steps=25)
