"""The decomposition into standard operators, and ONNX models that are exported with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch._inductor.decomposition import select_decomp_table

import i2e_triton
from i2e_triton import I2E, random_shifts, reference
from i2e_triton.checks import EVENT_DTYPES, IMAGE_DTYPES
from i2e_triton.ops import decomposition
from tests.samples import assert_same_events, canonical_events, extremes, noise, photograph

OPERATOR = torch.ops.i2e_triton.convert.default

# The decomposition in PyTorch


@pytest.mark.parametrize("dtype", IMAGE_DTYPES)
@pytest.mark.parametrize("per_image", [False, True])
def test_decomposition_equals_the_reference(dtype: torch.dtype, per_image: bool, generator: torch.Generator) -> None:
    for shape in ((3, 3, 12, 17), (2, 1, 1, 9), (1, 4, 5, 1)):
        images = noise(shape, dtype, generator)
        shifts = random_shifts(shape[0] if per_image else None, generator) * 2
        ratios = torch.rand(shape[0], generator=generator)
        actual = decomposition.convert(images, shifts, ratios, 0.0, 8, torch.bool, False)
        assert_same_events(actual, reference.convert(images, ratios, shifts))
        canonical = decomposition.convert(images, None, None, 0.07, 5, torch.float32, False)
        assert_same_events(canonical, canonical_events(images, 0.07)[:5])


def test_decomposition_of_an_empty_batch() -> None:
    images = torch.zeros(0, 3, 4, 5)
    assert decomposition.convert(images, None, None, 0.1, 8, torch.bool, False).shape == (8, 0, 2, 4, 5)


def ties(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return images of 0, 0.07 and 1: with the ratio 0.07, some differences equal theta exactly."""
    return torch.tensor([0, 0.07, 1])[torch.randint(3, shape, generator=generator)]


def test_ties_and_flat_images(generator: torch.Generator) -> None:
    for images in (ties((2, 1, 9, 8), generator), torch.full((1, 3, 5, 4), 0.3)):
        for ratio in (0.07, 0.0):
            actual = decomposition.convert(images, None, None, ratio, 8, torch.float32, False)
            assert_same_events(actual, canonical_events(images, ratio))


@pytest.mark.parametrize("dtype", EVENT_DTYPES)
def test_decomposition_has_the_dtype_of_the_events(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 8), torch.float32, generator)
    for packed in (False, True):
        arguments = (images, None, None, 0.1, 6, torch.uint8 if packed else dtype, packed)
        assert_same_events(decomposition.convert(*arguments), OPERATOR(*arguments))


def test_augmented_images_are_refused(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 8), torch.uint8, generator)
    arguments = (images, None, None, 0.1, 8, torch.bool, False)
    assert_same_events(decomposition.convert(*arguments, size=(9, 8)), OPERATOR(*arguments))
    for augmentation in ({"size": (8, 8)}, {"flip": torch.ones(2, dtype=torch.bool)}):
        with pytest.raises(NotImplementedError, match="augment the images before convert"):
            decomposition.convert(*arguments, **augmentation)


def test_only_the_onnx_exporter_decomposes_the_operator(generator: torch.Generator) -> None:
    assert decomposition_table[OPERATOR] is decomposition.convert
    assert OPERATOR not in select_decomp_table()  # of torch.compile
    program = torch.export.export(I2E().eval(), (noise((1, 3, 4, 4), torch.float32, generator),)).run_decompositions()
    assert OPERATOR in [node.target for node in program.graph.nodes]


# ONNX models


def export(module: nn.Module, *arguments: Tensor, **options: Any) -> Callable[..., Tensor]:
    """Export a module to ONNX and return a function that runs the model in onnxruntime."""
    program = torch.onnx.export(module, arguments, dynamo=True, verbose=False, **options)
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}  # standard operators only
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]

    def run(*arguments: Tensor) -> Tensor:
        outputs = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, arguments, strict=True)})
        return torch.from_numpy(outputs[0])

    return run


@pytest.fixture(scope="module")
def model() -> Callable[..., Tensor]:
    """Return the model of an ``I2E`` for any number and size of float32 images."""
    dim = torch.export.Dim
    shapes = ({0: dim("batch"), 2: dim("height"), 3: dim("width")},)
    return export(I2E(0.07).eval(), torch.rand(2, 3, 16, 24), dynamic_shapes=shapes)


@pytest.mark.slow
def test_onnx_events_of_photographs_equal_the_conversion(model: Callable[..., Tensor]) -> None:
    for name in ("astronaut", "chelsea"):
        images = photograph(name)[None, :, :200, :300].float() / 255
        events = model(images)
        assert_same_events(events, canonical_events(images, 0.07))
        assert_same_events(events, i2e_triton.convert(images, 0.07))
        assert 0.01 < events.mean() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 3, 32, 20), (1, 3, 2, 2), (5, 3, 7, 63)])
def test_onnx_events_of_noise_and_extremes_equal_the_reference(
    shape: tuple[int, ...], model: Callable[..., Tensor], generator: torch.Generator
) -> None:
    for images in (
        noise(shape, torch.float32, generator),
        ties(shape, generator),
        torch.randn(shape, generator=generator),
        extremes(shape, torch.float32, generator),
        torch.rand(shape, generator=generator) * 1e-40,  # subnormal
        torch.full(shape, 0.3),
    ):
        assert_same_events(model(images), canonical_events(images, 0.07))


@pytest.mark.slow
def test_onnx_image_with_a_nan_or_infinity_has_no_events(model: Callable[..., Tensor]) -> None:
    images = torch.rand(4, 3, 16, 16)
    for image, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        images[image, image, 5, 6] = value
    events = model(images)
    assert events.sum((0, 2, 3, 4)).count_nonzero() == 1
    assert_same_events(events, canonical_events(images, 0.07))


class Network(nn.Module):
    """A small network on events."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.i2e = I2E(**options)
        self.head = nn.Linear(2 * 6 * 5, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.i2e(images).flatten(2)).mean(0)
        return logits


@pytest.mark.slow
def test_onnx_network_gives_the_logits(generator: torch.Generator) -> None:
    network = Network(ratio=0.1, order="alpha-beta-gamma", timesteps=3).eval()
    images = torch.rand(4, 3, 6, 5, generator=generator)
    torch.testing.assert_close(export(network, images)(images), network(images))


class Convert(nn.Module):
    """:func:`i2e_triton.convert` with fixed options."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, images: Tensor, ratio: Tensor | float = 0.07, shifts: Tensor | None = None) -> Tensor:
        return i2e_triton.convert(images, ratio, shifts=shifts, **self.options)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_onnx_events_of_other_image_dtypes(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((2, 3, 17, 12), dtype, generator)
    model = export(Convert().eval(), images)
    assert_same_events(model(images), canonical_events(images, 0.07))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"packed": True}, {"packed": True, "timesteps": 5}, {"dtype": torch.bool}])
def test_onnx_events_of_other_formats(options: dict[str, Any], generator: torch.Generator) -> None:
    images = noise((2, 3, 17, 12), torch.float32, generator)
    model = export(Convert(**options).eval(), images)
    assert_same_events(model(images), i2e_triton.convert(images, 0.07, **options))


@pytest.mark.slow
def test_onnx_ratio_and_vectors_of_each_image(generator: torch.Generator) -> None:
    images = noise((3, 3, 17, 12), torch.float32, generator)
    model = export(Convert().eval(), images, torch.rand(3, generator=generator) / 5, random_shifts(3, generator))
    ratios, shifts = torch.rand(3, generator=generator) / 5, random_shifts(3, generator)
    assert_same_events(model(images, ratios, shifts), reference.convert(images, ratios, shifts).float())
