"""
Augmentation on the fly
=======================

``convert`` crops, resizes and flips images in the same pass that makes the events. The augmented images are never
stored, and every image of a batch gets its own crop, flip and motion vectors.
"""

import torch
from matplotlib import pyplot
from skimage import data

import i2e_triton
from i2e_triton.augmentation import RandomResizedCropFlip, RandomTimestepDrop

BATCH = 6
SIZE = 128
RATIO = 0.1

photograph = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
images = photograph.expand(
    BATCH, -1, -1, -1
)  # the same photograph six times, to see what is random

# %%
# An augmentation draws the arguments of ``convert``: a box and a flip for each image. ``random_shifts`` draws motion
# vectors, which is the augmentation of the paper.

torch.manual_seed(0)
augment = RandomResizedCropFlip(SIZE, scale=(0.2, 0.8))
arguments = augment(images)
shifts = i2e_triton.random_shifts(batch=BATCH)
events = i2e_triton.convert(images, RATIO, shifts=shifts, **arguments)
print("boxes (top, left, height, width):", arguments["crop"].tolist())
print("flipped:", arguments["flip"].tolist())
print("events:", list(events.shape))

# %%
# The six images and the first of their eight timesteps. Boxes are drawn in the color of their column; a flipped box has
# a dashed border.

figure = pyplot.figure(figsize=(10, 4.6), layout="constrained")
grid = figure.add_gridspec(2, 5)
large = figure.add_subplot(grid[:, :2])
large.imshow(photograph.permute(1, 2, 0))
large.axis("off")
colors = pyplot.colormaps["tab10"].colors
for i, (box, flip) in enumerate(zip(arguments["crop"].tolist(), arguments["flip"].tolist())):
    top, left, height, width = box
    style = "--" if flip else "-"
    large.add_patch(
        pyplot.Rectangle((left, top), width, height, fill=False, ec=colors[i], ls=style, lw=2)
    )
    axes = figure.add_subplot(grid[i // 3, 2 + i % 3])
    on, off = events[0, i]
    axes.imshow(off - on, cmap="RdBu", vmin=-1.3, vmax=1.3)  # ON red, OFF blue
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=colors[i], linewidth=2)

# %%
# A draw can depend on the row number, the epoch and a seed alone. Then a resumed run, or another number of workers,
# sees the same events.

rows = torch.arange(BATCH)
again = [augment.for_rows(images, rows, seed=1, epoch=3) for _ in range(2)]
assert again[0]["crop"].equal(again[1]["crop"])
assert i2e_triton.row_shifts(1, rows).equal(i2e_triton.row_shifts(1, rows))

# %%
# ``RandomTimestepDrop`` removes timesteps of single images. It costs no time, because it only sets motion vectors to
# zero. The picture shows which timesteps of which images have events.

dropped = RandomTimestepDrop(0.25)(shifts)
events = i2e_triton.convert(images, RATIO, shifts=dropped, **arguments)
rates = events.mean((2, 3, 4)).T

figure, axes = pyplot.subplots(figsize=(6, 2.8), layout="constrained")
axes.imshow(rates, cmap="Greys", vmin=0)
axes.set(xlabel="timestep", ylabel="image", xticks=range(8))
axes.set_title("event rate; white: dropped", loc="left", fontsize=10)

# %%
# In a training loop, all of this is two lines::
#
#     for images, labels in loader:
#         shifts = i2e_triton.random_shifts(len(images))
#         events = i2e_triton.convert(images, 0.1, shifts=shifts, **augment(images))
