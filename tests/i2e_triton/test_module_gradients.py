"""The module with a learned ratio."""

from __future__ import annotations

import pytest
import torch

from i2e_triton import I2E, Surrogate, convert

ATAN = Surrogate("atan", 20)


def images(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(4, 3, 12, 13, generator=generator)


def test_events_do_not_change(generator: torch.Generator) -> None:
    batch = images(generator)
    module = I2E(0.07, learn_ratio=True, surrogate=ATAN).eval()
    assert torch.equal(module(batch), I2E(0.07).eval()(batch))
    assert torch.equal(module(batch[0]), convert(batch[0], 0.07))


def test_ratio_learns_an_event_rate(generator: torch.Generator) -> None:
    batch = images(generator)
    module = I2E(0.07, learn_ratio=True, surrogate=ATAN).eval()
    target = convert(batch, 0.3).mean()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        (module(batch).mean() - target).square().backward()
        optimiser.step()
    assert float(torch.as_tensor(module.ratio).detach()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(("outside", "used"), [(-0.5, 1 / 256), (1.5, 1.0)])
def test_ratio_outside_of_the_range_returns(outside: float, used: float, generator: torch.Generator) -> None:
    batch = images(generator)
    module = I2E(0.5, learn_ratio=True, surrogate=ATAN).eval()
    assert isinstance(module.ratio, torch.nn.Parameter)
    module.ratio.data.fill_(outside)
    events = module(batch)
    assert torch.equal(events, convert(batch, used))
    (events.mean() - convert(batch, 0.3).mean()).square().backward()
    assert module.ratio.grad is not None
    assert (module.ratio.grad < 0) == (outside < 0)


def test_official_state_loads(generator: torch.Generator) -> None:
    module = I2E(0.07, learn_ratio=True, surrogate=ATAN)
    module.load_state_dict(I2E(order=2).state_dict())
    assert module.order == (2, 3, 0, 1, 4, 5, 6, 7)
    assert float(torch.as_tensor(module.ratio).detach()) == pytest.approx(0.07)
    other = I2E(0.5, learn_ratio=True, surrogate=ATAN)
    other.load_state_dict(module.state_dict())
    assert torch.equal(torch.as_tensor(other.ratio), torch.as_tensor(module.ratio))


def test_gradient_for_images_without_a_learned_ratio(generator: torch.Generator) -> None:
    batch = images(generator).requires_grad_()
    I2E(0.07, surrogate=ATAN).eval()(batch).square().sum().backward()
    assert batch.grad is not None
    assert batch.grad.any()
    assert not list(I2E(surrogate=ATAN).parameters())


def test_repr() -> None:
    assert repr(I2E(learn_ratio=True, surrogate=ATAN)).endswith(
        "ratio=learned, order=(4, 5, 6, 7, 0, 1, 2, 3), timesteps=8, random=True, per_sample=False, "
        "dtype=torch.float32, packed=False, layout=TBCHW, surrogate=Surrogate(name='atan', alpha=20))"
    )


def test_refused_arguments() -> None:
    with pytest.raises(ValueError, match="learn_ratio needs a surrogate, such as surrogate="):
        I2E(learn_ratio=True)
    with pytest.raises(ValueError, match="packed events have no gradient"):
        I2E(packed=True, surrogate=ATAN)
