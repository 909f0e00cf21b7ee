"""The ``state_dict`` of ``I2E``: one weight, which is compatible with the official module."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2e_triton import I2E, canonical_shifts
from i2e_triton.shifts import convolution_weight
from tests.samples import assert_same_events, canonical_events, events_of_each_candidate, noise


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return noise((3, 3, 12, 10), torch.uint8, generator)


class OfficialModule(nn.Module):
    """A module with the ``state_dict`` of the official module: a frozen parameter ``weight``."""

    def __init__(self, order: tuple[int, ...], kind: str = "parameter"):
        super().__init__()
        weight = convolution_weight(canonical_shifts(order))
        if kind == "buffer":
            self.register_buffer("weight", weight)
        else:
            self.register_parameter("weight", nn.Parameter(weight, requires_grad=kind == "convolution"))


def saved(module: nn.Module) -> dict[str, Any]:
    """Return the ``state_dict`` of a module after ``torch.save`` and ``torch.load``."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_state_is_one_weight() -> None:
    module = I2E(0.12, 3, timesteps=4)
    assert list(module.state_dict()) == ["weight"]
    weight = module.state_dict()["weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, convolution_weight(canonical_shifts(3)))
    assert weight.shape == (8, 1, 3, 3)
    assert list(module.parameters()) == []  # nothing to train


@pytest.mark.parametrize("kind", ["parameter", "buffer", "convolution"])
def test_official_checkpoint_sets_the_order(kind: str, images: Tensor, generator: torch.Generator) -> None:
    order = tuple(torch.randperm(8, generator=generator).tolist())
    module = I2E(0.12)
    assert (
        str(module.load_state_dict(saved(OfficialModule(order, kind)), strict=True))
        == "<All keys matched successfully>"
    )
    assert module.order == order
    assert_same_events(module.eval()(images), canonical_events(images, order=order))
    candidates = events_of_each_candidate(images, order)
    events = module.train()(images)
    assert [sum(torch.equal(step, candidate) for candidate in group) for step, group in zip(events, candidates)] == [
        1
    ] * 8
    again = OfficialModule((0, 1, 2, 3, 4, 5, 6, 7))
    again.load_state_dict(saved(module), strict=True)  # the official module loads ours
    assert torch.equal(again.state_dict()["weight"], convolution_weight(canonical_shifts(order)))


def test_official_checkpoint_of_a_network_loads(images: Tensor) -> None:
    order = (2, 3, 4, 5, 6, 7, 0, 1)
    official = nn.ModuleDict(
        {"body": nn.Sequential(OfficialModule(order), nn.Conv2d(2, 4, 3)), "head": nn.Linear(4, 2)}
    )
    module = I2E(timesteps=5)
    ours = nn.ModuleDict({"body": nn.Sequential(module, nn.Conv2d(2, 4, 3)), "head": nn.Linear(4, 2)})
    ours.load_state_dict(saved(official), strict=True)
    state, theirs = ours.state_dict(), official.state_dict()
    assert sorted(state) == sorted(theirs)
    assert all(torch.equal(state[key], theirs[key]) for key in state)
    assert_same_events(module.eval()(images), canonical_events(images, order=order)[:5])


def test_checkpoint_of_zeros_keeps_the_order(images: Tensor) -> None:
    order = (2, 3, 4, 5, 6, 7, 0, 1)
    module = I2E(0.12, order)
    module.load_state_dict({"weight": torch.zeros(8, 1, 3, 3)}, strict=True)
    assert_same_events(module.eval()(images), canonical_events(images, order=order))
    later = I2E()
    later.load_state_dict(saved(module), strict=True)  # the saved weight has the order
    assert_same_events(later.eval()(images), canonical_events(images, order=order))


WRONG_WEIGHTS: dict[str, tuple[Tensor, str]] = {
    "noise": (torch.randn(8, 1, 3, 3), r"i2e\.weight: weight must have one \+1, one -1"),
    "one kernel of zeros": (
        torch.cat([torch.zeros(1, 1, 3, 3), convolution_weight(canonical_shifts())[1:]]), r"one \+1, one -1"
    ),
    "one vector eight times": (
        convolution_weight(canonical_shifts())[[0] * 8], "one vector of each of the paper's groups"
    ),
    "reversed vectors": (-convolution_weight(canonical_shifts()), r"i2e\.weight: weight must have one vector of each"),
    "seven timesteps": (convolution_weight(canonical_shifts(timesteps=7)), r"size mismatch for i2e\.weight"),
    "longer vectors": (torch.zeros(8, 1, 5, 5), r"size mismatch for i2e\.weight"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_WEIGHTS)
def test_wrong_weight_raises_error(wrong: str, images: Tensor) -> None:
    weight, message = WRONG_WEIGHTS[wrong]
    network = nn.ModuleDict({"i2e": I2E()})
    with pytest.raises(RuntimeError, match=message):
        network.load_state_dict({"i2e.weight": weight})
    assert torch.equal(network.state_dict()["i2e.weight"], convolution_weight(canonical_shifts()))
    assert_same_events(network.eval()["i2e"](images), canonical_events(images))  # the module is unchanged


def test_missing_and_unexpected_keys_raise_error() -> None:
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight"'):
        I2E().load_state_dict({})
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"bias"'):
        I2E().load_state_dict(I2E().state_dict() | {"bias": torch.zeros(8)})
    assert I2E().load_state_dict({}, strict=False).missing_keys == ["weight"]


def test_module_is_created_on_the_default_device() -> None:
    with torch.device("meta"):
        module = I2E()
    assert module.weight.device.type == "meta"
    assert module(torch.zeros(2, 3, 4, 5, device="meta")).shape == (8, 2, 2, 4, 5)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("assign", [False, True])
def test_checkpoint_loads_by_copy_and_by_assignment(assign: bool, device: str, images: Tensor) -> None:
    order = (2, 3, 4, 5, 6, 7, 0, 1)
    with torch.device(device):
        module = I2E()
    if device == "meta" and not assign:
        module.to_empty(device="cpu")
    for official in (OfficialModule(order), OfficialModule(order).half()):
        module.load_state_dict(saved(official), strict=True, assign=assign)
        assert_same_events(module.eval()(images), canonical_events(images, order=order))
