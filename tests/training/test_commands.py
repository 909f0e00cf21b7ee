"""``i2e train`` and ``i2e evaluate`` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from i2e_triton.analysis import plots
from i2e_triton.cli.application import app
from i2e_triton.training import report
from i2e_triton.training.models import build_model
from i2e_triton.training.official import save_weights
from i2e_triton.training.recipes import RECIPES, find_recipe
from tests.training.files import write_events, write_folders
from tests.training.networks import enliven

Command = Callable[..., Result]


@pytest.fixture
def i2e() -> Command:
    """Return a function that runs the command line."""
    runner: Any = CliRunner()
    return lambda *arguments: runner.invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_train_without_arguments_explains_what_to_give(i2e: Command) -> None:
    result = i2e("train")
    assert result.exit_code == 2
    assert "i2e train --data FOLDER" in result.output
    for dataset, name in RECIPES:
        assert dataset in result.output
        assert name in result.output
    assert len(result.output.splitlines()) < 20


def test_help_groups_the_options_and_shows_defaults(i2e: Command) -> None:
    text = i2e("train", "--help").output
    for group in ("Data", "Conversion", "Network", "Optimizer and schedule", "Run", "Machine"):
        assert f"─ {group} ─" in text
    assert "--batch-size" in text
    assert "[default: (recipe's)]" in text
    assert "--no-random" in text
    evaluate = i2e("evaluate", "--help").output
    assert "CHECKPOINT" in evaluate
    assert "--epochs" not in evaluate


def test_show_prints_the_recipe(i2e: Command) -> None:
    result = i2e("train", "--dataset", "cifar10", "--lr", "0.2", "--order", "3", "--show")
    assert result.output == f"{find_recipe('cifar10').changed(lr=0.2, order=3)}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset cifar", "dataset must be one of cifar10"),
        ("--dataset cifar10 --recipe best", "recipe must be one of baseline1, baseline2, transfer1, transfer2, fast"),
        ("--dataset cifar10 --recipe transfer1", "transfer1 starts from the weights of another run"),
        ("--dataset cifar10 --epochs 0", "epochs must be at least 1, got 0"),
        ("--dataset cifar10 --workers -1", "workers must be at least 0, got -1"),
        ("--dataset cifar10 --precision half", "precision must be one of auto, float32, bfloat16, float16"),
        ("--dataset cifar10 --epochs many", "Invalid value for '--epochs'"),
    ],
)
def test_wrong_options_are_refused(i2e: Command, arguments: str, message: str) -> None:
    result = i2e("train", *arguments.split())
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_own_photographs_train_and_are_evaluated(i2e: Command, tiny: None, tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "photographs", count=12)
    out = tmp_path / "run"
    result = i2e("train", "--data", folder, "-o", out, "--epochs", 2, "--device", "cpu", "--workers", 0, "--size", 32)
    assert result.exit_code == 0, result.output
    assert "images of 3 channels, 48 x 48, 2 classes: 20 to train, 2 to validate, 2 to test" in result.output
    assert "test: top-1" in result.output
    again = i2e("train", "--data", folder, "-o", out, "--device", "cpu")
    assert again.exit_code == 1
    assert again.output.startswith("stopped: ")
    assert "add --resume to continue it" in again.output
    assert len(again.output.splitlines()) == 1


def test_own_events_train(i2e: Command, tiny: None, tmp_path: Path) -> None:
    write_events(tmp_path / "events", 40)
    settings = ("--epochs", 1, "--device", "cpu", "--workers", 0)
    result = i2e("train", "--data", tmp_path / "events", "-o", tmp_path / "run", *settings)
    assert result.exit_code == 0, result.output
    assert "events of 8 timesteps, 16 x 16, 10 classes" in result.output


def test_data_that_do_not_exist_end_with_one_line(i2e: Command, tmp_path: Path) -> None:
    result = i2e("train", "--data", tmp_path / "none", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert "none does not exist; set --data to where own is" in result.output.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_evaluate_reports_accuracy_rates_and_energy(
    i2e: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(report, "save", plots.save)
    recipe = find_recipe("own").changed(classes=2, size=32, timesteps=1, batch_size=8)
    network = enliven(build_model("resnet18", 2, timesteps=1), generator)
    save_weights(tmp_path / "best.pt", network, 3, 50.0, recipe.as_dict())
    folder = write_folders(tmp_path / "photographs", count=4)
    result = i2e("evaluate", tmp_path / "best.pt", "--data", folder, "-o", tmp_path / "out", "--workers", 0)
    assert result.exit_code == 0, result.output
    for words in (
        "resnet18, 2 classes, epoch 3",
        "of the test split, as events, ratio",
        "event rate of the input",
        "firing rate",
        "energy per image",
        "layer4.1.conv2",
    ):
        assert words in result.output
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["classes"] == ["cat", "dog"]
    assert content["images"] == sum(map(sum, content["confusion"]))
    assert 0 < content["energy_mJ"] < content["ann_energy_mJ"]
    assert 0 < content["input_rate"] < 1
    with PIL.Image.open(tmp_path / "out" / "confusion.png") as image:
        assert image.width > 500


def test_evaluate_needs_to_know_the_data(i2e: Command, tmp_path: Path) -> None:
    torch.save(build_model("resnet18", 10).state_dict(), tmp_path / "weights.pt")
    result = i2e("evaluate", tmp_path / "weights.pt")
    assert result.exit_code == 1
    assert "does not say on what it was trained; pass --dataset or --data" in result.output.replace("\n", " ")
    assert i2e("evaluate", tmp_path / "none.pt").output.startswith("stopped: ")
