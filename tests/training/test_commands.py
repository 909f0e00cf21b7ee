"""``i2e train`` and ``i2e evaluate``: how they come to the command line, and what evaluating leaves."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

import i2e_triton.cli.application
from i2e_triton import convert, event_rate
from i2e_triton.training.commands import add_commands
from i2e_triton.training.data import open_splits
from i2e_triton.training.models import MSResNet, build_model
from i2e_triton.training.options import Options, parse_options
from i2e_triton.training.recipes import Recipe, recipe
from tests.training.networks import enliven
from tests.training.test_data import write_events

#: scikit-learn's digits, as small as they are.
RECIPE = recipe("demo", "digits").changed(size=8, timesteps=2)


@pytest.fixture
def network(generator: torch.Generator) -> MSResNet:
    model = build_model("resnet18", 10, ratio=RECIPE.ratio, timesteps=RECIPE.timesteps)
    enliven(model, generator)
    return model


@pytest.fixture
def checkpoint(network: MSResNet, tmp_path: Path) -> Path:
    return save(network, RECIPE, tmp_path / "best.pt")


def save(network: MSResNet, of: Recipe, path: Path) -> Path:
    torch.save({"state_dict": network.state_dict(), "epoch": 3, "best_acc1": 50.0, "recipe": of.as_dict()}, path)
    return path


def i2e(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    add_commands(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_evaluating_a_file_of_training(network: MSResNet, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = i2e("evaluate", "-c", checkpoint, "--workers", 0, "-o", out)
    assert result.exit_code == 0, result.output
    written = json.loads((out / "evaluation.json").read_text())
    samples = open_splits(RECIPE, None).validation
    images, labels = zip(*(samples[index] for index in range(360)))
    with torch.no_grad():
        logits = network(torch.stack(images))
    right = float((logits.argmax(1) == torch.tensor(labels)).double().mean())
    assert written["images"] == 360
    assert written["top1"] == pytest.approx(right)
    confusion = torch.tensor(written["confusion"])
    assert confusion.sum(1).tolist() == torch.tensor(labels).bincount(minlength=10).tolist()
    assert int(confusion.diagonal().sum()) == round(right * 360)
    assert len(written["firing_rates"]) == 20
    assert written["energy_mJ"] == pytest.approx(sum(entry["acs"] for entry in written["layers"]) * 0.9e-9)
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert "resnet18, 10 classes, after epoch 3" in result.output
    assert f"top-1 {right:.2%}" in result.output
    assert f"{written['energy_mJ']:.4f} mJ" in result.output


def test_options_come_before_the_file(checkpoint: Path, tmp_path: Path) -> None:
    """Options replace the ratio and the timesteps of the checkpoint's recipe."""
    out = tmp_path / "out"
    more = ("--ratio", 1, "--timesteps", 1, "--precision", "bfloat16", "--batch-size", 100)
    result = i2e("evaluate", "-c", checkpoint, "--workers", 0, "-o", out, *more)
    assert result.exit_code == 0, result.output
    written = json.loads((out / "evaluation.json").read_text())
    samples = open_splits(RECIPE, None).validation
    images = torch.stack([samples[index][0] for index in range(360)])
    assert written["input_rate"] == pytest.approx(float(event_rate(convert(images, 1, timesteps=1))))
    assert written["images"] == 360
    assert "events at ratio 1" in result.output


def test_no_memory_says_what_takes_less(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")

    monkeypatch.setattr("i2e_triton.training.report.evaluate", fail)
    result = i2e("evaluate", "-c", checkpoint, "--workers", 0)
    assert result.exit_code == 1
    assert result.output == "i2e evaluate: out of memory on cpu; lower --batch-size 128\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--checkpoint", "none.pt"), "i2e evaluate: none.pt: no such checkpoint file"),
        (("--dataset", "cifar11"), "dataset must be one of"),
        (("--dataset", "cifar10"), "cifar10 needs --data PATH"),
        (
            ("--dataset", "imagenet", "--data", "nowhere"),
            "nowhere: no such folder; set --data to where imagenet lies\n",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit(options: tuple[str, ...], message: str, checkpoint: Path) -> None:
    result = i2e("evaluate", "-c", checkpoint, *options)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("option", "value"),
    [("--precision", "int8"), ("--batch-size", 0), ("--workers", -1), ("--device", "tpu"), ("--recipe", "baseline2")],
)
def test_wrong_options(option: str, value: object, checkpoint: Path) -> None:
    result = i2e("evaluate", "-c", checkpoint, option, value)
    assert result.exit_code == 2
    assert option in result.output
    assert str(value) in result.output


def test_files_that_do_not_know_their_data(network: MSResNet, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    result = i2e("evaluate", "-c", tmp_path / "weights.pth")
    assert result.exit_code == 1
    assert "does not say what it was trained on; name it with --dataset" in result.output


def test_files_of_another_version(network: MSResNet, tmp_path: Path) -> None:
    torch.save({"state_dict": network.state_dict(), "recipe": {"name": "demo", "colour": 3}}, tmp_path / "best.pt")
    result = i2e("evaluate", "-c", tmp_path / "best.pt")
    assert result.exit_code == 1
    assert re.search(r"best.pt: of another version \(.*'colour'\); pass --dataset", result.output)


def test_training_gets_its_flags_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Options] = []
    monkeypatch.setattr("i2e_triton.training.train.train", given.append)
    flags = ["-bz", "128", "-dp", "/data", "--dataset", "cifar10", "-wd", "2e-4", "--resume", "--device", "cpu"]
    assert i2e("train", *flags).exit_code == 0
    assert given == [parse_options(flags)]


HELP = """
import sys
import typer
from i2e_triton.training.commands import add_commands

app = typer.Typer()
add_commands(app)
try:
    app(["train", *sys.argv[1:]])
except SystemExit as end:
    print(end.code)
heavy = ("spikingjelly", "torchvision", "torchmetrics", "matplotlib", "sklearn")
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("option", ["--help", "--lr=-1"])
def test_a_look_at_options_loads_nothing_heavy(option: str, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", HELP, option], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.splitlines()[-2:] == ["2" if option == "--lr=-1" else "0", "[]"]
    assert "i2e train" in result.stdout + result.stderr


WITHOUT_TRAIN = """
import sys
import typer
from i2e_triton.training.commands import add_commands

sys.modules["spikingjelly"] = None  # as if it were not installed
app = typer.Typer()
add_commands(app)
for command in ("train", "evaluate"):
    try:
        app([command, *(["--checkpoint", "best.pt"] if command == "evaluate" else [])])
    except SystemExit as end:
        print(end.code)
assert "torchmetrics" not in sys.modules
assert "matplotlib" not in sys.modules
"""


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    """And nothing heavy is imported before a command runs."""
    result = subprocess.run([sys.executable, "-c", WITHOUT_TRAIN], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"i2e {command} needs the package spikingjelly: pip install 'i2e-triton[train]'"
        for command in ("train", "evaluate")
    ]


def test_commands_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[EntryPoint]:
        return [EntryPoint("training", "i2e_triton.training.commands:add_commands", group)]

    monkeypatch.setattr(i2e_triton.cli.application, "entry_points", installed)
    app = typer.Typer()
    i2e_triton.cli.application.add_commands(app)
    assert [command.name for command in app.registered_commands] == ["train", "evaluate"]


def test_the_package_declares_them() -> None:
    (entry,) = importlib.metadata.entry_points(group=i2e_triton.cli.application.ENTRY_POINTS)
    assert entry.load() is add_commands


def test_events_are_evaluated_as_they_are(checkpoint: Path, tmp_path: Path) -> None:
    write_events(tmp_path / "events", 8)
    torch.save({**torch.load(checkpoint), "recipe": RECIPE.changed(size=16).as_dict()}, checkpoint)
    options = ("-c", checkpoint, "--workers", 0, "--dataset", "cifar10", "--data", tmp_path / "events", "-o", tmp_path)
    result = i2e("evaluate", *options)
    assert result.exit_code == 0, result.output
    assert f"cifar10: 4 images of validation, seen as events as they lie in {tmp_path / 'events'}\n" in result.output
    result = i2e("evaluate", *options, "--ratio", 0.5)
    assert result.exit_code == 1
    assert f"--ratio can be followed for images only, and {tmp_path / 'events'} holds events" in result.output


def test_what_is_of_training_alone_is_in_nobodys_way(network: MSResNet, tmp_path: Path) -> None:
    trained = save(network, RECIPE.changed(batch_size=400, accumulate=400, drop_to=2), tmp_path / "best.pt")
    more = ("--timesteps", 1, "--batch-size", 360, "--workers", 0)
    result = i2e("evaluate", "-c", trained, *more, "-o", tmp_path)
    assert result.exit_code == 0, result.output
