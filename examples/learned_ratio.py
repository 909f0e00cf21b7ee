"""
A learned ratio against fixed ratios
====================================

The ratio sets how large a change must be to become an event. It is usually found by a search. With a surrogate it can
be a parameter that is trained with the network. This example trains both ways on scikit-learn's digits.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from i2e_triton import I2E, Surrogate

RATIOS = (0.02, 0.05, 0.12, 0.25, 0.5)
START = 0.12  # of the learned ratio
SEEDS = 3
EPOCHS = 6
BATCH = 64

digits = load_digits()
images = torch.from_numpy(digits.images).float()[:, None] / 16
labels = torch.from_numpy(digits.target)
test = torch.arange(len(labels)) % 5 == 0

# %%
# A small spiking network. The conversion is its first layer.


def network(ratio, learned):
    options = {"learn_ratio": True, "surrogate": Surrogate("atan", 20)} if learned else {}
    layers = nn.Sequential(
        I2E(ratio, **options),
        layer.Conv2d(2, 16, 3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        neuron.LIFNode(surrogate_function=surrogate.ATan()),
        layer.Flatten(),
        layer.Linear(16 * 8 * 8, 10),
    )
    functional.set_step_mode(layers, "m")
    return layers


def train(ratio, learned, seed):
    """Return the accuracy on the test images, and the ratio after each epoch."""
    torch.manual_seed(seed)
    model = network(ratio, learned)
    others = [parameter for name, parameter in model.named_parameters() if name != "0.ratio"]
    groups = [{"params": others, "lr": 3e-3}]
    if learned:
        groups.append({"params": [model[0].ratio], "lr": 2e-2})
    optimizer = torch.optim.Adam(groups)
    history = [ratio]
    for _ in range(EPOCHS):
        for batch in torch.randperm(int((~test).sum())).split(BATCH):
            logits = model(images[~test][batch]).mean(0)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels[~test][batch]).backward()
            optimizer.step()
            functional.reset_net(model)
        history.append(float(torch.as_tensor(model[0].ratio).detach()))
    model.eval()
    with torch.no_grad():
        right = model(images[test]).mean(0).argmax(1) == labels[test]
    functional.reset_net(model)
    return float(right.float().mean()), history


# %%
# The mean accuracy over the seeds. The learned ratio wins only if it is better by more than what the seed changes.

fixed_runs = {
    ratio: [train(ratio, False, seed)[0] for seed in range(SEEDS)] for ratio in RATIOS
}
fixed = {ratio: sum(accuracies) / SEEDS for ratio, accuracies in fixed_runs.items()}
runs = [train(START, True, seed) for seed in range(SEEDS)]
learned = sum(accuracy for accuracy, _ in runs) / SEEDS
for ratio, accuracy in fixed.items():
    print(f"fixed {ratio:4}: {accuracy:.1%}")
print(
    f"learned, from {START} to {', '.join(f'{history[-1]:.3f}' for _, history in runs)}: {learned:.1%}"
)
best = max(fixed, key=fixed.get)
spread = max(fixed_runs[best]) - min(fixed_runs[best])
print(f"best fixed ratio: {best}; its accuracy changes by {spread:.1%} with the seed")
print("The learned ratio", "wins." if learned > fixed[best] + spread else "does not win.")

# %%
# A learned ratio needs one training run, a search one per candidate.

figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(list(fixed), list(fixed.values()), "o-", label="fixed")
left.axhline(learned, color="tab:red", label="learned")
left.set(xlabel="ratio", ylabel="test accuracy", xscale="log")
left.set_xticks(RATIOS, labels=RATIOS)
left.minorticks_off()
left.legend()
for seed, (_, history) in enumerate(runs):
    right.plot(history, label=f"seed {seed}")
right.set(xlabel="epoch", ylabel="learned ratio")
right.legend()
