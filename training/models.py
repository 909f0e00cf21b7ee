"""MS-ResNet with LIF neurons, as published with I2E (Ma et al., AAAI 2026), on SpikingJelly's layers.

Names, shapes and order of the parameters are the official ones, so that official weights load. Shortcuts are added as
membrane input of the neurons (Hu et al., Advancing Spiking Neural Networks Toward Deep Residual Learning, 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from i2e_triton import I2E, canonical_shifts, convert, random_shifts, unpack
from i2e_triton.checks import PAPER_TIMESTEPS
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.shifts import Order
from i2e_triton.training.recipes import Input

#: Kernel sizes of the convolutions of a block.
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)
#: Kernel sizes of a block and blocks per stage, by the official names.
ARCHITECTURES: dict[str, tuple[tuple[int, ...], tuple[int, int, int, int]]] = {
    "resnet18": (BASIC, (2, 2, 2, 2)),
    "resnet34": (BASIC, (3, 4, 6, 3)),
    "resnet50": (BOTTLENECK, (3, 4, 6, 3)),
    "resnet101": (BOTTLENECK, (3, 4, 23, 3)),
    "resnet152": (BOTTLENECK, (3, 8, 36, 3)),
}
IMAGE_CHANNELS = (1, 3)
#: Conversion ratio of the official weights, by a part of the file name.
_RATIOS = {"imagenet": 0.12, "cifar": 0.07}


class LIF(neuron.LIFNode):
    """SpikingJelly's neuron with a float32 membrane where the inputs are bfloat16 or float16.

    SpikingJelly 2.0 creates the membrane with the dtype of the inputs. Its operators that run all timesteps at once
    need a float32 membrane. SpikingJelly 0.0.0.0.14 never calls this method.
    """

    def materialize_states(
        self, inputs: tuple[Tensor, ...], states: tuple[object, ...], step_mode: str
    ) -> tuple[object, ...]:
        """Return the membrane with the shape, device and type for these inputs."""
        membrane, *others = super().materialize_states(inputs, states, step_mode)
        if membrane.dtype in (torch.bfloat16, torch.float16) and not torch.version.hip:
            membrane = membrane.float()
        return (membrane, *others)


def lif() -> LIF:
    """Return the neuron of the paper: tau 2, threshold 1, hard reset to 0, arctangent surrogate."""
    return LIF(decay_input=False, v_reset=0.0, surrogate_function=surrogate.ATan(), detach_reset=True)


class Block(nn.Module):
    """Residual block: LIF, convolution and batch normalization for each kernel size, and a shortcut around them."""

    def __init__(self, kernels: tuple[int, ...], inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = channels * expansion(kernels)
        widths = [inputs, *[channels] * (len(kernels) - 1), outputs]
        for number, kernel in enumerate(kernels, 1):
            has_stride = number == kernels.index(3) + 1  # the first 3x3 convolution
            self.add_module(f"sn{number}", lif())
            self.add_module(
                f"conv{number}", _conv(widths[number - 1], widths[number], kernel, stride if has_stride else 1)
            )
            self.add_module(f"bn{number}", layer.BatchNorm2d(widths[number]))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(lif(), _conv(inputs, outputs, 1, stride), layer.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the membrane input ``[T, B, C, H, W]`` of the next block."""
        y = x
        for name, module in self.named_children():
            if name != "downsample":
                y = module(y)
        return y + (x if self.downsample is None else self.downsample(x))


def expansion(kernels: tuple[int, ...]) -> int:
    """Return the output channels of a block divided by the channels of its 3x3 convolutions."""
    return 4 if kernels == BOTTLENECK else 1


class MSResNet(nn.Module):
    """A spiking residual network that contains the conversion.

    ``forward`` resets the neurons, so no ``functional.reset_net`` is needed.

    Args:
        kernels: :data:`BASIC` or :data:`BOTTLENECK`.
        depths: blocks per stage.
        num_classes: number of logits.
        encoder: converts images: :class:`i2e_triton.I2E`, :class:`FixedThreshold` or :class:`RepeatedImage`.
        zero_init: initialize the last batch normalization of each block with 0.
        batch_first: layout of dense events. True: ``[B, T, 2, H, W]``, as a ``DataLoader`` stacks samples. False:
            ``[T, B, 2, H, W]``, as :func:`i2e_triton.convert` returns them. None: the dimension that has the network's
            number of timesteps is T; if both dimensions may be T, ``forward`` raises a ValueError.

    Shape:
        The output is logits ``[B, num_classes]``, averaged over the timesteps. The input is one of:

        * images ``[B, 1 or 3, H, W]`` of any type that :func:`i2e_triton.convert` takes;
        * packed events ``[B, 2, H, W]`` uint8;
        * dense events or event counts of any dtype; see ``batch_first``.

        If events have more timesteps than the encoder, only the first ``timesteps`` are used. An encoder that repeats
        images takes no events.
    """

    def __init__(
        self,
        kernels: tuple[int, ...],
        depths: Sequence[int],
        num_classes: int,
        encoder: I2E | RepeatedImage,
        zero_init: bool = False,
        batch_first: bool | None = None,
    ):
        super().__init__()
        self.i2e = encoder
        self.timesteps = encoder.timesteps
        self.takes_events = isinstance(encoder, I2E)
        self.batch_first = batch_first
        self.conv1 = _conv(encoder.channels if isinstance(encoder, RepeatedImage) else 2, 64, 7, 2)
        self.bn1 = layer.BatchNorm2d(64)
        self.maxpool = layer.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, (channels, depth) in enumerate(zip((64, 128, 256, 512), depths), 1):
            blocks = nn.Sequential()
            for number in range(depth):
                blocks.append(Block(kernels, inputs, channels, 2 if stage > 1 and number == 0 else 1))
                inputs = channels * expansion(kernels)
            self.add_module(f"layer{stage}", blocks)
        self.avgpool = layer.AdaptiveAvgPool2d((1, 1))
        self.sn1 = lif()
        self.fc = layer.Linear(inputs, num_classes)
        functional.set_step_mode(self, "m")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            elif zero_init and isinstance(module, Block):
                nn.init.zeros_(module.get_parameter(f"bn{len(kernels)}.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, num_classes]``; raise a ValueError if the input is of another kind or ambiguous."""
        try:
            x = self.maxpool(self.bn1(self.conv1(self.sequence(x).to(self.conv1.weight.dtype))))
            for name in ("layer1", "layer2", "layer3", "layer4"):
                x = self.get_submodule(name)(x)
            return self.fc(self.sn1(self.avgpool(x)).flatten(2)).mean(0)
        finally:
            functional.reset_net(self)

    def sequence(self, x: Tensor) -> Tensor:
        """Return the input of the first layer, ``[T, B, C, H, W]``."""
        if x.dim() == 4 and x.shape[1] in IMAGE_CHANNELS:
            return self.i2e(x)
        if self.takes_events and x.dim() == 4 and x.shape[1] == 2 and x.dtype == torch.uint8:
            return unpack(x, self.timesteps, self.conv1.weight.dtype)
        if self.takes_events and x.dim() == 5 and x.shape[2] == 2:
            return (x.transpose(0, 1) if self._has_batch_first(x) else x)[: self.timesteps]
        events = ", dense events [T, B, 2, H, W] or packed events [B, 2, H, W] uint8" if self.takes_events else ""
        raise ValueError(f"the network takes images [B, 1 or 3, H, W]{events}; got {x.dtype} {list(x.shape)}")

    def _has_batch_first(self, x: Tensor) -> bool:
        # In training, augmentation may have removed timesteps. If batch_first is None, T must have all of them.
        min_timesteps = 1 if self.training and self.batch_first is not None else self.timesteps
        fits = [min_timesteps <= length <= PAPER_TIMESTEPS for length in x.shape[:2]]
        if self.batch_first is None and all(fits):
            raise ValueError(
                f"events {list(x.shape)} may be [T, B, 2, H, W] or [B, T, 2, H, W]; set network.batch_first to False "
                "or True (also an argument of build_model), or pass packed events"
            )
        batch_first = fits[1] if self.batch_first is None else self.batch_first
        if not fits[int(batch_first)]:
            layout = "[B, T, 2, H, W]" if batch_first else "[T, B, 2, H, W]"
            raise ValueError(
                f"dense events {layout} must have {min_timesteps} to {PAPER_TIMESTEPS} timesteps, got {list(x.shape)}; "
                f"for the other layout set network.batch_first to {not batch_first}"
            )
        return batch_first


class FixedThreshold(I2E):
    """The conversion with one threshold for all images, for pixels in [0, 1] (ablation of the paper).

    A difference equal to the threshold may or may not fire, because the operator gets a rounded ratio per image.
    """

    def __init__(self, threshold: float, **settings: Any):
        super().__init__(threshold, **settings)

    def forward(self, images: Images) -> Tensor:
        """Convert images ``[B, C, H, W]`` to dense events ``[T, B, 2, H, W]``."""
        images = as_image_tensor(images)
        if self.training and self.random:
            batch = images.shape[0] if self.per_sample else None
            shifts = random_shifts(batch, order=self.order, timesteps=self.timesteps, device=images.device)
        else:
            shifts = canonical_shifts(self.order, self.timesteps, device=images.device)
        value = value_channel(images)
        ratios = self.ratio / (value.amax((1, 2, 3)) - value.amin((1, 2, 3)))
        ratios = ratios.nan_to_num()  # a flat image has the range 0
        events = convert(images, ratios.clamp(max=1), shifts=shifts, dtype=self.dtype)
        return events * (ratios <= 1)[:, None, None, None]  # no difference reaches a threshold above the range


class RepeatedImage(nn.Module):
    """The image itself at every timestep (paper, ablation): ``[B, C, H, W]`` to float32 ``[T, B, channels, H, W]``.

    Args:
        channels: 3 for the colours, 1 for the value channel. uint8 is scaled to [0, 1].
        timesteps: number of repetitions; 4 in the paper.
    """

    def __init__(self, channels: int, timesteps: int = 4):
        super().__init__()
        if channels not in IMAGE_CHANNELS or timesteps < 1:
            raise ValueError(f"channels must be 1 or 3, timesteps at least 1; got {channels} and {timesteps}")
        self.channels, self.timesteps = channels, timesteps

    def forward(self, images: Tensor) -> Tensor:
        """Repeat a batch; see the class for shapes."""
        image = value_channel(images) if self.channels == 1 else scaled(images).expand(-1, 3, -1, -1)
        return image.expand(self.timesteps, *image.shape)


def scaled(images: Tensor) -> Tensor:
    """Return images as float32; uint8 is scaled to [0, 1] as by ``torchvision.transforms.v2.ToDtype(scale=True)``."""
    return images.to(torch.float32) * (1 / 255) if images.dtype == torch.uint8 else images.to(torch.float32)


def value_channel(images: Tensor) -> Tensor:
    """Return the V of HSV, float32 ``[B, 1, H, W]``, of images ``[B, C, H, W]``."""
    return scaled(images.amax(1, keepdim=True))


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """Batch normalization of ``[T, B, C, H, W]`` over all GPUs. SpikingJelly has none."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each channel over timesteps, images and pixels."""
        return super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])


def convert_sync_batchnorm(network: nn.Module) -> None:
    """Replace SpikingJelly's batch normalization by :class:`SyncBatchNorm2d`, with the same parameters."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, layer.BatchNorm2d):
                made = SyncBatchNorm2d(child.num_features, child.eps, child.momentum)
                made.to(child.running_mean).load_state_dict(child.state_dict())
                setattr(module, name, made.train(child.training))


def build_model(
    name: str,
    num_classes: int | None = None,
    *,
    weights: str | None = None,
    ratio: float | None = None,
    order: Order = "gamma-alpha-beta",
    timesteps: int | None = None,
    random: bool = True,
    per_sample: bool = False,
    threshold: float | None = None,
    input: Input = "events",
    zero_init: bool = False,
    batch_first: bool | None = None,
) -> MSResNet:
    """Build a network by its official name.

    Args:
        name: one of :data:`ARCHITECTURES`.
        num_classes: number of logits. Default: that of ``weights``, else 1000.
        weights: checkpoint to load: a file, or the name of a file on the hub (``Ruichen0424/I2E``), such as
            ``"I2E-CIFAR10/..."``, which is downloaded and cached. Default: random weights.
        ratio: relative threshold of the conversion. Default: 0.07 for weights of CIFAR, else 0.12, for 224x224.
        order: order of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: number of timesteps. Default: 8, or 4 for images without conversion.
        random: draw random motion vectors in training mode.
        per_sample: draw one set of motion vectors per image. Default: one set per batch, as in the official code.
        threshold: a fixed threshold instead of ``ratio``.
        input: ``"events"``: convert images. ``"rgb"`` or ``"value"``: repeat the image or its value channel at every
            timestep, without conversion.
        zero_init: initialize the last batch normalization of each block with 0.
        batch_first: layout of dense events; see :class:`MSResNet`.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"model must be one of {', '.join(ARCHITECTURES)}, got {name!r}")
    from i2e_triton.training.official import find_weights, load_weights, read_weights  # imports this module

    loaded = None if weights is None else read_weights(find_weights(weights))
    if num_classes is None:
        num_classes = 1000 if loaded is None else loaded.num_classes
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if ratio is None:
        ratio = next((known for word, known in _RATIOS.items() if word in str(weights).lower()), 0.12)
    encoder: I2E | RepeatedImage
    if input in ("rgb", "value"):
        encoder = RepeatedImage(3 if input == "rgb" else 1, 4 if timesteps is None else timesteps)
    elif input == "events":
        steps = 8 if timesteps is None else timesteps
        settings: dict[str, Any] = {"order": order, "timesteps": steps, "random": random, "per_sample": per_sample}
        encoder = I2E(ratio, **settings) if threshold is None else FixedThreshold(threshold, **settings)
    else:
        raise ValueError(f"input must be 'events', 'rgb' or 'value', got {input!r}")
    model = MSResNet(*ARCHITECTURES[name], num_classes, encoder, zero_init, batch_first)
    if loaded is not None:
        load_weights(model, loaded)
    return model


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> layer.Conv2d:
    return layer.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
