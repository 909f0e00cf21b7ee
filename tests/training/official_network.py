"""The official network, written a second time from its description: an independent witness for logits and names.

Ma et al., AAAI 2026, and the authors' code: a flat list of layers on plain SpikingJelly, the conversion as they put it.
"""

from __future__ import annotations

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks.baselines import official

#: Blocks per stage, and whether they are bottlenecks.
STRUCTURE = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}


class OfficialNetwork(nn.Module):
    """Takes images ``[B, 3, H, W]``; keys of its state are the official ones."""

    def __init__(self, name: str, num_classes: int, ratio: float):
        super().__init__()
        depths, bottleneck = STRUCTURE[name]
        self.ratio = ratio
        self.i2e = nn.Module()
        self.i2e.weight = nn.Parameter(official.motion_weight(), requires_grad=False)
        self.conv1, self.bn1 = conv(2, 64, 7, 2, 3), layer.BatchNorm2d(64)
        self.maxpool = layer.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.blocks: list[nn.Module] = []
        before = 64
        for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512)), start=1):
            after = width * (4 if bottleneck else 1)
            blocks = nn.Sequential()
            for number in range(depth):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(block(before, width, after, stride, bottleneck))
                before = after
            self.add_module(f"layer{stage}", blocks)
            self.blocks += list(blocks)
        self.avgpool = layer.AdaptiveAvgPool2d((1, 1))
        self.sn1 = lif()
        self.fc = layer.Linear(before, num_classes)
        functional.set_step_mode(self, "m")

    def forward(self, images: Tensor) -> Tensor:
        x = official.convert(images, self.i2e.get_parameter("weight"), self.ratio)
        x = self.maxpool(self.bn1(self.conv1(x)))
        for parts in self.blocks:
            x = run_block(parts, x)
        logits = self.fc(self.sn1(self.avgpool(x)).flatten(2)).mean(0)
        functional.reset_net(self)
        return logits


def lif() -> neuron.LIFNode:
    return neuron.LIFNode(
        tau=2.0,
        decay_input=False,
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
    )


def conv(inputs: int, outputs: int, size: int, stride: int, padding: int) -> layer.Conv2d:
    return layer.Conv2d(inputs, outputs, kernel_size=size, stride=stride, padding=padding, bias=False)


def block(before: int, width: int, after: int, stride: int, bottleneck: bool) -> nn.Module:
    if bottleneck:
        shapes = [(before, width, 1, 1, 0), (width, width, 3, stride, 1), (width, after, 1, 1, 0)]
    else:
        shapes = [(before, width, 3, stride, 1), (width, after, 3, 1, 1)]
    parts = nn.Module()
    for number, shape in enumerate(shapes, start=1):
        parts.add_module(f"sn{number}", lif())
        parts.add_module(f"conv{number}", conv(*shape))
        parts.add_module(f"bn{number}", layer.BatchNorm2d(shape[1]))
    if stride != 1 or before != after:
        shortcut = nn.Sequential(lif(), conv(before, after, 1, stride, 0), layer.BatchNorm2d(after))
        parts.add_module("downsample", shortcut)
    return parts


def run_block(parts: nn.Module, x: Tensor) -> Tensor:
    modules = dict(parts.named_children())
    shortcut = modules.pop("downsample", nn.Identity())
    y = x
    for module in modules.values():
        y = module(y)
    return y + shortcut(x)
