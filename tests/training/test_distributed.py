"""Several processes compute what one process computes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only

from i2e_triton.training import module
from i2e_triton.training.run import run
from tests.training import settled
from tests.training.tiny import losses

ROOT = Path(__file__).parents[2]


def run_under_torchrun(out: Path, rank: int, port: int) -> None:
    """Run as a process that torchrun has started."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    os.environ |= {name: str(value) for name, value in (ranks | address).items()}
    vars(rank_zero_only)["rank"] = rank  # Lightning reads RANK when it is imported
    module.build_network = settled.build_settled
    run(settled.options(out, 2))


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gloo, as torchrun and as Lightning (``--devices 2``, ``--multiprocessing_distributed``) start processes."""
    command = [sys.executable, "-m", "tests.training.settled", str(tmp_path / "lightning"), "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as lightning:
        monkeypatch.setattr(module, "build_network", settled.build_settled)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Not forks: autograd does not work in a fork of a process that used it.
        spawn = multiprocessing.get_context("spawn").Process
        processes = [spawn(target=run_under_torchrun, args=(tmp_path / "torchrun", rank, port)) for rank in range(2)]
        for process in processes:
            process.start()
        run(settled.options(tmp_path / "one", 1))
        for process in processes:
            process.join(300)
            assert process.exitcode == 0
        assert lightning.wait(300) == 0
    weights = torch.load(tmp_path / "one" / "last.pt", weights_only=True)["state_dict"]
    expected = {step: float(loss) for step, loss in losses(tmp_path / "one").items()}
    assert len(expected) == 3
    for name in ("torchrun", "lightning"):
        assert {step: float(loss) for step, loss in losses(tmp_path / name).items()} == pytest.approx(
            expected, rel=1e-6
        )
        others = torch.load(tmp_path / name / "last.pt", weights_only=True)["state_dict"]
        for key, value in weights.items():
            torch.testing.assert_close(others[key], value, rtol=1e-9, atol=1e-12, msg=key)
