"""Two processes do what one does with the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from torch import distributed

from i2e_triton.training import train
from i2e_triton.training.distributed import Launch, Place, launch, spawn
from tests.training.summing import write_sum
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


def test_processes_that_are_started_here_find_each_other(tmp_path: Path) -> None:
    spawn(partial(write_sum, tmp_path), Launch(device="cpu"), 2)
    assert (tmp_path / "0").read_text() == "3 of 2 cpu True"
    assert (tmp_path / "1").read_text() == "3 of 2 cpu False"


def test_one_process_needs_no_other() -> None:
    places: list[Place] = []
    launch(places.append, Launch(device="cpu"))
    assert places == [Place(torch.device("cpu"))]
    assert places[0].is_first
    assert not distributed.is_initialized()
