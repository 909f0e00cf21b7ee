"""Surrogate derivatives of the step function that decides whether a pixel has an event."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from reprlib import repr as short_repr
from typing import Any

import torch
from torch import Tensor

#: The surrogates and SpikingJelly's default ``alpha`` of each. The straight-through surrogate has none.
DEFAULT_ALPHAS: dict[str, float] = {"atan": 2.0, "sigmoid": 4.0, "rect": 1.0, "straight-through": 1.0}


@dataclass(frozen=True)
class Surrogate:
    """The derivative that replaces that of the step function in the backward pass, with SpikingJelly's definitions.

    An event is ``step(u)``: ``u`` is the change of a pixel's value in the direction of the event, minus the threshold
    theta. ``u`` has the unit of the pixel values.

    Args:
        name: ``"atan"``, ``"sigmoid"``, ``"rect"`` or ``"straight-through"`` (SpikingJelly's ``DeterministicPass``).
        alpha: steepness, greater than 0. The derivative is concentrated on ``|u|`` up to about ``1 / alpha``. Default:
            2 for atan, 4 for sigmoid and 1 for rect. The straight-through surrogate does not use it.

    Raises:
        TypeError: if ``alpha`` is not a number.
        ValueError: if the name is unknown, or ``alpha`` is not positive and finite, or not used.
    """

    name: str = "atan"
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.name not in DEFAULT_ALPHAS:
            raise ValueError(f"surrogate must be one of {', '.join(DEFAULT_ALPHAS)}; got {self.name!r}")
        if self.alpha is None:
            object.__setattr__(self, "alpha", DEFAULT_ALPHAS[self.name])
        elif self.name == "straight-through" and self.alpha != 1:
            raise ValueError(f"the straight-through surrogate has no alpha, got {self.alpha!r}; omit it")
        elif isinstance(self.alpha, bool) or not isinstance(self.alpha, Real):
            raise TypeError(f"alpha must be a number, got {type(self.alpha).__name__} {self.alpha!r}")
        elif not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be positive and finite, got {self.alpha!r}")

    def primitive(self, u: Tensor) -> Tensor:
        """Return the smooth (for rect and straight-through: piecewise linear) function that replaces the step."""
        alpha = self.alpha
        assert alpha is not None
        match self.name:
            case "atan":
                return (math.pi / 2 * alpha * u).atan() / math.pi + 0.5
            case "sigmoid":
                return (alpha * u).sigmoid()
            case "rect":
                return (alpha * u + 0.5).clamp(0, 1)
        return u

    def derivative(self, u: Tensor) -> Tensor:
        """Return the derivative of :meth:`primitive`."""
        alpha = self.alpha
        assert alpha is not None
        match self.name:
            case "atan":
                return (alpha / 2) / (1 + (math.pi / 2 * alpha * u).square())
            case "sigmoid":
                return alpha * (alpha * u).sigmoid() * (-alpha * u).sigmoid()
            case "rect":
                return alpha * (u.abs() < 0.5 / alpha).to(u.dtype)
        return torch.ones_like(u)


def check_surrogate(surrogate: Any, dtype: torch.dtype, packed: bool, out: Any) -> None:
    """Check that a surrogate can be used for events of a dtype; packed events have dtype uint8."""
    if not isinstance(surrogate, Surrogate):
        raise TypeError(
            f"surrogate must be an i2e_triton.Surrogate, got {type(surrogate).__name__} {short_repr(surrogate)}; "
            "use i2e_triton.Surrogate('atan')"
        )
    if not dtype.is_floating_point:
        kind = "packed" if packed else str(dtype).removeprefix("torch.")
        raise ValueError(f"{kind} events have no gradient; with a surrogate use dtype=torch.float32")
    if out is not None:
        raise ValueError("with a surrogate, events cannot be written to out; omit out")
