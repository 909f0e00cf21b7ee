"""Gradients of conversions for tests, by autograd through the reference, with a bound of their rounding errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import Surrogate, reference
from i2e_triton.surrogate import DEFAULT_ALPHAS
from tests.augmented_cases import AugmentedCase, augmented_cases
from tests.cases import Case, cases, launched_ratio

#: Tolerance in units of eps, relative to the sum of the magnitudes of all terms that are added up.
UNITS = 64


@dataclass
class GradientCase:
    """A conversion, the derivative of its step function, and the gradient for its events ``[T, B, 2, H, W]``."""

    case: Case | AugmentedCase
    surrogate: Surrogate
    gradient: Tensor

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``convert`` that describe the augmentation."""
        return self.case.augmentation if isinstance(self.case, AugmentedCase) else {}

    @property
    def nearest(self) -> bool:
        """Whether the operator uses nearest interpolation."""
        return not isinstance(self.case, AugmentedCase) or self.case.nearest

    def launched(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of ``launch_backward.gradients_into`` after the results."""
        surrogate = (self.surrogate.name, float(self.surrogate.alpha or 0))
        arguments = (self.gradient, self.case.images, self.case.shifts, *launched_ratio(self.case.ratio), *surrogate)
        boxes = {name: getattr(self.case, name, None) for name in ("crop", "flip")}
        return arguments, {**boxes, "nearest": isinstance(self.case, AugmentedCase) and self.nearest}

    def ratios(self) -> Tensor:
        """Return one ratio per image, in the arithmetic dtype of the images."""
        dtype = torch.float64 if self.case.images.dtype == torch.float64 else torch.float32
        return torch.as_tensor(self.case.ratio, dtype=dtype).expand(len(self.case.images)).clone()

    def expected(self) -> tuple[Tensor | None, Tensor]:
        """Return the gradients for the images (None for uint8) and for the ratios."""
        images, ratios = self._inputs()
        events = reference.convert(images, ratios, self.case.shifts, surrogate=self.surrogate, **self.options)
        return _gradients((events * self.gradient).sum(), images, ratios)

    def term_sums(self) -> tuple[Tensor | None, Tensor]:
        """Return the sums of the magnitudes of the terms of both gradients."""
        images, ratios = self._inputs()
        with mock.patch.object(reference, "lerp", _lerp_of_magnitudes):
            return self._term_sums(images, ratios)

    def _term_sums(self, images: Tensor, ratios: Tensor) -> tuple[Tensor | None, Tensor]:
        augmented = [
            reference.augment(raw, *list(self.options.values())) if self.options else reference.scale(raw)
            for raw in (images.detach(), images.nan_to_num(0, 0, 0) if images.requires_grad else images)
        ]
        finite = augmented[0].isfinite().flatten(1).all(1)
        value = augmented[1].masked_fill(~finite[:, None, None, None], 0).amax(dim=1)
        high, low = value.amax(dim=(1, 2)), value.amin(dim=(1, 2))
        total = value.new_zeros(())
        for b, plane in enumerate(value):
            theta = ((high[b] - low[b]) * ratios[b]).detach()
            shifts = self.case.shifts[b] if self.case.shifts.dim() == 3 else self.case.shifts
            for (dy0, dx0, dy1, dx1), gradient in zip(shifts.tolist(), self.gradient[:, b]):
                end, start = _shifted(plane, dy1, dx1), _shifted(plane, dy0, dx0)
                change = (end - start).detach()
                terms = self.surrogate.derivative(change - theta) * gradient[0].abs()
                terms = terms + self.surrogate.derivative(-change - theta) * gradient[1].abs()
                # All coefficients are positive, so the derivatives are sums of magnitudes.
                total = total + (terms * (end + start)).sum()
                total = total + terms.sum() * (ratios.detach()[b] * (high[b] + low[b]))
                total = total + terms.sum() * ratios[b] * (high[b] - low[b]).detach()
        return _gradients(total, images, ratios)

    def _inputs(self) -> tuple[Tensor, Tensor]:
        images = self.case.images.clone()
        return images.requires_grad_(images.is_floating_point()), self.ratios().requires_grad_()

    def check(self, image_gradient: Tensor | None, ratio_gradient: Tensor) -> None:
        """Check gradients for the images and for the ratios."""
        pairs = zip((image_gradient, ratio_gradient), self.expected(), self.term_sums(), strict=True)
        for name, (actual, expected, terms) in zip(("images", "ratios"), pairs):
            if actual is None or expected is None or terms is None:
                assert actual is expected
                continue
            assert actual.dtype == expected.dtype
            assert actual.shape == expected.shape
            accuracy, result = torch.finfo(torch.float32), torch.finfo(actual.dtype)
            eps = min(result.eps, accuracy.eps)
            bound = UNITS * eps * terms.double() + result.tiny
            if result.eps > accuracy.eps:  # half precision: the result is rounded once
                bound += 2 * result.eps * expected.double().abs() + result.smallest_normal
            error = (actual.double() - expected.double()).abs()
            assert bool((error <= bound).all()), f"{name}: {float((error / bound).max())} times the allowed error"


def _gradients(total: Tensor, images: Tensor, ratios: Tensor) -> tuple[Tensor | None, Tensor]:
    if not images.requires_grad:
        return None, torch.autograd.grad(total, ratios)[0]
    for_images, for_ratios = torch.autograd.grad(total, (images, ratios))
    return for_images, for_ratios


def _lerp_of_magnitudes(lo: Tensor, hi: Tensor, weight: Tensor) -> Tensor:
    """Interpolate like the reference, with the magnitudes of the derivative's terms: ``1 + weight`` and ``weight``."""
    terms = lo + (hi + lo) * weight
    return (lo + (hi - lo) * weight).detach() + (terms - terms.detach())


def _shifted(plane: Tensor, dy: int, dx: int) -> Tensor:
    """Return a plane ``[H, W]`` shifted by (dy, dx), with coordinates clamped to it."""
    height, width = plane.shape
    rows, columns = torch.arange(height) + dy, torch.arange(width) + dx
    return plane[rows.clamp(0, height - 1)][:, columns.clamp(0, width - 1)]


def gradient_case(
    case: Case | AugmentedCase, surrogate: Surrogate, generator: torch.Generator, layout: str = "contiguous"
) -> GradientCase:
    """Return a case with a random gradient for its events, contiguous or in another memory layout."""
    shape = case.expected().shape
    dtype = torch.float64 if case.images.dtype == torch.float64 else torch.float32
    gradient = torch.randn(shape, generator=generator, dtype=dtype)
    match layout:
        case "transposed":
            gradient = gradient.transpose(0, 4).contiguous().transpose(0, 4)
        case "expanded":
            gradient = gradient[:1, :1, :1].expand(shape)
        case "bfloat16":
            gradient = gradient.bfloat16()
    return GradientCase(case, surrogate, gradient)


@st.composite
def gradient_cases(draw: st.DrawFn, side: int = 24, batch: int = 2) -> GradientCase:
    """Draw a conversion of floating-point images or, for the gradient of the ratio, of uint8 images."""
    case: Any = draw(cases(side, batch) | augmented_cases(side, batch))
    value = reference.scale(case.images).double()
    assume(value.abs().max() < 1e30 or not value.isfinite().all())  # the range of float32 images does not overflow
    name = draw(st.sampled_from(list(DEFAULT_ALPHAS)))
    alpha = None if name == "straight-through" else draw(st.sampled_from([None, 0.5, 20.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    layout = draw(st.sampled_from(["contiguous", "transposed", "expanded", "bfloat16"]))
    return gradient_case(replace(case, images=case.images.clone()), Surrogate(name, alpha), generator, layout)
