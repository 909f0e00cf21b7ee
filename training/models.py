"""MS-ResNet with LIF neurons, as published with I2E (Ma et al., AAAI 2026), on SpikingJelly's layers.

Names, shapes and order of parameters are the published ones, so that published weights load. Shortcuts join before the
neurons, as membrane input (Hu et al., Advancing Spiking Neural Networks Toward Deep Residual Learning, 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from i2e_triton import I2E, unpack
from i2e_triton.checks import PAPER_TIMESTEPS
from i2e_triton.shifts import Order
from i2e_triton.training.encoders import IMAGE_CHANNELS, FixedThreshold, Input, RepeatedImage


class LIF(neuron.LIFNode):
    """SpikingJelly's neuron, whose membrane is float32 where its inputs are bfloat16 or float16.

    On an NVIDIA GPU SpikingJelly 2.0 runs all timesteps in one operator, CUDA if it was built with it and else Triton,
    but for a membrane in float32 alone; its own choice, the type of the inputs, is plain PyTorch under autocast. Plain
    PyTorch remains for float64, on the CPU, on AMD GPUs (which have no other), and with SpikingJelly 0.0.0.0.14, which
    never calls this method.
    """

    def materialize_states(
        self, inputs: tuple[Tensor, ...], states: tuple[object, ...], step_mode: str
    ) -> tuple[object, ...]:
        """Bring the membrane to the shape, device and type that it shall have for these inputs."""
        membrane, *others = super().materialize_states(inputs, states, step_mode)
        if membrane.dtype in (torch.bfloat16, torch.float16) and not torch.version.hip:
            membrane = membrane.float()
        return (membrane, *others)


def lif() -> LIF:
    """The neuron of the paper: tau 2, threshold 1, hard reset to 0, arctangent surrogate."""
    return LIF(decay_input=False, v_reset=0.0, surrogate_function=surrogate.ATan(), detach_reset=True)


class BasicBlock(nn.Module):
    """Two times LIF, 3x3 convolution and batch normalisation, and a shortcut around them."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.sn1 = lif()
        self.conv1 = _conv(inputs, channels, 3, stride)
        self.bn1 = layer.BatchNorm2d(channels)
        self.sn2 = lif()
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = layer.BatchNorm2d(channels)
        self.downsample = _downsample(inputs, channels, stride)

    @property
    def last_bn(self) -> layer.BatchNorm2d:
        """What ``zero_init`` silences."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Membrane input ``[T, B, C, H, W]`` to membrane input."""
        out = self.bn1(self.conv1(self.sn1(x)))
        out = self.bn2(self.conv2(self.sn2(out)))
        return out + (x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """LIF, convolution and batch normalisation three times, 1x1, 3x3 and 1x1, and a shortcut around them."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = channels * self.expansion
        self.sn1 = lif()
        self.conv1 = _conv(inputs, channels, 1)
        self.bn1 = layer.BatchNorm2d(channels)
        self.sn2 = lif()
        self.conv2 = _conv(channels, channels, 3, stride)
        self.bn2 = layer.BatchNorm2d(channels)
        self.sn3 = lif()
        self.conv3 = _conv(channels, outputs, 1)
        self.bn3 = layer.BatchNorm2d(outputs)
        self.downsample = _downsample(inputs, outputs, stride)

    @property
    def last_bn(self) -> layer.BatchNorm2d:
        """What ``zero_init`` silences."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Membrane input ``[T, B, C, H, W]`` to membrane input."""
        out = self.bn1(self.conv1(self.sn1(x)))
        out = self.bn2(self.conv2(self.sn2(out)))
        out = self.bn3(self.conv3(self.sn3(out)))
        return out + (x if self.downsample is None else self.downsample(x))


Block = type[BasicBlock] | type[Bottleneck]

#: Block and blocks per stage, by the names of the published ``--model``.
ARCHITECTURES: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


class MSResNet(nn.Module):
    """A spiking residual network with the conversion inside.

    Neurons start every forward pass at rest, and what they hold is let go after it: there is nothing to reset.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        depths: blocks per stage.
        num_classes: number of logits.
        encoder: what images become: :class:`i2e_triton.I2E`, or an ablation of :mod:`i2e_triton.training.encoders`.
        zero_init: let every residual branch start as zero.

    Shape:
        One of these to logits ``[B, num_classes]``, the mean over timesteps:

        * images ``[B, 1 or 3, H, W]``, of any type that :func:`i2e_triton.convert` takes;
        * packed events ``[B, 2, H, W]`` uint8; an image of two channels does not exist here;
        * dense events ``[T, B, 2, H, W]`` of any type, counts included.

        Of more timesteps than the encoder's, the first ones are seen. An encoder that repeats images takes no events.
    """

    def __init__(
        self,
        block: Block,
        depths: Sequence[int],
        num_classes: int,
        encoder: I2E | RepeatedImage,
        zero_init: bool = False,
    ):
        super().__init__()
        self.i2e = encoder
        self.timesteps = encoder.timesteps
        self.takes_events = isinstance(encoder, I2E)
        self.conv1 = _conv(encoder.channels if isinstance(encoder, RepeatedImage) else 2, 64, 7, 2)
        self.bn1 = layer.BatchNorm2d(64)
        self.maxpool = layer.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, 1, depths[0])
        self.layer2 = _stage(block, 64 * block.expansion, 128, 2, depths[1])
        self.layer3 = _stage(block, 128 * block.expansion, 256, 2, depths[2])
        self.layer4 = _stage(block, 256 * block.expansion, 512, 2, depths[3])
        self.avgpool = layer.AdaptiveAvgPool2d((1, 1))
        self.sn1 = lif()
        self.fc = layer.Linear(512 * block.expansion, num_classes)
        functional.set_step_mode(self, "m")
        self._initialise(zero_init)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images or events; see the class for shapes.

        Raises:
            ValueError: if the input is neither, or of another kind than the network was built for.
        """
        try:
            return self._classify(self._sequence(x).to(self.conv1.weight.dtype))
        finally:
            functional.reset_net(self)

    def _sequence(self, x: Tensor) -> Tensor:
        """What the first layer sees: ``[T, B, C, H, W]``."""
        if x.dim() == 4 and x.shape[1] in IMAGE_CHANNELS:
            return self.i2e(x)
        if self.takes_events and x.dim() == 5 and x.shape[2] == 2:
            # In training, some may have been left out.
            if not (1 if self.training else self.timesteps) <= len(x) <= PAPER_TIMESTEPS:
                raise ValueError(
                    f"dense events [T, B, 2, H, W] must have at least the network's {self.timesteps} timesteps and at "
                    f"most {PAPER_TIMESTEPS}, got {list(x.shape)}; with the batch first, pass events.transpose(0, 1)"
                )
            return x[: self.timesteps]
        if self.takes_events and x.dim() == 4 and x.shape[1] == 2 and x.dtype == torch.uint8:
            return unpack(x, self.timesteps, self.conv1.weight.dtype)
        events = ", dense events [T, B, 2, H, W] or packed events [B, 2, H, W] uint8" if self.takes_events else ""
        raise ValueError(f"the network takes images [B, 1 or 3, H, W]{events}; got {x.dtype} {list(x.shape)}")

    def _classify(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.sn1(self.avgpool(x)).flatten(2)
        return self.fc(x).mean(0)

    def _initialise(self, zero_init: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            elif zero_init and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_bn.weight)


def build_model(
    name: str,
    num_classes: int,
    *,
    ratio: float = 0.12,
    order: Order = "gamma-alpha-beta",
    timesteps: int | None = None,
    random: bool = True,
    per_sample: bool = False,
    threshold: float | None = None,
    input: Input = "events",
    zero_init: bool = False,
) -> MSResNet:
    """Build a network by its published name.

    Args:
        name: one of :data:`ARCHITECTURES`.
        num_classes: number of logits.
        ratio: sensitivity of the conversion; 0.12 at 224x224, 0.07 at 128x128.
        order: of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: how many; 8 where None, 4 for images without conversion.
        random: whether ``train()`` draws motion vectors.
        per_sample: draw them for every image, instead of for the batch as published.
        threshold: a fixed one, in the place of the dynamic one of ``ratio``.
        input: ``"events"``, or without conversion the image in ``"rgb"`` or its ``"value"`` channel at every timestep.
        zero_init: let every residual branch start as zero.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if an argument is unfit; the message names it and what would be right.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"model must be one of {', '.join(ARCHITECTURES)}, got {name!r}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    block, depths = ARCHITECTURES[name]
    if input in ("rgb", "value"):
        image = RepeatedImage(3 if input == "rgb" else 1, 4 if timesteps is None else timesteps)
        return MSResNet(block, depths, num_classes, image, zero_init)
    if input != "events":
        raise ValueError(f"input must be 'events', 'rgb' or 'value', got {input!r}")
    settings: dict[str, Any] = {
        "shuffle": order,
        "timesteps": 8 if timesteps is None else timesteps,
        "random": random,
        "per_sample": per_sample,
    }
    i2e = I2E(ratio, **settings) if threshold is None else FixedThreshold(threshold, **settings)
    return MSResNet(block, depths, num_classes, i2e, zero_init)


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> layer.Conv2d:
    return layer.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The shortcut where it cannot be the identity."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(lif(), _conv(inputs, outputs, 1, stride), layer.BatchNorm2d(outputs))


def _stage(block: Block, inputs: int, channels: int, stride: int, depth: int) -> nn.Sequential:
    later = [block(channels * block.expansion, channels, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(inputs, channels, stride), *later)
