"""
Dynamic against fixed threshold
===============================

The threshold of I2E is a fraction of the brightness range of each image. A fixed threshold loses the events of dark and
foggy images; the dynamic one keeps them.
"""

import torch
from matplotlib import pyplot
from skimage import data

import i2e_triton

RATIO = 0.12
CONTRASTS = (1.0, 0.5, 0.25, 0.1)

photograph = torch.from_numpy(data.coffee()).permute(2, 0, 1)[:, :384, 60:444].float() / 255
photograph = torch.nn.functional.avg_pool2d(photograph, 2)

# %%
# Four versions of a photograph with less and less contrast, as in fog.

images = torch.stack([0.7 + contrast * (photograph - 0.7) for contrast in CONTRASTS])

# %%
# The dynamic threshold is the default: one ratio for all images.

dynamic = i2e_triton.convert(images, RATIO)

# %%
# ``ratio`` can be a tensor with one value per image. Dividing a fixed threshold by the range of each image gives a
# conversion with this fixed threshold. A ratio above 1 would give no events; it is clamped to 1.

value = images.amax(1)
value_range = value.amax((1, 2)) - value.amin((1, 2))
threshold = RATIO * value_range[0]  # right for the first image
fixed = i2e_triton.convert(images, (threshold / value_range).clamp(max=1))

# %%
# The events of the first timestep. With the fixed threshold, they disappear with the contrast.

figure, axes = pyplot.subplots(3, len(CONTRASTS), figsize=(10, 7.6), layout="constrained")
for i, contrast in enumerate(CONTRASTS):
    axes[0, i].imshow(images[i].permute(1, 2, 0).clamp(0, 1))
    axes[0, i].set_title(f"contrast {contrast:.0%}")
    for row, events in ((1, dynamic), (2, fixed)):
        on, off = events[0, i]
        axes[row, i].imshow(off - on, cmap="RdBu", vmin=-1.3, vmax=1.3)  # ON red, OFF blue
        axes[row, i].set_title(f"{i2e_triton.event_rate(events[:, i]):.1%} events", fontsize=10)
for row, name in enumerate(("image", "dynamic threshold", "fixed threshold")):
    axes[row, 0].set_ylabel(name)
for each in axes.flat:
    each.set(xticks=[], yticks=[])

# %%
# The event rate against the contrast. The dynamic one is constant until rounding changes ties.

figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
for name, events, color in (("dynamic", dynamic, "#2166ac"), ("fixed", fixed, "#b0b0b0")):
    axes.plot(
        CONTRASTS,
        i2e_triton.event_rate(events, dim=(0, 2, 3, 4)),
        marker="o",
        label=name,
        color=color,
    )
axes.set(xlabel="contrast", ylabel="event rate", xlim=(0, 1.05), ylim=(0, None))
axes.yaxis.set_major_formatter("{x:.1%}")
axes.legend(title="threshold", frameon=False)
axes.spines[["top", "right"]].set_visible(False)
