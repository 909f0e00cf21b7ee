"""
Events in Tonic, SpikingJelly and snnTorch
==========================================

All three libraries take the dense events of ``convert``. The adapters add their own forms: event lists for Tonic, an
encoder for SpikingJelly, a spike generator for snnTorch.
"""

import snntorch
import tonic
import torch
from matplotlib import pyplot
from skimage import data
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import i2e_triton
from i2e_triton.integrations.snntorch import i2e
from i2e_triton.integrations.spikingjelly import I2EEncoder
from i2e_triton.integrations.tonic import ImageToEventList

SIZE = 64
RATIO = 0.12

photograph = torch.from_numpy(data.chelsea()[40:296, 100:356].copy()).permute(2, 0, 1)[None]
images = nn.functional.interpolate(photograph, (SIZE, SIZE), mode="bilinear", antialias=True)

# %%
# Tonic
# -----
# ``ImageToEventList`` is a transform. Its result is a structured array with x, y, t (microseconds) and p (1 is ON).

events = ImageToEventList(ratio=RATIO, timestep_us=1000)(images[0])
print(events.dtype)
print(f"{len(events)} events")

figure = pyplot.figure(figsize=(8, 4.4), layout="constrained")
axes = figure.add_subplot(projection="3d")
for polarity, color in ((1, "#d7191c"), (0, "#2166ac")):
    of = events[events["p"] == polarity]
    axes.scatter(
        of["t"] / 1000, of["x"], of["y"], s=1, color=color, label="ON" if polarity else "OFF"
    )
axes.set(xlabel="t, ms", ylabel="x", zlabel="y")
axes.invert_zaxis()
axes.set(yticks=[0, SIZE], zticks=[0, SIZE])
axes.set_box_aspect((2.2, 1, 1), zoom=1.35)
axes.view_init(elev=12, azim=-70)
axes.legend(markerscale=6, frameon=False, loc="upper left")

# %%
# Transforms of Tonic work on it. Give ``ToFrame`` the start and the end, or it loses timesteps without events. Channel
# 1 of the frames is ON, so they are the dense events with the channels swapped.

to_frame = tonic.transforms.ToFrame(
    (SIZE, SIZE, 2), time_window=1000, start_time=0, end_time=8000
)
frames = torch.from_numpy(to_frame(events))
assert frames.flip(1).equal(
    i2e_triton.convert(images[0], RATIO, dtype=torch.bool).to(frames.dtype)
)

# %%
# SpikingJelly
# ------------
# ``I2EEncoder`` is the first layer of a network in step mode "m".

torch.manual_seed(0)
network = nn.Sequential(
    I2EEncoder(RATIO),
    layer.Conv2d(2, 8, 3, stride=2, padding=1),
    layer.BatchNorm2d(8),
    neuron.LIFNode(),
)
functional.set_step_mode(network, "m")
spikes = network(images)
functional.reset_net(network)
print(list(spikes.shape))  # [timestep, image, channel, height, width]

figure, axes = pyplot.subplots(2, 8, figsize=(10, 2.9), layout="constrained")
for t in range(8):
    axes[0, t].imshow(spikes[: t + 1, 0].sum((0, 1)).detach(), cmap="Greys")
    axes[1, t].imshow(spikes[t, 0].sum(0).detach(), cmap="Greys")
    axes[0, t].set_title(f"t = {t}", fontsize=10)
axes[0, 0].set_ylabel("spikes so far", fontsize=9)
axes[1, 0].set_ylabel("spikes", fontsize=9)
for each in axes.flat:
    each.set(xticks=[], yticks=[])

# %%
# snnTorch
# --------
# ``i2e`` is used like ``spikegen.rate``: the time comes first.

convolution, leaky = nn.Conv2d(2, 1, 5, padding=2), snntorch.Leaky(beta=0.8)
membrane = leaky.init_leaky()
membranes, fired = [], []
for timestep in i2e(images, num_steps=8, ratio=RATIO):  # [1, 2, SIZE, SIZE]
    spike, membrane = leaky(4 * convolution(timestep), membrane)
    membranes.append(membrane[0, 0])
    fired.append(spike[0, 0])
membranes, fired = torch.stack(membranes).detach(), torch.stack(fired).detach()

# %%
# The membranes of the neurons that fire most, and the number of neurons that fire.

busiest = fired.sum(0).flatten().topk(5).indices
figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(membranes.flatten(1)[:, busiest], marker=".")
left.axhline(1, color="#b0b0b0", linestyle="--")
left.set(xlabel="timestep", ylabel="membrane")
left.set_title("five neurons; dashed: threshold", loc="left", fontsize=10)
right.bar(range(8), fired.mean((1, 2)), color="#404040")
right.yaxis.set_major_formatter("{x:.1%}")
right.set(xlabel="timestep", ylabel="neurons that fire")
for each in (left, right):
    each.spines[["top", "right"]].set_visible(False)
