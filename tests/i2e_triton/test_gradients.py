"""Gradients through the conversion on the CPU equal those of autograd through the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from i2e_triton import Surrogate, canonical_shifts, convert, random_shifts, reference
from i2e_triton.ops import cpu_backward
from i2e_triton.surrogate import DEFAULT_ALPHAS
from tests.augmented_cases import AugmentedCase
from tests.cases import Case
from tests.gradient_cases import GradientCase, gradient_case, gradient_cases
from tests.samples import noise

ATAN = Surrogate("atan")


def gradients(case: GradientCase) -> tuple[Tensor | None, Tensor]:
    """Return the gradients for the images and for the ratios, and check the events."""
    images, ratios = case.case.images.clone(), case.ratios().requires_grad_()
    images.requires_grad_(images.is_floating_point())
    given = {"shifts": case.case.shifts, "dtype": torch.float32, **case.options}
    events = convert(images, ratios, surrogate=case.surrogate, **given)
    assert torch.equal(events, convert(images.detach(), ratios.detach(), **given))
    events.backward(case.gradient.float() if case.gradient.dtype == torch.float64 else case.gradient.to(events.dtype))
    assert ratios.grad is not None
    return images.grad, ratios.grad


@settings(max_examples=60)
@given(case=gradient_cases())
def test_equals_reference(case: GradientCase) -> None:
    if case.gradient.dtype == torch.float64:
        case.gradient = case.gradient.float().double()  # events are at most float32, and so are their gradients
    case.check(*gradients(case))


@pytest.mark.parametrize("per_image", [False, True])
def test_several_chunks(
    per_image: bool, generator: torch.Generator, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_backward, "_CHUNK_PIXELS", 2 * 7 * 8)  # two images
    images = noise((5, 3, 7, 8), torch.float32, generator)
    shifts = random_shifts(5, generator) if per_image else canonical_shifts()
    case = gradient_case(Case(images, shifts, torch.linspace(0.1, 0.3, 5)), ATAN, generator)
    case.check(*gradients(case))


def test_pixels_that_share_the_extremes_share_the_gradient_of_the_threshold() -> None:
    images = torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]]).view(1, 1, 1, 7).requires_grad_()
    shifts = torch.tensor([[0, 0, 0, 0]])  # no change of a pixel: only the threshold has a gradient
    convert(images, 0.5, shifts=shifts, surrogate=Surrogate("straight-through")).sum().backward()
    # 14 events with a derivative of -1 for theta: -14 for theta, -7 for the range.
    expected = torch.tensor([3.5, 3.5, 0, -1.75, -1.75, -1.75, -1.75])
    assert images.grad is not None
    assert torch.equal(images.grad.flatten(), expected)


def test_channels_that_share_the_maximum_share_its_gradient() -> None:
    images = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(1)).expand(1, 3, 5, 6)
    grey, colour = images[:, :1].clone().requires_grad_(), images.clone().requires_grad_()
    for each in (grey, colour):
        convert(each, surrogate=ATAN).square().sum().backward()
    assert grey.grad is not None
    assert colour.grad is not None
    torch.testing.assert_close(colour.grad, (grey.grad / 3).expand(1, 3, 5, 6))


@pytest.mark.parametrize("content", ["nan", "inf", "-inf"])
def test_image_that_is_not_finite_has_no_gradient(content: str, generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 7), torch.float32, generator)
    images[0, 1, 2, 3] = float(content)
    images.requires_grad_()
    ratios = torch.tensor([0.1, 0.1], requires_grad=True)
    convert(images, ratios, surrogate=ATAN, size=(9, 9)).mul(torch.rand(8, 2, 2, 9, 9)).sum().backward()
    for gradient in (images.grad, ratios.grad):
        assert gradient is not None
        assert bool(gradient.isfinite().all())
        assert not gradient[0].any()
        assert gradient[1].any()


@pytest.mark.parametrize("name", DEFAULT_ALPHAS)
def test_gradcheck_with_the_primitive_in_place_of_the_step(name: str, generator: torch.Generator) -> None:
    """The gradients are the true ones of the conversion whose step function is replaced by the primitive."""
    surrogate = Surrogate(name, None if name == "straight-through" else 3)
    images = torch.rand(2, 2, 3, 4, dtype=torch.float64, generator=generator)
    ratios = torch.tensor([0.1, 0.3], dtype=torch.float64)
    shifts = random_shifts(2, generator, timesteps=2)

    class Smooth(torch.autograd.Function):
        @staticmethod
        def forward(ctx, images: Tensor, ratios: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            ctx.save_for_backward(images, ratios)
            return smooth_events(images, ratios, shifts, surrogate)

        @staticmethod
        def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def, override]
            images, ratios = ctx.saved_tensors
            options = (None, None, True, surrogate.name, surrogate.alpha, True)
            return torch.ops.i2e_triton.convert_backward(gradient, images, shifts, ratios, 0.0, *options)

    assert torch.autograd.gradcheck(Smooth.apply, (images.requires_grad_(), ratios.requires_grad_()))


def smooth_events(images: Tensor, ratios: Tensor, shifts: Tensor, surrogate: Surrogate) -> Tensor:
    """Return what the reference returns, ``[T, B, 2, H, W]``, with a surrogate's primitive as the step function."""
    value = images.amax(1)
    theta = (value.amax((1, 2)) - value.amin((1, 2))) * ratios
    height, width = value.shape[1:]
    result = value.new_empty(shifts.shape[1], len(images), 2, height, width)
    for b, vectors in enumerate(shifts.tolist()):
        for t, (dy0, dx0, dy1, dx1) in enumerate(vectors):
            start, end = (
                value[b][(torch.arange(height) + dy).clamp(0, height - 1)][
                    :, (torch.arange(width) + dx).clamp(0, width - 1)
                ]
                for dy, dx in ((dy0, dx0), (dy1, dx1))
            )
            for polarity, change in enumerate((end - start, start - end)):
                result[t, b, polarity] = surrogate.primitive(change - theta[b])
    return result


def loss(images: Tensor, ratios: Tensor) -> Tensor:
    events = convert(images, ratios, surrogate=ATAN, layout="BTCHW")
    return (events * torch.linspace(0, 1, events.numel()).view(events.shape)).sum()


def arguments(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    images = torch.rand(2, 3, 8, 9, generator=generator)
    return images.requires_grad_(), torch.tensor([0.1, 0.2], requires_grad=True)


def test_functional_gradient(generator: torch.Generator) -> None:
    given = arguments(generator)
    expected = torch.autograd.grad(loss(*given), given)
    for actual, wanted in zip(torch.func.grad(loss, (0, 1))(*(tensor.detach() for tensor in given)), expected):
        assert torch.equal(actual, wanted)


def test_checkpoint_and_autocast(generator: torch.Generator) -> None:
    given = arguments(generator)
    expected = torch.autograd.grad(loss(*given), given)
    actual = torch.autograd.grad(checkpoint(loss, *given, use_reentrant=False), given)
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.autograd.grad(loss(*given), given)
    for each in (actual, cast):
        assert all(map(torch.equal, each, expected))


@pytest.mark.slow
def test_compiled(generator: torch.Generator) -> None:
    given = arguments(generator)
    expected = torch.autograd.grad(loss(*given), given)
    compiled: Callable[..., Tensor] = torch.compile(loss, fullgraph=True)
    for actual, wanted in zip(torch.autograd.grad(compiled(*given), given), expected):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("need_images", [True, False])
@pytest.mark.parametrize("augmented", [True, False])
def test_operator(need_images: bool, augmented: bool, generator: torch.Generator) -> None:
    images, ratios = (tensor.detach() for tensor in arguments(generator))
    crop, flip = torch.tensor([[0, 1, 5, 6], [2, 2, 9, 9]]), torch.tensor([True, False])
    boxes = (crop, flip) if augmented else (None, None)
    given = (torch.rand(8, 2, 2, 8, 9), images, canonical_shifts(), ratios, 0.0, *boxes, False, "atan", 2.0)
    torch.library.opcheck(torch.ops.i2e_triton.convert_backward.default, (*given, need_images))


def test_second_derivative_is_refused(generator: torch.Generator) -> None:
    given = arguments(generator)
    first = torch.autograd.grad(loss(*given), given, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative, because the first one is a surrogate"):
        first[0].sum().backward()


def test_gradient_of_the_ratio_alone_for_uint8_images(generator: torch.Generator) -> None:
    images = noise((2, 3, 8, 9), torch.uint8, generator)
    ratios = torch.tensor([0.1, 0.2], requires_grad=True)
    loss(images, ratios).backward()
    floats = ratios.detach().clone().requires_grad_()
    loss(reference.scale(images), floats).backward()
    assert ratios.grad is not None
    assert floats.grad is not None
    assert torch.equal(ratios.grad, floats.grad)


def test_single_image(generator: torch.Generator) -> None:
    image = torch.rand(3, 8, 9, generator=generator, requires_grad=True)
    convert(image, surrogate=ATAN).square().sum().backward()
    batch = image.detach()[None].requires_grad_()
    convert(batch, surrogate=ATAN).square().sum().backward()
    assert image.grad is not None
    assert batch.grad is not None
    assert torch.equal(image.grad, batch.grad[0])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_augmented(interpolation: str, generator: torch.Generator) -> None:
    crop, flip = torch.tensor([[-3, 5, 20, 60], [2, 9, 50, 20]]), torch.tensor([True, False])
    images = noise((2, 3, 33, 37), torch.float32, generator)
    conversion = AugmentedCase(images, random_shifts(2, generator), crop, (33, 36), flip, interpolation)
    case = gradient_case(conversion, ATAN, generator)
    case.check(*gradients(case))


def test_refused_arguments() -> None:
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"packed events have no gradient; with a surrogate use dtype=torch.float32"):
        convert(images, surrogate=ATAN, packed=True)
    for dtype in (torch.bool, torch.uint8):
        with pytest.raises(ValueError, match=f"{str(dtype)[6:]} events have no gradient"):
            convert(images, surrogate=ATAN, dtype=dtype)
    with pytest.raises(ValueError, match="events cannot be written to out; omit out"):
        convert(images, surrogate=ATAN, out=torch.empty(8, 2, 2, 8, 8))
    with pytest.raises(TypeError, match=r"surrogate must be an i2e_triton.Surrogate, got str 'atan'; use"):
        convert(images, surrogate="atan")  # type: ignore[arg-type]
