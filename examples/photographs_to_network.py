"""
From a folder of photographs to a trained network
=================================================

A folder of photographs in one folder per class is all that is needed. This example makes such a folder, trains a small
spiking network on its events, and shows what the network confuses.
"""

import shutil
from pathlib import Path

import PIL.Image
import torch
from matplotlib import pyplot
from skimage import data
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.utils.data import DataLoader

import i2e_triton
from i2e_triton.datasets import ImageEventDataset

PICTURES = 80  # per class, for training
SIZE = 64
RATIO = 0.15
EPOCHS = 5

# %%
# The folder: crops of four surfaces. The training images come from the left three quarters of each photograph and the
# test images from the rest. With your own photographs, leave this step out.

FOLDER = Path("out/photographs")
SURFACES = {
    "brick": data.brick(),
    "gravel": data.gravel(),
    "page": data.page(),
    "stars": data.hubble_deep_field(),
}
shutil.rmtree(FOLDER, ignore_errors=True)  # of an earlier run
generator = torch.Generator().manual_seed(0)
for name, photograph in SURFACES.items():
    border = photograph.shape[1] * 3 // 4
    for split, first, last, count in (
        ("train", 0, border, PICTURES),
        ("validation", border, photograph.shape[1], PICTURES // 2),
    ):
        folder = FOLDER / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            top = torch.randint(photograph.shape[0] - SIZE, (), generator=generator)
            left = torch.randint(first, last - SIZE, (), generator=generator)
            crop = photograph[top : top + SIZE, left : left + SIZE]
            PIL.Image.fromarray(crop).save(folder / f"{number:04}.png")

# %%
# ``ImageEventDataset`` converts images when they are read. In training it draws motion vectors for each image, as the
# paper does. ``packed=True`` moves one byte per pixel and polarity.

train = ImageEventDataset(
    FOLDER, "train", size=(SIZE, SIZE), ratio=RATIO, random=True, packed=True
)
test = ImageEventDataset(FOLDER, "validation", size=(SIZE, SIZE), ratio=RATIO, packed=True)
print(f"{len(train)} images to train, {len(test)} to test, classes {', '.join(train.classes)}")

figure, axes = pyplot.subplots(2, len(SURFACES), figsize=(8, 4.2), layout="constrained")
for label, name in enumerate(train.classes):
    row = train.targets.index(label)
    on, off = i2e_triton.unpack(train[row][0])[0]
    axes[0, label].imshow(PIL.Image.open(FOLDER / "train" / name / "0000.png").convert("RGB"))
    axes[1, label].imshow(off - on, cmap="RdBu", vmin=-1.3, vmax=1.3)  # ON red, OFF blue
    axes[0, label].set_title(name)
for each in axes.flat:
    each.set(xticks=[], yticks=[])

# %%
# A small network of SpikingJelly. In step mode "m" it takes all timesteps, ``[T, B, 2, H, W]``. The mean of its outputs
# over time are the scores of the classes.


def block(inputs, outputs):
    return [
        layer.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        layer.BatchNorm2d(outputs, momentum=0.3),
        neuron.LIFNode(),
    ]


torch.manual_seed(0)
network = nn.Sequential(
    *block(2, 16),
    *block(16, 32),
    *block(32, 32),
    layer.AdaptiveAvgPool2d(1),
    layer.Flatten(),
    layer.Linear(32, len(train.classes)),
)
functional.set_step_mode(network, "m")

# %%
# Training is an ordinary PyTorch loop with a learning rate that falls to zero. ``unpack`` runs on the device of the
# network.

optimizer = torch.optim.Adam(network.parameters())
batches = DataLoader(train, batch_size=32, shuffle=True)
schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, 5e-3, total_steps=EPOCHS * len(batches)
)


def scores(packed):
    output = network(i2e_triton.unpack(packed)).mean(0)
    functional.reset_net(network)
    return output


def accuracy():
    network.eval()
    with torch.inference_mode():
        correct = [
            scores(packed).argmax(1).eq(labels)
            for packed, labels in DataLoader(test, batch_size=64)
        ]
    return torch.cat(correct).float().mean().item()


accuracies = [accuracy()]
for epoch in range(EPOCHS):
    network.train()
    for packed, labels in batches:
        loss = nn.functional.cross_entropy(scores(packed), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    accuracies.append(accuracy())
    print(f"epoch {epoch + 1}: test accuracy {accuracies[-1]:.1%}")

# %%
# The accuracy after each epoch, and the confusion matrix of the test images.

with torch.inference_mode():
    predicted = torch.cat(
        [scores(packed).argmax(1) for packed, _ in DataLoader(test, batch_size=64)]
    )
confusion = torch.zeros(len(test.classes), len(test.classes), dtype=torch.int64)
confusion.index_put_((torch.tensor(test.targets), predicted), torch.tensor(1), accumulate=True)

figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(accuracies, marker="o", color="#222222")
left.set(xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02))
left.yaxis.set_major_formatter("{x:.0%}")
left.spines[["top", "right"]].set_visible(False)
right.imshow(confusion, cmap="Greys")
right.set(
    xlabel="predicted", ylabel="true", yticks=range(len(test.classes)), yticklabels=test.classes
)
right.set_xticks(range(len(test.classes)), test.classes)
for (row, column), count in zip(
    torch.cartesian_prod(*2 * [torch.arange(len(test.classes))]), confusion.flatten()
):
    color = "white" if row == column else "black"
    right.text(column, row, int(count), ha="center", va="center", color=color)

# %%
# ``i2e train --data out/photographs`` trains the paper's MS-ResNet-18 on the same folder, with checkpoints, resuming
# and a report; see the guide to training.
