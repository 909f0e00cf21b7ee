"""Several processes compute what one process computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.tiny import losses

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run(out: Path, devices: int, *launcher: str) -> None:
    command = [sys.executable, *launcher, "-m", "tests.training.settled", str(out), str(devices)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    run(tmp_path / "one", 1)
    run(tmp_path / "torchrun", 2, *TORCHRUN)  # gloo
    run(tmp_path / "lightning", 2)  # as --multiprocessing_distributed and --devices 2 start processes
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


@pytest.mark.slow
def test_a_killed_process_resumes(tmp_path: Path) -> None:
    """SIGKILL in the middle of an epoch, through the command line, with workers."""
    shared = ["--dataset", "digits", "--device", "cpu", "--size", "16", "--timesteps", "1", "--batch-size", "4"]
    shared += ["--max-steps", "6", "--epochs", "1", "--log-every", "1", "--checkpoint-every", "2", "--workers", "2"]
    command = [sys.executable, "-m", "i2e_triton", "train", *shared]
    environment_free = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "-o", str(tmp_path / "whole")], check=True, timeout=600, **environment_free)  # type: ignore[call-overload]
    with subprocess.Popen([*command, "-o", str(tmp_path / "killed")], **environment_free) as process:  # type: ignore[call-overload]
        while not (tmp_path / "killed" / "last.pt").exists() and process.poll() is None:
            pass
        process.kill()
    subprocess.run([*command, "-o", str(tmp_path / "killed"), "--resume"], check=True, timeout=600, **environment_free)  # type: ignore[call-overload]
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True)["state_dict"] for name in ("whole", "killed")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not list((tmp_path / "killed").glob(".i2e-*"))
