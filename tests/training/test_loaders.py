"""The order and the augmentation of samples are functions of seed, epoch and step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton.training.loaders import SampleLoader


class Rows:
    """Samples that are their row number."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((1, 1, 1), index), index


class Noise(v2.Transform):
    def forward(self, *inputs: Any) -> Any:
        return inputs[0] + torch.rand(1)


def loader(count: int = 10, batch_size: int = 4, **settings: Any) -> SampleLoader:
    return SampleLoader(Rows(count), settings.pop("transform", v2.Identity()), batch_size, **settings)


def labels(found: SampleLoader) -> list[list[int]]:
    return [batch[1].tolist() for batch in found]


def test_every_epoch_has_its_own_order_of_all_samples() -> None:
    train = loader(seed=1)
    first, second = labels(train), labels(train)  # the next epoch follows
    assert (
        sorted(row for batch in first for row in batch)
        == sorted(row for batch in second for row in batch)
        == list(range(10))
    )
    assert first != second
    assert labels(loader(seed=2)) != first
    train.set_epoch(0)
    assert labels(train) == first
    assert labels(loader(shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_at_the_batch_that_comes_next(workers: int) -> None:
    whole = loader(seed=1, transform=Noise())
    expected = [batch[0].flatten().tolist() for _ in range(2) for batch in whole]
    cut = loader(seed=1, transform=Noise(), workers=workers)
    for _ in zip(range(2), cut):
        pass
    resumed = loader(seed=1, transform=Noise(), workers=workers)
    resumed.load_state_dict(cut.state_dict())
    resumed.set_epoch(0)  # as Lightning does
    torch.rand(3)
    assert [batch[0].flatten().tolist() for _ in range(2) for batch in resumed] == expected[2:]


def test_processes_share_each_batch() -> None:
    whole = labels(loader(11, seed=3))
    shares = [labels(loader(11, seed=3, rank=rank, processes=2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*shares)][:2] == [sorted(batch) for batch in whole[:2]]
    assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]] == [2, 2, 1]
    validation = [labels(loader(5, 4, shuffle=False, rank=rank, processes=2)) for rank in range(2)]
    assert validation == [[[0, 2], [4]], [[1, 3]]]


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    list(loader(transform=Noise()))
    assert torch.equal(torch.get_rng_state(), state)


def test_dense_events_have_their_timesteps_first() -> None:
    class Events(Rows):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(8, 2, 3, 5), index

    ((events, _), *_) = SampleLoader(Events(4), v2.Identity(), 4)
    assert events.shape == (8, 4, 2, 3, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 2, "processes": 2}, "rank must be 0 to processes - 1, got rank 2 of 2 processes"),
        ({"rank": -1}, "rank must be 0 to processes - 1, got rank -1 of 1 processes"),
        ({"processes": 0}, "rank must be"),
        ({"processes": 3}, "batch_size must be a multiple of the 3 processes, got 4"),
        ({"count": 3, "processes": 4}, "3 samples are too few for 4 processes"),
    ],
)
def test_processes_that_cannot_share_a_batch(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader(**settings)
