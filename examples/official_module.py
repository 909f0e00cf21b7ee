"""
Replacing the official module
=============================

The official code is an ``nn.Module`` with a convolution. ``i2e_triton.I2E`` takes the same arguments, returns the same
bits and loads the same ``state_dict``, so that one import changes.
"""

import time

import torch
import torch.nn.functional as F
from matplotlib import pyplot
from skimage import data
from torch import nn

import i2e_triton

BATCH = 16
REPEATS = 5

# %%
# The formulation of the official code: the value channel, a convolution with the eight motion vectors, and thresholds.


class OfficialI2E(nn.Module):
    def __init__(self, ratio=0.12):
        super().__init__()
        self.ratio = ratio
        weight = torch.zeros(8, 1, 3, 3)
        for t, (y0, x0, y1, x1) in enumerate(i2e_triton.canonical_shifts().tolist()):
            weight[t, 0, y0 + 1, x0 + 1] = -1
            weight[t, 0, y1 + 1, x1 + 1] = 1
        self.register_buffer("weight", weight)

    def forward(self, images):
        value = images.amax(1, keepdim=True)
        threshold = (
            value.amax((2, 3), keepdim=True) - value.amin((2, 3), keepdim=True)
        ) * self.ratio
        difference = F.conv2d(F.pad(value, (1, 1, 1, 1), mode="replicate"), self.weight)
        events = torch.stack([difference >= threshold, -difference >= threshold], dim=2)
        return events.transpose(0, 1).float()  # [T, B, 2, H, W]


# %%
# A network with the official module, and its checkpoint.


def network(conversion):
    return nn.Sequential(conversion, nn.Flatten(0, 1), nn.Conv2d(2, 16, 7, stride=2))


official = network(OfficialI2E(ratio=0.12)).eval()
checkpoint = official.state_dict()
print({name: list(value.shape) for name, value in checkpoint.items()})

# %%
# The same network with this package loads the checkpoint and computes the same values. In training mode, ``I2E`` draws
# motion vectors at random, as the paper does; ``eval()`` uses the canonical ones.

ours = network(i2e_triton.I2E(ratio=0.12)).eval()
ours.load_state_dict(checkpoint)

photograph = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[:, :224, 100:324].float() / 255
images = photograph.expand(BATCH, -1, -1, -1).clone()
with torch.inference_mode():
    assert torch.equal(ours[0](images), official[0](images))
    assert torch.equal(ours(images), official(images))
print("every event is equal")

# %%
# The time of each on this machine, with one CPU thread. uint8 images and packed events need less memory and time than
# float32: pass ``packed=True`` where the events are stored or moved first.


def milliseconds(function):
    function()
    start = time.perf_counter()
    for _ in range(REPEATS):
        function()
    return 1000 * (time.perf_counter() - start) / REPEATS / BATCH


torch.set_num_threads(1)
as_bytes = (images * 255).byte()
with torch.inference_mode():
    times = {
        "official formulation": milliseconds(lambda: official[0](images)),
        "I2E": milliseconds(lambda: ours[0](images)),
        "I2E, uint8 to packed": milliseconds(lambda: i2e_triton.convert(as_bytes, packed=True)),
    }

figure, axes = pyplot.subplots(figsize=(7, 2.2), layout="constrained")
bars = axes.barh(list(times), list(times.values()), color=["#b0b0b0", "#2166ac", "#2166ac"])
axes.bar_label(bars, fmt=" %.2f ms")
axes.invert_yaxis()
axes.set(xlabel="time per image of 224x224, ms", xlim=(0, 1.15 * max(times.values())))
axes.spines[["top", "right"]].set_visible(False)
