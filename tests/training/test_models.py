"""The networks are the official ones: names, shapes, logits; and any form of the same events gives the same logits."""

from __future__ import annotations

import copy

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import i2e_triton
from i2e_triton.training.models import BASIC, BOTTLENECK, FixedThreshold, MSResNet, RepeatedImage, build_model
from tests.samples import assert_same_events, noise
from tests.training.networks import enliven, sample_images
from tests.training.official_network import STRUCTURE, OfficialNetwork

RATIO = 0.07


@pytest.fixture
def network(generator: torch.Generator) -> MSResNet:
    model = build_model("resnet18", 10, ratio=RATIO)
    enliven(model, generator)
    return model


def events_seen(network: MSResNet, images: Tensor) -> Tensor:
    """What enters the first layer."""
    seen: list[Tensor] = []
    with network.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])):
        network(images)
    return seen[0]


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_logits_are_those_of_the_official_network(name: str, generator: torch.Generator) -> None:
    official = enliven(OfficialNetwork(name, 10, RATIO), generator)
    network = build_model(name, 10, ratio=RATIO).eval()
    network.load_state_dict(official.state_dict())
    images = sample_images(generator)
    expected = official(images)
    assert float(expected.std()) > 0.01
    assert torch.equal(network(images), expected)


@pytest.mark.parametrize("name", STRUCTURE)
def test_names_shapes_and_order_are_the_official_ones(name: str) -> None:
    network, official = build_model(name, 10), OfficialNetwork(name, 10, RATIO)
    shapes = {key: tuple(value.shape) for key, value in official.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    trained = [key for key, value in official.named_parameters() if value.requires_grad]
    assert [key for key, _ in network.named_parameters()] == trained


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_178_506),
        ("resnet34", 21_286_666),
        ("resnet50", 23_525_386),
        ("resnet101", 42_517_514),
        ("resnet152", 58_161_162),
    ],
)
def test_parameters(name: str, parameters: int) -> None:
    """ResNet's known counts, 11,181,642 of ``resnet18`` and so on, less the third input channel of the first layer."""
    with torch.device("meta"):
        network = build_model(name, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    neurons = [module for module in network.modules() if isinstance(module, neuron.LIFNode)]
    depth = int(name.removeprefix("resnet"))
    assert len(neurons) == depth - 1 + 4 - (depth < 50)  # before every layer but the first; on each new shortcut
    for lif in neurons:
        assert (lif.tau, lif.v_threshold, lif.v_reset) == (2.0, 1.0, 0.0)
        assert (lif.decay_input, lif.detach_reset, lif.step_mode) == (False, True, "m")
        assert type(lif.surrogate_function).__name__ == "ATan"


@torch.no_grad()
@pytest.mark.parametrize("timesteps", [8, 3])
def test_images_events_and_packed_events_give_the_same_logits(timesteps: int, generator: torch.Generator) -> None:
    network = build_model("resnet18", 10, ratio=RATIO, timesteps=timesteps)
    enliven(network, generator)
    images = sample_images(generator)
    logits = network(images)
    dense = i2e_triton.convert(images, RATIO)
    for same in (dense, dense.bool(), dense.to(torch.uint8), i2e_triton.convert(images, RATIO, packed=True)):
        assert torch.equal(network(same), logits)
    assert torch.equal(network(images.float() * (1 / 255)), logits)
    other = i2e_triton.convert(images, RATIO, timesteps=timesteps).flip(0)
    assert not torch.equal(network(other), logits)


@torch.no_grad()
def test_every_pass_starts_at_rest(network: MSResNet, generator: torch.Generator) -> None:
    images = sample_images(generator)
    logits = network(images)
    with network.get_submodule("layer3").register_forward_hook(interrupt), pytest.raises(KeyboardInterrupt):
        network(sample_images(generator).repeat(2, 1, 1, 1))
    assert torch.equal(network(images), logits)
    assert all(m.v == 0.0 for m in network.modules() if isinstance(m, neuron.LIFNode))
    assert torch.equal(copy.deepcopy(network)(images), logits)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_gradients_reach_every_parameter(generator: torch.Generator) -> None:
    network = build_model("resnet18", 10, ratio=RATIO)
    enliven(network, generator)
    network.train()
    nn.functional.cross_entropy(network(sample_images(generator)), torch.tensor([3, 7])).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


@torch.no_grad()
def test_autocast_leaves_the_events_alone(network: MSResNet, generator: torch.Generator) -> None:
    images = sample_images(generator)
    expected = i2e_triton.convert(images, RATIO)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_events(events_seen(network, images), expected)
        assert network(images).dtype == torch.bfloat16
    assert_same_events(events_seen(network.bfloat16(), images), expected.bfloat16())


@torch.no_grad()
def test_channels_last_gives_the_same(network: MSResNet, generator: torch.Generator) -> None:
    network.double()  # another order of sums shall not tip a neuron over its threshold
    images = sample_images(generator)
    logits = network(images)
    network.to(memory_format=torch.channels_last)
    last = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, logits, rtol=0, atol=1e-9)


@torch.no_grad()
def test_channels_last_stays_so(network: MSResNet, generator: torch.Generator) -> None:
    network.to(memory_format=torch.channels_last)
    layouts: list[bool] = []
    for module in network.modules():
        if isinstance(module, neuron.LIFNode) and module is not network.sn1:
            module.register_forward_hook(
                lambda module, inputs, output: layouts.append(
                    output.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
                )
            )
    network(torch.cat([sample_images(generator)] * 2))
    assert layouts == [True] * 19


@pytest.mark.slow
@torch.no_grad()
def test_compiles_in_one_graph(generator: torch.Generator) -> None:
    network = MSResNet(BASIC, (1, 1, 1, 1), 10, i2e_triton.I2E(RATIO, timesteps=2))
    enliven(network, generator)
    images = sample_images(generator)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(images), network(images))


@pytest.mark.parametrize(("kernels", "last"), [(BASIC, "bn2"), (BOTTLENECK, "bn3")])
def test_zero_init_makes_branches_silent(kernels: tuple[int, ...], last: str) -> None:
    network = MSResNet(kernels, (1, 1, 1, 1), 10, i2e_triton.I2E(), zero_init=True)
    silent = {key for key, value in network.named_parameters() if key.endswith("weight") and not bool(value.any())}
    assert silent == {f"layer{stage}.0.{last}.weight" for stage in (1, 2, 3, 4)}
    network = MSResNet(kernels, (1, 1, 1, 1), 10, i2e_triton.I2E())
    assert all(bool(network.get_parameter(key).all()) for key in silent)


def test_convolutions_start_as_official() -> None:
    network = build_model("resnet18", 10)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            deviation = (2 / module.weight[0].numel()) ** 0.5  # He et al.: fan-in, rectifier
            assert float(module.weight.detach().std()) == pytest.approx(deviation, rel=0.1)


@torch.no_grad()
def test_fixed_threshold(generator: torch.Generator) -> None:
    network = build_model("resnet18", 10, threshold=0.1, random=False)
    contrast = torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1, 1)
    images = torch.rand(3, 3, 32, 32, generator=generator) * contrast
    value = images.amax(1)
    events = events_seen(network, images)
    for t, (dy0, dx0, dy1, dx1) in enumerate(i2e_triton.canonical_shifts().tolist()):
        change = moved(value, dy1, dx1) - moved(value, dy0, dx0)
        clear = (change.abs() - 0.1).abs() > 1e-6  # ties may fall on either side
        expected = torch.stack([change >= 0.1, -change >= 0.1], 1).float()
        assert torch.equal(events[t] * clear[:, None], expected * clear[:, None])
    assert not bool(events_seen(network, torch.full((1, 3, 32, 32), 0.3)).any())  # of no range at all
    assert_same_events(events[:, 2:], events_seen(network, images[2:]))


def moved(value: Tensor, dy: int, dx: int) -> Tensor:
    """Value channel ``[B, H, W]`` at (y + dy, x + dx), by clamped coordinates."""
    rows = (torch.arange(value.shape[1]) + dy).clamp(0, value.shape[1] - 1)
    columns = (torch.arange(value.shape[2]) + dx).clamp(0, value.shape[2] - 1)
    return value[:, rows[:, None], columns]


def test_fixed_threshold_draws_motion_vectors_while_training() -> None:
    image = torch.rand(1, 1, 16, 16).expand(2, -1, -1, -1)
    for per_sample in (False, True):
        encoder = FixedThreshold(0.1, per_sample=per_sample).train()
        draws = [encoder(image) for _ in range(8)]
        assert any(not torch.equal(draw, draws[0]) for draw in draws)
        assert any(not torch.equal(draw[:, 0], draw[:, 1]) for draw in draws) == per_sample
        assert torch.equal(encoder.eval()(image), encoder(image))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_networks_that_see_the_image(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((2, 3, 32, 32), dtype, generator)
    scaled = images.float() * (1 / 255) if dtype == torch.uint8 else images
    for input, image in (("rgb", scaled), ("value", scaled.amax(1, keepdim=True))):
        network = build_model("resnet18", 10, input=input).eval()  # type: ignore[arg-type]
        assert network.conv1.in_channels == image.shape[1]
        assert torch.equal(events_seen(network, images), image.expand(4, *image.shape))
        assert "i2e.weight" not in network.state_dict()
        with pytest.raises(
            ValueError, match=r"takes images \[B, 1 or 3, H, W\]; got torch.float32 \[8, 2, 2, 32, 32\]"
        ):
            network(i2e_triton.convert(images))
    assert build_model("resnet18", 10, input="rgb", timesteps=2).i2e.timesteps == 2


def test_per_sample_and_order_reach_the_conversion() -> None:
    encoder = build_model("resnet18", 10, ratio=0.3, order=2, timesteps=5, random=False, per_sample=True).i2e
    assert isinstance(encoder, i2e_triton.I2E)
    settings = (encoder.ratio, encoder.shuffle, encoder.timesteps, encoder.random, encoder.per_sample)
    assert settings == (0.3, 2, 5, False, True)


@pytest.mark.parametrize(
    "shape_and_dtype",
    [
        ((2, 2, 8, 8), torch.float32),
        ((2, 4, 8, 8), torch.uint8),
        ((3, 8, 8), torch.uint8),
        ((8, 1, 3, 8, 8), torch.float32),
    ],
)
def test_what_is_neither_images_nor_events(shape_and_dtype: tuple[tuple[int, ...], torch.dtype]) -> None:
    shape, dtype = shape_and_dtype
    network = build_model("resnet18", 10)
    with pytest.raises(ValueError, match=r"dense events \[T, B, 2, H, W\] or packed events \[B, 2, H, W\] uint8; got"):
        network(torch.zeros(shape, dtype=dtype))


@torch.no_grad()
def test_the_layout_of_dense_events_is_known_or_asked_for(generator: torch.Generator) -> None:
    network = build_model("resnet18", 10, ratio=RATIO)
    enliven(network, generator)
    images = noise((8, 3, 16, 16), torch.uint8, generator)
    events = i2e_triton.convert(images, RATIO)
    with pytest.raises(ValueError, match=r"may be \[T, B, 2, H, W\] or \[B, T, 2, H, W\]; set network.batch_first"):
        network(events)
    network.batch_first = False
    expected = network(events)
    network.batch_first = True
    assert torch.equal(network(events.transpose(0, 1)), expected)
    network.batch_first = None
    assert torch.equal(network(events[:, :3]), network(events[:, :3].transpose(0, 1)))  # 3 can only be B


@pytest.mark.parametrize(("shape", "batch_first"), [((16, 8, 2, 8, 8), False), ((7, 2, 2, 8, 8), None)])
def test_events_without_the_timesteps_are_refused(shape: tuple[int, ...], batch_first: bool | None) -> None:
    network = build_model("resnet18", 10, batch_first=batch_first).eval()
    with pytest.raises(ValueError, match=r"must have 8 to 8 timesteps, got .*; for the other layout set"):
        network(torch.zeros(shape))


def test_timesteps_may_be_dropped_in_training() -> None:
    network = build_model("resnet18", 10, batch_first=False)
    assert network(torch.zeros(3, 2, 2, 32, 32)).shape == (2, 10)
    with pytest.raises(ValueError, match="must have 1 to 8 timesteps, got"):
        network(torch.zeros(9, 2, 2, 32, 32))


def test_wrong_settings() -> None:
    for settings, message in (
        ({"name": "resnet20"}, "model must be one of resnet18, .*, got 'resnet20'"),
        ({"num_classes": -1}, "num_classes must be at least 1, got -1"),
        ({"input": "grey"}, "input must be 'events', 'rgb' or 'value', got 'grey'"),
        ({"timesteps": 9}, "timesteps must be 1 to 8, got 9"),
        ({"timesteps": 0, "input": "rgb"}, "timesteps at least 1; got 3 and 0"),
        ({"threshold": -1.0}, r"ratio must be in \[0, 1\]"),
    ):
        arguments: dict[str, object] = {"name": "resnet18", "num_classes": 10, **settings}
        with pytest.raises(ValueError, match=message):
            build_model(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels must be 1 or 3, timesteps at least 1; got 2 and 4"):
        RepeatedImage(2)
