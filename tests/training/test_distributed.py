"""Two processes do what one does with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from torch import distributed
from torch.multiprocessing import ProcessExitedException

from i2e_triton.training import train
from i2e_triton.training.distributed import Launch, Place, launch, spawn
from i2e_triton.training.options import Options, parse_options
from tests.training.real_train import build_exact, take_steps
from tests.training.summing import fail_alone, tell_slowly, write_meeting
from tests.training.tiny import TinyNetwork, rows, run

ROOT = Path(__file__).parents[2]
SETTINGS = ("--dataset", "fake", "--augmentation", "crop", "--size", 16, "-bz", 12, "-e", 2, "--max-steps", 5, "-p", 2)


def test_two_processes_of_torchrun_train_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*map(str, SETTINGS), "--device", "cpu", "-w", "0", "-sp", str(tmp_path), "-n", "two"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*torchrun, "-m", "tests.training.tiny_train", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=PIPE) as process:
        try:
            _, told = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.terminate()  # and with it the two
            raise
    assert process.returncode == 0, told.decode()
    monkeypatch.setattr(train, "build_network", partial(TinyNetwork, normalised=False))
    run(*SETTINGS, "-sp", tmp_path, "-n", "one")
    one, two = tmp_path / "one", tmp_path / "two"
    losses = [[float(row["loss"]) for row in rows(folder / "steps.csv")] for folder in (one, two)]
    assert len(losses[0]) == 10
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for epoch, same in zip(rows(one / "epochs.csv"), rows(two / "epochs.csv")):
        for name in ("train_loss", "train_top1", "val_loss", "val_top1", "val_topk"):
            assert float(same[name]) == pytest.approx(float(epoch[name]), rel=1e-4), name
    first, second = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, two))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, value in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], value, rtol=1e-4, atol=1e-6)


def options_of_steps(*more: str) -> Options:
    return parse_options([*map(str, SETTINGS), "-w", "0", "--timesteps", "2", "--precision", "float32", *more])


def compare_steps(options: Options, how: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take steps in one process and in two, and compare all weights and statistics."""
    monkeypatch.setattr(train, "build_network", None)  # what the steps in this process set does not stay
    spawn(partial(take_steps, options, tmp_path / "two.pt"), how, 2)
    take_steps(replace(options, sync_bn=False), tmp_path / "one.pt", Place(torch.device(how.device)))
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    for file in ("one.pt", "two.pt"):
        (tmp_path / file).unlink()  # large
    untrained = build_exact(options.recipe).state_dict()
    assert one.keys() == two.keys() == untrained.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-7, msg=name)
        if name.endswith(("conv1.weight", "fc.weight")):
            assert float((untrained[name] - value).abs().max()) > 1e-4, name


def test_two_processes_take_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the published network; its batch normalisation goes by fixed statistics, of which each process has all."""
    compare_steps(options_of_steps("--device", "cpu"), Launch(device="cpu"), tmp_path, monkeypatch)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_with_synchronised_normalisation_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are those of the whole batch. Two processes share a GPU, which NCCL does not allow."""
    options = options_of_steps("--device", "cuda", "--sync-bn")
    compare_steps(options, Launch(device="cuda", gpu=0, backend="gloo"), tmp_path, monkeypatch)


def test_processes_that_are_started_here_find_each_other(tmp_path: Path) -> None:
    spawn(partial(write_meeting, tmp_path), Launch(device="cpu"), 2)
    found = [json.loads((tmp_path / rank).read_text()) for rank in ("0", "1")]
    assert [each["sum"] for each in found] == ["3 of 2 cpu True", "3 of 2 cpu False"]
    assert [each["decided"] for each in found] == ["by 0", "by 0"]
    assert [each["missing"] for each in found] == ["missing of 0", "missing of 0"]


def test_a_process_that_fails_alone_ends_the_others() -> None:
    with pytest.raises(ProcessExitedException) as error:
        spawn(fail_alone, Launch(device="cpu"), 2)
    assert error.value.exit_code == 3


def test_no_process_ends_before_one_has_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProcessExitedException):
        spawn(tell_slowly, Launch(device="cpu"), 2)
    assert capfd.readouterr().err.count("told\n") == 1


def test_what_all_processes_meet_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    store, ends = distributed.HashStore(), []
    for rank in (1, 0):
        with pytest.raises(SystemExit) as error:
            train.work(options_of_steps("--resume", "none.pt"), Place(torch.device("cpu"), rank, store=store))
        ends.append(error.value.code)
    assert ends == [1, 1]
    assert capsys.readouterr().err == "error: none.pt: no such checkpoint file\n"


def test_one_process_needs_no_other() -> None:
    places: list[Place] = []
    launch(places.append, Launch(device="cpu"))
    assert places == [Place(torch.device("cpu"))]
    assert places[0].is_first
    assert not distributed.is_initialized()
