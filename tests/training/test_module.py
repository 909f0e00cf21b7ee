"""Steps of training: equal to those of the official loop, in every recipe and ablation."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2e_triton import I2E, convert, random_shifts, reference
from i2e_triton.shifts import convolution_weight
from i2e_triton.training.models import (
    ARCHITECTURES,
    BASIC,
    MSResNet,
    SyncBatchNorm2d,
    build_model,
    convert_sync_batchnorm,
)
from i2e_triton.training.module import SpikingClassifier, average_weights, build_network, learning_rate
from i2e_triton.training.recipes import RECIPES, Recipe, find_recipe
from tests.samples import noise
from tests.training.networks import enliven, sample_images
from tests.training.official_network import OfficialNetwork
from tests.training.tiny import FAKE, TinyNetwork

STEPS = 20


class KilledError(Exception):
    """Stands for the death of a process in the middle of a step."""


class Recorder(pl.Callback):
    """Collects the loss of every step, and ends the run before a step."""

    def __init__(self, stop: int = 100) -> None:
        self.stop = stop
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.stop:
            raise KilledError

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def loader_of(batches: Any) -> DataLoader[Any]:
    """Return these batches, without a draw from the global generator."""
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


def quiet_trainer(**settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=2 if "plugins" in settings else 1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing="plugins" in settings,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def test_losses_and_weights_equal_those_of_the_official_loop(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe("cifar10", "baseline2")
    structure = {"small": ((1, 1, 1, 1), False)}
    monkeypatch.setattr("tests.training.official_network.STRUCTURE", structure)
    theirs = OfficialNetwork("small", 10, recipe.ratio)
    enliven(theirs, generator).train()
    ours = MSResNet(BASIC, (1, 1, 1, 1), 10, I2E(recipe.ratio), batch_first=False)
    ours.load_state_dict(theirs.state_dict())
    batches = [
        (noise((4, 3, 16, 16), torch.uint8, generator), torch.randint(10, (4,), generator=generator))
        for _ in range(STEPS)
    ]
    recorder = Recorder()
    torch.manual_seed(7)
    quiet_trainer(callbacks=[recorder]).fit(SpikingClassifier(recipe, ours), loader_of(batches))
    torch.manual_seed(7)
    assert recorder.losses == official_losses(theirs, recipe, batches)
    states = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items() if name != "i2e.weight")


def official_losses(network: OfficialNetwork, recipe: Recipe, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Train as the official script, in float32; each batch gets a new random weight of the conversion."""
    decayed = [parameter for parameter in network.parameters() if parameter.requires_grad and parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": recipe.weight_decay}]
    optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    for images, labels in batches:
        network.i2e.weight.data.copy_(convolution_weight(random_shifts(device="cpu")))  # type: ignore[operator,union-attr]
        loss = criterion(network(reference.scale(images)), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


RECIPE = find_recipe("cifar10").changed(size=16, batch_size=2)


@pytest.mark.parametrize(("dataset", "name"), RECIPES, ids=str)
def test_every_recipe_builds_and_takes_a_step(dataset: str, name: str, generator: torch.Generator) -> None:
    recipe = RECIPES[dataset, name]
    module = SpikingClassifier(recipe, TinyNetwork(recipe))
    images = noise((2, 3, 16, 16), torch.uint8, generator)
    optimizer = module.configure_optimizers()
    before = module.network.get_parameter("conv.weight").clone()
    module.training_step((images, torch.tensor([0, recipe.classes - 1]))).backward()
    optimizer.step()
    assert not torch.equal(module.network.get_parameter("conv.weight"), before)
    with torch.device("meta"):
        assert build_network(recipe).get_parameter("fc.weight").shape == (recipe.classes, 512)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.1},
        {"order": "alpha-beta-gamma"},
        {"timesteps": 2},
        {"random": False},
        {"input": "rgb", "timesteps": 2},
        {"input": "value", "timesteps": 2},
        {"drop_to": 2},
        {"mixup": True},
        {"zero_init": True},
        {"optimizer": "adamw", "lr": 1e-3},
        {"optimizer": "momentum"},
    ],
    ids=str,
)
def test_every_ablation_takes_a_step(
    changes: dict[str, Any], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "resnet18", (BASIC, (1, 1, 1, 1)))
    module = SpikingClassifier(RECIPE.changed(**changes))
    optimizer = module.configure_optimizers()
    before = module.network.get_parameter("fc.weight").detach().clone()
    images = noise((2, 3, 16, 16), torch.uint8, generator)
    for _ in range(2):
        loss = module.training_step((images, torch.tensor([1, 2])))
        loss.backward()
        optimizer.step()
    assert 0.5 < float(loss.detach()) < 10
    assert not torch.equal(module.network.get_parameter("fc.weight"), before)


def test_dropped_timesteps_keep_their_order(generator: torch.Generator) -> None:
    module = SpikingClassifier(RECIPE.changed(drop_to=3, random=False), TinyNetwork(RECIPE.changed(random=False)))
    images = noise((2, 3, 16, 16), torch.uint8, generator)
    events = convert(images, RECIPE.ratio)
    seen = set()
    for _ in range(8):
        kept = [int((events == each).flatten(1).all(1).nonzero()) for each in module.drop_timesteps(images)]
        assert kept == sorted(kept)
        seen.add(tuple(kept))
    assert len(seen) > 3


def test_mixup_ends_after_two_thirds_of_the_epochs(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SpikingClassifier(RECIPE.changed(mixup=True, epochs=3), TinyNetwork(RECIPE))
    seen: list[Tensor] = []
    module.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = noise((2, 3, 16, 16), torch.uint8, generator)
    for epoch in (2, 3):
        monkeypatch.setattr(SpikingClassifier, "current_epoch", epoch)
        module.training_step((images, torch.tensor([1, 2])))
    assert seen[0].dtype == torch.float32
    assert seen[1] is images


# What timm 1.0 gives by epoch, so that the test runs without it; with it, all epochs are compared.
def test_schedules_are_those_of_timm() -> None:
    cosine = {0: 0.1, 1: 0.099996237, 64: 0.085362661, 128: 0.050025, 200: 0.011393803, 255: 5.3763e-05}
    assert [learning_rate(RECIPE, epoch) for epoch in cosine] == pytest.approx(list(cosine.values()), abs=1e-9)
    steps = RECIPE.changed(scheduler="stepLR", warmup_epochs=5)
    assert [learning_rate(steps, epoch) for epoch in (30, 34, 35)] == pytest.approx([0.1, 0.1, 0.01])
    scheduler = pytest.importorskip("timm.scheduler")
    for warmup in (0, 5):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        shared: dict[str, Any] = {"warmup_t": warmup, "warmup_lr_init": 0.01}
        for name, theirs in (
            ("cosineLR", scheduler.CosineLRScheduler(optimizer, t_initial=256, lr_min=5e-5, **shared)),
            ("stepLR", scheduler.StepLRScheduler(optimizer, decay_t=30, decay_rate=0.1, **shared)),
        ):
            recipe = RECIPE.changed(scheduler=name, warmup_epochs=warmup, warmup_lr=0.01)
            for epoch in range(256):
                theirs.step(epoch)
                assert learning_rate(recipe, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_the_learning_rate_rises_and_falls_once() -> None:
    recipe = find_recipe("cifar10", "fast")
    rates = [learning_rate(recipe, place) for place in (0, 3, 6, 30, 59.99)]
    assert rates[0] == pytest.approx(0.4 / 25)
    assert rates[2] == pytest.approx(0.4)
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4]
    assert rates[4] == pytest.approx(0.4 / 25_000, rel=0.1)


def test_the_average_moves_by_its_decay_and_copies_integers() -> None:
    network: Any = nn.BatchNorm1d(2)
    callback = average_weights(0.75)
    module = SpikingClassifier(RECIPE, network)
    callback.setup(quiet_trainer(), module, "fit")
    average = callback._average_model
    assert average is not None
    average.update_parameters(module)  # the first update copies
    network.weight.data.fill_(3.0)
    network.num_batches_tracked.fill_(9)
    average.update_parameters(module)
    assert average.module.network.weight.tolist() == [1.5, 1.5]  # type: ignore[union-attr,operator]
    assert int(average.module.network.num_batches_tracked) == 9  # type: ignore[union-attr,arg-type]


def test_gradients_do_not_decay_biases() -> None:
    groups = SpikingClassifier(RECIPE, nn.Linear(2, 2)).configure_optimizers().param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.0), (1, 2e-4)]


def test_convert_sync_batchnormd_normalization_is_the_same_on_one_device(generator: torch.Generator) -> None:
    network = enliven(build_model("resnet18", 10, batch_first=False), generator).double()
    images = sample_images(generator)
    names, expected = list(network.state_dict()), network(images)
    convert_sync_batchnorm(network)
    assert list(network.state_dict()) == names
    assert sum(isinstance(module, SyncBatchNorm2d) for module in network.modules()) == 20
    assert torch.equal(network(images), expected)


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_that_are_not_classes(label: int) -> None:
    module = SpikingClassifier(FAKE, TinyNetwork(FAKE))
    low, high = min(2, label), max(2, label)
    with pytest.raises(
        ValueError, match=f"labels are {low} to {high}, but the network has the classes 0 to 9; set --c"
    ):
        module.on_before_batch_transfer((torch.zeros(2), torch.tensor([2, label])), 0)


def test_recipes_name_the_networks_that_exist() -> None:
    assert tuple(ARCHITECTURES) == Recipe.__dataclass_fields__["model"].metadata["choices"]


def test_loss_of_validation_has_no_label_smoothing(generator: torch.Generator) -> None:
    module = SpikingClassifier(FAKE, TinyNetwork(FAKE)).eval()
    images, labels = noise((6, 3, 16, 16), torch.uint8, generator), torch.arange(6)
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    (found,) = quiet_trainer().test(module, loader_of(batches), verbose=False)
    with torch.no_grad():
        logits = module(images)
    assert found["test/loss"] == pytest.approx(float(F.cross_entropy(logits, labels)))
    assert found["test/top1"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert found["test/top5"] == pytest.approx(
        float((logits.topk(5).indices == labels[:, None]).any(1).double().mean())
    )
    expected = confusion_matrix(labels, logits.argmax(1), labels=range(10))
    assert torch.equal(module.confusion, torch.from_numpy(expected))
