"""
Calibrating the ratio
=====================

The best ratio depends on the size and the kind of the images. This example finds the ratio that gives the event rate
you want. ``i2e calibrate FOLDER --rate 0.06`` does the same on the command line.
"""

import torch
from matplotlib import pyplot
from skimage import data
from torch.nn.functional import interpolate

import i2e_triton

SIZE = 128
RATE = 0.06

# %%
# A few photographs of one size. A few hundred images of your own data are enough.

photographs = [
    data.astronaut(),
    data.chelsea(),
    data.coffee(),
    data.rocket(),
    data.retina(),
    data.immunohistochemistry(),
]
tensors = [torch.from_numpy(photograph.copy()).permute(2, 0, 1) for photograph in photographs]
resized = [
    interpolate(tensor[None], (SIZE, SIZE), mode="bilinear", antialias=True)
    for tensor in tensors
]
images = torch.cat(resized)
print(list(images.shape), images.dtype)

# %%
# The event rate falls while the ratio rises, so bisection finds the ratio.


def rate(ratio):
    return float(i2e_triton.event_rate(i2e_triton.convert(images, ratio, dtype=torch.bool)))


low, high = 0.0, 1.0
for _ in range(12):
    middle = (low + high) / 2
    low, high = (middle, high) if rate(middle) > RATE else (low, middle)
ratio = round(high, 3)
print(f"ratio {ratio}: event rate {rate(ratio):.2%}")

# %%
# The curve shows how much the choice matters. Images differ: a photograph with much texture has more events.

ratios = torch.linspace(0.01, 0.3, 30).tolist()
events = [i2e_triton.convert(images, r, dtype=torch.bool) for r in ratios]
rates = torch.stack(
    [i2e_triton.event_rate(e, dim=(0, 2, 3, 4)) for e in events]
)  # [ratio, image]

figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
axes.plot(ratios, rates, color="#c8c8c8", linewidth=1)
axes.plot(ratios, rates.mean(1), color="#222222", linewidth=2, label="mean of the images")
axes.plot([ratio, ratio, 0], [0, RATE, RATE], color="#d7191c", linestyle="--")
axes.annotate(
    f"ratio {ratio}", (ratio, RATE), xytext=(8, 8), textcoords="offset points", color="#d7191c"
)
axes.set(xlabel="ratio", ylabel="event rate", xlim=(0, 0.3), ylim=(0, 0.5))
axes.yaxis.set_major_formatter("{x:.0%}")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)

# %%
# The same images at three ratios.

figure, axes = pyplot.subplots(3, len(images), figsize=(10, 5.2), layout="constrained")
for row, r in enumerate((ratio / 3, ratio, 3 * ratio)):
    events = i2e_triton.convert(images, r)[0]  # the first timestep
    for each, (on, off) in zip(axes[row], events):
        each.imshow(off - on, cmap="RdBu", vmin=-1.3, vmax=1.3)  # ON red, OFF blue
        each.set(xticks=[], yticks=[])
    axes[row, 0].set_ylabel(f"ratio {r:.3f}")
