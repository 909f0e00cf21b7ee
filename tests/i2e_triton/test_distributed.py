"""Training of a model that contains the module with DistributedDataParallel in two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from i2e_triton import I2E, Surrogate
from tests.samples import resized_photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    encoder = I2E(0.1, learn_ratio=True, surrogate=Surrogate("atan", 20))
    return nn.Sequential(encoder, nn.Flatten(2), nn.Linear(2 * 16 * 16, 3))


def loss_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model(images).mean(dim=(0, 2)).square().mean()


def images() -> torch.Tensor:
    return torch.stack([resized_photograph(name, 16) for name in NAMES])


def train_two_steps(rank: int, folder: str) -> None:
    """Train as one of two processes, on its half of the images: a step with canonical and one with random vectors."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.set_num_threads(1)
    module = network().eval()
    model = DistributedDataParallel(module)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_of(model, images()[2 * rank : 2 * rank + 2]).backward()
    optimiser.step()
    learned = {"canonical": "2.weight", "ratio": "0.ratio"}
    result = {name: module.get_parameter(key).detach().clone() for name, key in learned.items()}

    model.train()
    torch.manual_seed(rank)  # each process draws different vectors
    optimiser.zero_grad()
    loss_of(model, images()[2 * rank : 2 * rank + 2]).backward()
    optimiser.step()
    result |= {"random": module.state_dict()["2.weight"], "motion vectors": module.state_dict()["0.weight"]}
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_the_same_model(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_two_steps, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for key in ("canonical", "ratio", "random", "motion vectors"):
        assert torch.equal(first[key], second[key])

    # One process that takes a step on the mean loss of both halves gets the same weights.
    module = network().eval()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    first_half, second_half = images().chunk(2)
    ((loss_of(module, first_half) + loss_of(module, second_half)) / 2).backward()
    optimiser.step()
    torch.testing.assert_close(first["canonical"], module.state_dict()["2.weight"])
    torch.testing.assert_close(first["ratio"], module.get_parameter("0.ratio").detach())
    assert first["ratio"] != network().get_parameter("0.ratio")
    assert not torch.equal(first["canonical"], network().state_dict()["2.weight"])
    assert not torch.equal(first["random"], first["canonical"])
    assert torch.equal(first["motion vectors"], I2E().weight)
