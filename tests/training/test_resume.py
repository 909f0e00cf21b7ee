"""A run that was cut goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2e_triton.training import loop, train
from i2e_triton.training.distributed import Place
from i2e_triton.training.options import Options, parse_options
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.resume import find_start
from i2e_triton.training.run import Run
from tests.training.tiny import CutError, TinyNetwork, failure, rows, run

DATA = ("--dataset", "fake", "--augmentation", "crop", "--size", 16, "-bz", 16, "-e", 2, "--max-steps", 6)
ALL = (*DATA, "--mixup", "--ema", 0.9, "--accumulate", 2, "-p", 3, "--checkpoint-every", 2)


def cut_after(forwards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network end the run in a forward pass."""

    class Cut(TinyNetwork):
        left = forwards

        def forward(self, x: Tensor) -> Tensor:
            Cut.left -= self.training
            if Cut.left < 0:
                raise CutError
            return super().forward(x)

    monkeypatch.setattr(train, "build_network", Cut)


def assert_same_run(first: Path, second: Path) -> None:
    """The same losses at every step, the same epochs but for their speed, the same state at the end."""
    assert rows(first / "steps.csv") == rows(second / "steps.csv")
    epochs = [[{**row, "images_per_second": ""} for row in rows(folder / "epochs.csv")] for folder in (first, second)]
    assert epochs[0] == epochs[1]
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (first, second)]
    assert states[0]["averaging"]["steps"] == states[1]["averaging"]["steps"] > 0
    for one, other in ((state["state_dict"], state["averaging"]["network"]) for state in states):
        assert any(not torch.equal(value, other[name]) for name, value in one.items())  # the average is another one
    for one, other in zip(*((state["state_dict"], state["averaging"]["network"]) for state in states)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]), name
    assert torch.equal(states[0]["random"]["torch"], states[1]["random"]["torch"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not cut: 12 steps of two parts each."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_network", TinyNetwork)
        run(*ALL, "-sp", folder, "-n", "run")
    assert len(rows(folder / "run" / "steps.csv")) == 12
    return folder / "run"


# In the first epoch between two checkpoints, in the part of a batch, in the second epoch; workers in one of the two.
@pytest.mark.parametrize(("forwards", "workers"), [(7, 0), (10, 1), (19, 0)])
def test_a_cut_run_goes_on_to_the_same_losses(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: int, workers: int
) -> None:
    cut_after(forwards, monkeypatch)
    with pytest.raises(CutError):
        run(*ALL, "-sp", tmp_path, "-n", "run", "-w", workers)
    monkeypatch.setattr(train, "build_network", TinyNetwork)
    torch.rand(5)  # a new process has other random numbers at hand
    run(*ALL, "-sp", tmp_path, "-n", "run", "--resume")
    assert_same_run(whole, tmp_path / "run")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_after(19, monkeypatch)
    with pytest.raises(CutError):
        run(*ALL, "-sp", tmp_path, "-n", "run")
    last = tmp_path / "run" / "last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    monkeypatch.setattr(train, "build_network", TinyNetwork)
    run(*ALL, "-sp", tmp_path, "-n", "run", "--resume")
    told = capsys.readouterr().err
    assert "previous.pt at epoch 1, step 0" in told
    assert "last.pt is damaged: " in told
    assert_same_run(whole, tmp_path / "run")


def test_resuming_before_there_is_a_checkpoint_starts(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--dataset", "fake", "--size", 16, "-e", 1, "--max-steps", 1, "-sp", tmp_path, "-n", "run", "--resume")
    assert "starting anew: there is no checkpoint in" in capsys.readouterr().err
    assert len(rows(tmp_path / "run" / "steps.csv")) == 1


def test_a_run_of_other_settings_is_not_resumed(whole: Path, tmp_path: Path, tiny: None) -> None:
    settings = [*ALL, "-sp", tmp_path, "-n", "other", "--resume", whole / "last.pt"]
    with pytest.raises(SystemExit) as error:
        run(*settings, "--lr", 0.2, "--model", "resnet34")
    assert "model 'resnet18' (now 'resnet34'), lr 0.1 (now 0.2)" in failure(error)
    assert "--init" in failure(error)
    assert not (tmp_path / "other").exists()


def test_all_processes_start_where_the_first_one_does(
    whole: Path, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without the run's folder as well."""

    def options(folder: Path) -> Options:
        return parse_options([*map(str, ALL), "-sp", str(folder), "-n", whole.name, "--resume", "--device", "cpu"])

    of_the_first = find_start(options(whole.parent))
    monkeypatch.setattr(Place, "decide", lambda place, choose: of_the_first)
    trained: list[Run] = []
    monkeypatch.setattr(loop, "train", trained.append)
    train.run(options(tmp_path), Place(torch.device("cpu"), rank=1))
    assert (trained[0].epoch, trained[0].step, trained[0].best) == (
        2,
        0,
        torch.load(whole / "last.pt", weights_only=True)["best_acc1"],
    )


def test_a_run_of_another_precision_is_not_resumed(tiny: None, tmp_path: Path) -> None:
    """There is no scale of gradients to go on with."""
    run(*DATA, "-sp", tmp_path, "-n", "run")
    with pytest.raises(SystemExit) as error:
        run(*DATA, "-sp", tmp_path, "-n", "run", "--resume", "--precision", "float16")
    assert "run: what the last checkpoint holds does not fit" in failure(error)
    assert "--precision" in failure(error)


def test_another_run_is_not_written_over_unless_told(whole: Path, tmp_path: Path, tiny: None) -> None:
    settings = ["--dataset", "fake", "--size", 16, "-e", 1, "--max-steps", 1, "-sp", tmp_path, "-n", "run"]
    run(*settings)
    with pytest.raises(SystemExit) as error:
        run(*settings)
    assert "holds a run; go on with it with --resume, choose another --name, or --overwrite it" in failure(error)
    run(*settings, "--overwrite", "--lr", 0.01)
    assert [row["lr"] for row in rows(tmp_path / "run" / "steps.csv")] == ["0.01"]
    with pytest.raises(SystemExit) as error:
        run(*settings, "--overwrite", "--exist_ok")  # the published meaning: the folder must be new
    assert "is there already; choose another --name" in failure(error)


def test_what_a_checkpoint_says_is_what_the_published_ones_say(whole: Path) -> None:
    state = torch.load(whole / "last.pt", weights_only=True)
    best = torch.load(whole / "best.pt", weights_only=True)
    top1 = [100 * float(row["val_top1"]) for row in rows(whole / "epochs.csv")]
    assert state["epoch"] == 1
    assert state["best_acc1"] == best["best_acc1"] == pytest.approx(max(top1))
    assert best["epoch"] == top1.index(max(top1))
    assert Recipe(**best["recipe"]) == Recipe(**state["recipe"])
    assert "i2e.weight" in best["state_dict"]


def test_a_start_that_fails_leaves_the_run_that_it_would_overwrite(tiny: None, tmp_path: Path) -> None:
    here = ("-sp", tmp_path, "-n", "run")
    run(*DATA, *here)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")}
    with pytest.raises(SystemExit) as error:
        run("--recipe", "baseline1", "--dataset", "cifar10", "-dp", tmp_path / "none", *here, "--overwrite")
    assert "none" in failure(error)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")} == before


def test_another_run_is_not_written_over_by_resuming(tiny: None, tmp_path: Path) -> None:
    run(*DATA, "-sp", tmp_path, "-n", "one")
    run(*DATA, "-sp", tmp_path, "-n", "other")
    resumed = ("--resume", tmp_path / "one" / "last.pt", "-sp", tmp_path, "-n", "other")
    with pytest.raises(SystemExit) as error:
        run(*DATA, *resumed)
    assert "holds a run" in failure(error)


def test_a_damaged_last_checkpoint_that_is_named_falls_back_as_well(tiny: None, tmp_path: Path) -> None:
    run(*ALL, "-sp", tmp_path, "-n", "run")
    last = tmp_path / "run" / "last.pt"
    steps = rows(tmp_path / "run" / "steps.csv")
    last.write_bytes(last.read_bytes()[:1000])
    run(*ALL, "-sp", tmp_path, "-n", "run", "--resume", last)
    assert rows(tmp_path / "run" / "steps.csv") == steps
    last.replace(last.with_name("previous.pt"))  # killed between two renames
    run(*ALL, "-sp", tmp_path, "-n", "run", "--resume", last)
    assert rows(tmp_path / "run" / "steps.csv") == steps
