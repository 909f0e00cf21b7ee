"""Recipes: the published numbers, and a step of each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from i2e_triton.training.augmentation import event_transform, training_transform, validation_transform
from i2e_triton.training.models import ARCHITECTURES, build_model
from i2e_triton.training.optimizer import build_optimizer, learning_rate
from i2e_triton.training.recipes import CHOICES, NAMES, RECIPES, Recipe, recipe
from tests.samples import photograph, resized_photograph
from tests.training.tiny import rows, run

CIFAR10 = recipe("baseline2", "cifar10")


@pytest.mark.parametrize(
    ("dataset", "classes", "size", "ratio", "epochs", "weight_decay"),
    [
        ("cifar10", 10, 128, 0.07, 256, 2e-4),
        ("cifar100", 100, 128, 0.07, 256, 2e-4),
        ("imagenet", 1000, 224, 0.12, 128, 1e-5),
    ],
)
def test_baselines_are_the_published_ones(
    dataset: str, classes: int, size: int, ratio: float, epochs: int, weight_decay: float
) -> None:
    for name in ("baseline1", "baseline2"):
        chosen = recipe(name, dataset)
        assert (chosen.classes, chosen.size, chosen.ratio, chosen.epochs) == (classes, size, ratio, epochs)
        assert (chosen.batch_size, chosen.lr, chosen.lr_min, chosen.momentum) == (128, 0.1, 5e-5, 0.9)
        assert (chosen.weight_decay, chosen.label_smoothing, chosen.model) == (weight_decay, 0.1, "resnet18")
        assert (chosen.order, chosen.timesteps, chosen.random) == ("gamma-alpha-beta", None, True)


def test_fine_tuning_on_cifar10_dvs_is_the_published_one() -> None:
    chosen = recipe("transfer2", "cifar10-dvs")
    assert (chosen.batch_size, chosen.epochs, chosen.lr, chosen.lr_min, chosen.weight_decay) == (32, 128, 5e-4, 0, 0)
    assert chosen.augmentation == "none"


def test_every_data_set_of_the_paper_has_every_recipe() -> None:
    for dataset in ("cifar10", "cifar100", "imagenet", "cifar10-dvs"):
        assert [name for name in NAMES if (name, dataset) in RECIPES] == list(NAMES)
        assert recipe(None, dataset).name == "baseline2"


def test_the_published_name_of_a_data_set_is_taken() -> None:
    assert recipe("transfer2", "dvscifar10") == recipe("transfer2", "CIFAR10-DVS") == recipe("transfer2", "cifar10-dvs")


def test_every_network_can_be_chosen() -> None:
    assert CHOICES["model"] == tuple(ARCHITECTURES)


def test_unknown_recipes_say_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"dataset must be one of cifar10, .*, got 'cifar'"):
        recipe("baseline1", "cifar")
    with pytest.raises(ValueError, match="recipe must be one of demo for digits, got 'baseline1'"):
        recipe("baseline1", "digits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lamb"}, "optimizer must be one of sgd, momentum, adam, adamw, got 'lamb'"),
        ({"model": "resnet19"}, "model must be one of resnet18, .*, got 'resnet19'"),
        ({"input": "grey"}, "input must be one of events, rgb, value, got 'grey'"),
        ({"epochs": 0}, "epochs must be a whole number, 1 or more, got 0"),
        ({"ema": 1.0}, "ema must be a number of at least 0 and less than 1, got 1.0"),
        ({"lr": math.nan}, "lr must be a number, 0 or more, got nan"),
        ({"batch_size": 2, "accumulate": 3}, "a batch of 2 cannot be computed in 3 parts"),
        ({"timesteps": 9}, "timesteps must be 1 to 8, got 9; the paper's microsaccade has no others"),
        ({"order": 6}, "order must be one of .*, or 0 to 5; got 6"),
        ({"order": (4, 5), "timesteps": 3}, "has 2 groups, too few for 3 timesteps"),
        ({"drop_to": 9}, r"drop_to \(--t_train\) must be at most the 8 timesteps, got 9"),
        ({"drop_to": 5, "timesteps": 4}, r"drop_to \(--t_train\) must be at most the 4 timesteps, got 5"),
        ({"drop_to": 4, "input": "rgb"}, r"threshold and drop_to \(--t_train\) are for events, and the input is rgb"),
        ({"threshold": 0.1, "input": "value"}, "are for events, and the input is value"),
    ],
    ids=str,
)
def test_unfit_values_say_what_would_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR10.changed(**changes)


def test_values_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"epochs must be a whole number, 1 or more, got 2\.5"):
        CIFAR10.changed(epochs=2.5)


@pytest.mark.parametrize("order", [4, "gamma-alpha-beta", "γαβ", (4, 5, 6, 7, 0, 1, 2, 3), [4, 5, 6, 7, 0, 1, 2, 3]])
def test_an_order_is_the_same_however_it_is_written(order: Any) -> None:
    assert CIFAR10.changed(order=order) == CIFAR10
    assert CIFAR10.changed(order=order).as_dict()["order"] == "gamma-alpha-beta"


def test_a_recipe_changes_prints_and_comes_back() -> None:
    changed = CIFAR10.changed(lr=0.2, order=(7, 6), timesteps=2, epochs=None)
    assert (changed.lr, changed.epochs, CIFAR10.lr) == (0.2, 256, 0.1)
    assert "lr               0.2\n" in str(changed)
    assert changed.as_dict()["order"] == [7, 6, 0, 1, 2, 3, 4, 5]
    assert Recipe(**changed.as_dict()) == changed


# What timm 1.0.19 gives: CosineLRScheduler(t_initial=256, lr_min=5e-5) and StepLRScheduler(decay_t=30), by epoch.
def test_schedules_are_those_of_timm() -> None:
    cosine = {0: 0.1, 1: 0.099996237, 64: 0.085362661, 128: 0.050025, 200: 0.011393803, 255: 5.3763e-05}
    assert [learning_rate(CIFAR10, epoch) for epoch in cosine] == pytest.approx(list(cosine.values()), abs=1e-9)
    warm = CIFAR10.changed(warmup_epochs=5, warmup_lr=0.01)
    assert [learning_rate(warm, epoch) for epoch in (0, 1, 4, 5)] == pytest.approx([0.01, 0.028, 0.082, 0.099905953])
    steps = CIFAR10.changed(scheduler="stepLR")
    assert [learning_rate(steps, epoch) for epoch in (0, 29, 30, 60)] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_the_optimiser_is_that_of_timm() -> None:
    network = build_model("resnet18", 10)
    optimizer = build_optimizer(network, CIFAR10)
    assert all(
        group["nesterov"] and group["momentum"] == 0.9 and group["lr"] == 0.1 for group in optimizer.param_groups
    )
    undecayed, decayed = optimizer.param_groups
    assert (undecayed["weight_decay"], decayed["weight_decay"]) == (0, 2e-4)
    names = {parameter: name for name, parameter in network.named_parameters()}
    assert {names[p].split(".")[-2:][0] for p in decayed["params"]} >= {"conv1", "fc"}
    assert {names[p] for p in undecayed["params"]} == {
        n for n in names.values() if "bn" in n or n.endswith(("bias", "downsample.2.weight"))
    }
    assert len(undecayed["params"]) + len(decayed["params"]) == len(names)
    assert not build_optimizer(network, CIFAR10.changed(optimizer="momentum")).param_groups[0]["nesterov"]
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        adaptive = build_optimizer(network, CIFAR10.changed(optimizer=name, lr=0.003))
        assert type(adaptive) is kind
        assert [(group["lr"], group["weight_decay"]) for group in adaptive.param_groups] == [
            (0.003, 0.0),
            (0.003, 2e-4),
        ]


PUBLISHED = {
    ("baseline1", "cifar10"): [v2.Resize((128, 128)), v2.RandomHorizontalFlip(0.5)],
    ("baseline2", "cifar100"): [
        v2.Pad(4, padding_mode="edge"),
        v2.RandomCrop(32),
        v2.Resize((128, 128)),
        v2.RandomHorizontalFlip(0.5),
    ],
    ("baseline1", "imagenet"): [v2.Resize((224, 224)), v2.RandomHorizontalFlip(0.5)],
    ("baseline2", "imagenet"): [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(0.5)],
}


@pytest.mark.parametrize(("name", "dataset"), PUBLISHED)
def test_augmentation_is_the_published_one(name: str, dataset: str) -> None:
    image = photograph("chelsea") if dataset == "imagenet" else resized_photograph("chelsea", 32)
    published, ours = v2.Compose(PUBLISHED[name, dataset]), training_transform(recipe(name, dataset))
    results = []
    for seed in range(4):
        torch.manual_seed(seed)
        expected = published(image)
        torch.manual_seed(seed)
        results.append(ours(image))
        assert results[-1].dtype == torch.uint8
        assert torch.equal(results[-1], expected)
    assert not all(torch.equal(results[0], result) for result in results[1:])


def test_validation_is_the_published_one() -> None:
    image = photograph("chelsea")
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(image)
    assert torch.equal(validation_transform(recipe("baseline1", "imagenet"))(image), expected)
    small = resized_photograph("rocket", 32)
    assert torch.equal(validation_transform(CIFAR10)(small), v2.Resize((128, 128))(small))


def test_a_pil_image_is_taken_too() -> None:
    image = resized_photograph("chelsea", 32)
    picture = v2.functional.to_pil_image(image)
    assert torch.equal(validation_transform(CIFAR10)(picture), validation_transform(CIFAR10)(image))


def test_events_are_mirrored_at_most(generator: torch.Generator) -> None:
    packed = torch.randint(0, 256, (2, 6, 8), dtype=torch.uint8, generator=generator)
    assert event_transform(recipe("baseline1", "cifar10-dvs"))(packed) is packed
    seen = [event_transform(CIFAR10)(packed) for _ in range(40)]
    assert {bool(torch.equal(events, packed)) for events in seen} == {True, False}
    assert all(torch.equal(events, packed) or torch.equal(events, packed.flip(-1)) for events in seen)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published checkpoint, for ten classes."""
    file = tmp_path_factory.mktemp("weights") / "best.pth.tar"
    state = {f"module.{name}": value for name, value in build_model("resnet18", 10).state_dict().items()}
    torch.save({"epoch": 255, "state_dict": state, "best_acc1": 90.86}, file)
    return file


@pytest.mark.parametrize(("name", "dataset"), RECIPES, ids=lambda value: value)
def test_every_recipe_builds_and_takes_a_step(name: str, dataset: str, tmp_path: Path, weights: Path) -> None:
    settings = ["--recipe", name, "--dataset", dataset, "--dummy", "--size", 16, "-bz", 2, "-e", 1, "--max-steps", 1]
    if name.startswith("transfer"):
        settings += ["--init", weights]
    run(*settings, "-sp", tmp_path, "-n", "run")
    (step,) = rows(tmp_path / "run" / "steps.csv")
    classes = RECIPES[name, dataset].classes
    assert float(step["lr"]) == RECIPES[name, dataset].lr
    assert 0.5 * math.log(classes) < float(step["loss"]) < 5 * math.log(classes)
    state = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["state_dict"]
    assert state["fc.weight"].shape == (classes, 512)
