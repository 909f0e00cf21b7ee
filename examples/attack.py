"""
Attacks through the conversion
==============================

An adversarial attack changes each pixel by at most epsilon, so that a network is wrong. It needs the gradient of the
loss for the image, which a surrogate gives through the conversion. This example trains a small MS-ResNet on
scikit-learn's digits, and attacks it with FGSM (one step) and PGD (several steps).
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from torch import nn

from i2e_triton import I2E, Surrogate
from i2e_triton.training.models import BASIC, MSResNet

TRAIN = 960
TEST = 96
EPOCHS = 3
BATCH = 32
SIZE = 32
TIMESTEPS = 4
EPSILONS = (0.02, 0.05, 0.1)
STEPS = 5

digits = load_digits()
small = torch.from_numpy(digits.images).float()[:, None] / 16
images = nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear")
labels = torch.from_numpy(digits.target)

# %%
# Train without a surrogate: the weights do not need the gradient for the images.

torch.manual_seed(0)
model = MSResNet(BASIC, (1, 1, 1, 1), 10, I2E(0.12, timesteps=TIMESTEPS))
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
for _ in range(EPOCHS):
    for batch in torch.randperm(TRAIN).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
model.eval()
clean, right = images[TRAIN : TRAIN + TEST], labels[TRAIN : TRAIN + TEST]


@torch.no_grad()
def accuracy(inputs):
    return float((model(inputs).argmax(1) == right).float().mean())


print(f"accuracy without an attack: {accuracy(clean):.1%}")

# %%
# The attack. Each step moves along the sign of the gradient, and stays within epsilon of the original image.

model.i2e.surrogate = Surrogate("atan", 20)


def attacked(epsilon, steps):
    result = clean.clone()
    for _ in range(steps):
        result.requires_grad_()
        (gradient,) = torch.autograd.grad(
            nn.functional.cross_entropy(model(result), right), result
        )
        moved = result.detach() + min(epsilon, 2.5 * epsilon / steps) * gradient.sign()
        result = moved.clamp(clean - epsilon, clean + epsilon).clamp(0, 1)
    return result


torch.manual_seed(0)
curves = {
    "random noise": [
        accuracy((clean + e * torch.randn_like(clean).sign()).clamp(0, 1)) for e in EPSILONS
    ],
    "FGSM": [accuracy(attacked(e, 1)) for e in EPSILONS],
    "PGD": [accuracy(attacked(e, STEPS)) for e in EPSILONS],
}
for name, values in curves.items():
    print(f"{name}:", ", ".join(f"{e}: {value:.1%}" for e, value in zip(EPSILONS, values)))

# %%
# Accuracy against epsilon. Noise of the same size as the attacks shows how much of the damage the gradient causes.

figure, (left, middle, last) = pyplot.subplots(
    1, 3, figsize=(11, 3.6), layout="constrained", width_ratios=(2, 1, 1)
)
for name, values in curves.items():
    left.plot((0, *EPSILONS), (accuracy(clean), *values), "o-", label=name)
left.set(xlabel="epsilon", ylabel="accuracy", ylim=(0, 1))
left.legend()
middle.imshow(clean[0, 0], cmap="gray", vmin=0, vmax=1)
middle.set_title("original")
last.imshow(attacked(EPSILONS[-1], STEPS)[0, 0], cmap="gray", vmin=0, vmax=1)
last.set_title(f"PGD, epsilon {EPSILONS[-1]}")
for axes in (middle, last):
    axes.axis("off")
