"""What ``i2e evaluate`` says of the files that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2e_triton.training import report
from i2e_triton.training.confusion import draw_confusion
from i2e_triton.training.published import CheckpointError
from i2e_triton.training.report import Settings
from tests.training.test_data import write_parquet
from tests.training.tiny import rows, run

#: One batch of validation: all 360 digits.
QUICK = ("--size", 8, "--timesteps", 1, "-e", 1, "--max-steps", 2, "-bz", 360)


def evaluated(checkpoint: Path, data: Path | None = None) -> dict[str, object]:
    """Evaluate a file, and return what is written of it."""
    settings = Settings(
        checkpoint, data, None, None, None, None, 360, 0, torch.device("cpu"), "float32", checkpoint.parent / "out"
    )
    report.report(settings)
    found: dict[str, object] = json.loads((settings.out / "evaluation.json").read_text())
    return found


def test_the_last_checkpoint_has_the_accuracy_that_the_run_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--dataset", "digits", *QUICK, "--ema", 0.5, "-sp", tmp_path, "-n", "run")
    (epoch,) = rows(tmp_path / "run" / "epochs.csv")
    last, best = (evaluated(tmp_path / "run" / name) for name in ("last.pt", "best.pt"))
    assert last == best
    assert last["images"] == 360
    assert last["top1"] == pytest.approx(float(epoch["val_top1"]))
    assert last["loss"] == pytest.approx(float(epoch["val_loss"]))
    assert (
        "last.pt: resnet18, 10 classes, after epoch 0, the average of its weights (--ema 0.5)"
        in capsys.readouterr().out
    )


def test_the_confusion_matrix_names_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "images", 3, ["one", "two", "three"])
    run("--dataset", "cifar10", "-dp", tmp_path / "images", "-cn", 3, *QUICK, "-sp", tmp_path, "-n", "run")
    drawn: list[list[str]] = []

    def plot(confusion: torch.Tensor, path: Path, classes: tuple[str, ...] | None) -> None:
        axes = draw_confusion(confusion, classes).axes[0]
        drawn.append([label.get_text() for label in axes.get_yticklabels()])

    monkeypatch.setattr(report, "plot_confusion", plot)
    assert evaluated(tmp_path / "run" / "last.pt", tmp_path / "images")["classes"] == drawn[0]
    assert drawn == [["one", "two", "three"]]


def test_a_network_that_diverged_gives_no_results(tmp_path: Path) -> None:
    run("--dataset", "digits", *QUICK, "-sp", tmp_path, "-n", "run")
    path = tmp_path / "run" / "last.pt"
    state = torch.load(path, weights_only=True)
    state["state_dict"]["fc.bias"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"last\.pt: its network gives numbers that are not finite"):
        evaluated(path)
    assert not (tmp_path / "run" / "out" / "evaluation.json").exists()
