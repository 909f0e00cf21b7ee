"""
Which pixels make the events
============================

With a surrogate, events have a gradient for the image. Its magnitude is a saliency map: it shows the pixels whose
change would add or remove events.
"""

import torch
from matplotlib import pyplot
from skimage import data

from i2e_triton import Surrogate, convert

RATIO = 0.12
ALPHA = 20

photograph = torch.from_numpy(data.astronaut()).permute(2, 0, 1) / 255
image = photograph.clone().requires_grad_()

# %%
# The gradient of the number of events. ``alpha`` says how close to the threshold a change must be to count.

events = convert(image, RATIO, surrogate=Surrogate("atan", ALPHA))
events.sum().backward()
print("events:", int(events.sum()), "of", events.numel())

# %%
# The threshold depends on the largest and the smallest value of the image. The pixels that have one of them also get
# the gradient of the threshold, which decides about all events.

size = image.grad.abs().amax(0)
value = photograph.amax(0)
for name, extreme in (("largest", value.amax()), ("smallest", value.amin())):
    print(
        f"{int((value == extreme).sum())} pixels have the {name} value: mean {size[value == extreme].mean():.3f}"
    )
print(f"all pixels: mean {size.mean():.3f}")

# %%
# Red pixels would add events if they were brighter, blue ones if they were darker. The colors are clipped at the 99th
# percentile.

limit = float(size.quantile(0.99))
figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
left.imshow(photograph.permute(1, 2, 0))
left.set_title("photograph")
middle.imshow(events.detach().sum((0, 1)), cmap="magma")
middle.set_title("events per pixel")
right.imshow(image.grad.sum(0), cmap="RdBu_r", vmin=-limit, vmax=limit)
right.set_title("gradient of the number of events")
for axes in (left, middle, right):
    axes.axis("off")
