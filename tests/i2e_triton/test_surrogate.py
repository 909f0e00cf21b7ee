"""Surrogates have SpikingJelly's definitions."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import surrogate as spikingjelly

from i2e_triton import Surrogate
from i2e_triton.surrogate import DEFAULT_ALPHAS

THEIRS = {
    "atan": spikingjelly.ATan,
    "sigmoid": spikingjelly.Sigmoid,
    "rect": spikingjelly.Rect,
    "straight-through": spikingjelly.DeterministicPass,
}
CASES = [(name, alpha) for name in ("atan", "sigmoid", "rect") for alpha in (None, 0.7, 9.0)]


@pytest.mark.parametrize(("name", "alpha"), [*CASES, ("straight-through", None)])
def test_equals_spikingjelly(name: str, alpha: float | None) -> None:
    u = torch.linspace(-2, 2, 999, dtype=torch.float64, requires_grad=True)
    given = {} if alpha is None else {"alpha": alpha}
    ours = Surrogate(name, **given)
    (gradient,) = torch.autograd.grad(THEIRS[name](**given)(u).sum(), u)
    torch.testing.assert_close(ours.derivative(u.detach()), gradient)
    torch.testing.assert_close(ours.primitive(u), THEIRS[name](**given, spiking=False)(u))


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
def test_derivative_is_that_of_the_primitive(name: str) -> None:
    u = torch.linspace(-2, 2, 998, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Surrogate(name).primitive(u).sum(), u)
    torch.testing.assert_close(Surrogate(name).derivative(u.detach()), gradient)


def test_invalid_arguments() -> None:
    with pytest.raises(ValueError, match=r"surrogate must be one of atan, sigmoid, .*; got 'arctan'"):
        Surrogate("arctan")
    with pytest.raises(ValueError, match="alpha must be positive and finite, got 0"):
        Surrogate("atan", 0)
    with pytest.raises(TypeError, match="alpha must be a number, got str '2'"):
        Surrogate("atan", "2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="straight-through surrogate has no alpha, got 3; omit it"):
        Surrogate("straight-through", 3)
