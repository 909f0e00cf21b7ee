"""Recipes: the official numbers, and values that are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from i2e_triton.training.recipes import RECIPES, Recipe, RunOptions, find_recipe

CIFAR10 = find_recipe("cifar10", "baseline2")


@pytest.mark.parametrize(
    ("dataset", "classes", "size", "ratio", "epochs", "weight_decay"),
    [
        ("cifar10", 10, 128, 0.07, 256, 2e-4),
        ("cifar100", 100, 128, 0.07, 256, 2e-4),
        ("imagenet", 1000, 224, 0.12, 128, 1e-5),
    ],
)
def test_baselines_have_the_official_values(
    dataset: str, classes: int, size: int, ratio: float, epochs: int, weight_decay: float
) -> None:
    for name in ("baseline1", "baseline2"):
        chosen = find_recipe(dataset, name)
        assert (chosen.classes, chosen.size, chosen.ratio, chosen.epochs) == (classes, size, ratio, epochs)
        assert (chosen.batch_size, chosen.lr, chosen.lr_min, chosen.momentum) == (128, 0.1, 5e-5, 0.9)
        assert (chosen.weight_decay, chosen.label_smoothing, chosen.model) == (weight_decay, 0.1, "resnet18")
        assert (chosen.order, chosen.timesteps, chosen.random) == ("gamma-alpha-beta", None, True)
        assert chosen.holdout == 0  # the paper chose the best epoch on the test split


def test_fine_tuning_has_the_official_values() -> None:
    chosen = find_recipe("cifar10-dvs", "transfer2")
    assert (chosen.batch_size, chosen.epochs, chosen.lr, chosen.lr_min, chosen.weight_decay) == (32, 128, 5e-4, 0, 0)
    assert chosen.augmentation == "none"


def test_other_data_sets_have_recipes_too() -> None:
    assert (find_recipe("mnist").size, find_recipe("mnist").ratio) == (32, 0.1)
    assert (find_recipe("FashionMNIST").size, find_recipe("fashion-mnist").ratio) == (32, 0.15)
    assert all(recipe.holdout > 0 for (_, name), recipe in RECIPES.items() if name == "default")


def test_unknown_recipes_name_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"dataset must be one of cifar10, .*; got 'cifar'"):
        find_recipe("cifar")
    with pytest.raises(ValueError, match="recipe must be one of default for digits; got 'baseline1'"):
        find_recipe("digits", "baseline1")
    assert find_recipe("dvscifar10", "transfer2") == find_recipe("CIFAR10-DVS", "transfer2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lamb"}, "optimizer must be one of sgd, momentum, adam, adamw; got 'lamb'"),
        ({"model": "resnet19"}, "model must be one of resnet18, .*; got 'resnet19'"),
        ({"input": "grey"}, "input must be one of events, rgb, value; got 'grey'"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"ema": 1.0}, "ema must be 0 to 0.9999, got 1.0"),
        ({"lr": math.nan}, "lr must be at least 0, got nan"),
        ({"lr": math.inf}, "lr must be at least 0, got inf"),
        ({"batch_size": 128, "accumulate": 3}, "batch_size 128 must be a multiple of accumulate, got 3"),
        ({"timesteps": 9}, "timesteps must be 1 to 8, got 9"),
        ({"order": 6}, "order must be one of .*, or 0 to 5; got 6"),
        ({"order": (4, 5), "timesteps": 3}, "has 2 groups, too few for 3 timesteps"),
        ({"drop_to": 9}, "drop_to must be at most the 8 timesteps, got 9"),
        ({"drop_to": 4, "input": "rgb"}, "threshold and drop_to need events, but the input is rgb"),
        ({"threshold": 0.1, "input": "value"}, "need events, but the input is value"),
    ],
    ids=str,
)
def test_unfit_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR10.changed(**changes)


@pytest.mark.parametrize("changes", [{"epochs": 2.5}, {"lr": "0.1"}, {"seed": True}], ids=str)
def test_values_of_another_type_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(changes))} must be of type "):
        CIFAR10.changed(**changes)


def test_run_options_are_checked() -> None:
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float16; got 'half'"):
        RunOptions(CIFAR10, precision="half")
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        RunOptions(CIFAR10, workers=-1)
    with pytest.raises(ValueError, match="validate_every must be at most the 256 epochs of the run, got 257"):
        RunOptions(CIFAR10, validate_every=257)


@pytest.mark.parametrize("order", [4, "gamma-alpha-beta", "γαβ", (4, 5, 6, 7, 0, 1, 2, 3), [4, 5, 6, 7, 0, 1, 2, 3]])
def test_an_order_is_the_same_in_every_spelling(order: Any) -> None:
    assert CIFAR10.changed(order=order) == CIFAR10
    assert CIFAR10.changed(order=order).as_dict()["order"] == "gamma-alpha-beta"


def test_a_recipe_changes_prints_and_is_stored() -> None:
    changed = CIFAR10.changed(lr=0.2, order=(7, 6), timesteps=2, epochs=None)
    assert (changed.lr, changed.epochs, CIFAR10.lr) == (0.2, 256, 0.1)
    assert "lr               0.2\n" in str(changed)
    assert changed.as_dict()["order"] == [7, 6, 0, 1, 2, 3, 4, 5]
    assert Recipe(**changed.as_dict()) == changed
