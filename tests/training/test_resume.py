"""A run that was killed continues to the same losses, step for step."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2e_triton.augmentation import RandomCropResizeFlip
from i2e_triton.training import module
from i2e_triton.training.callbacks import CheckpointFiles, ResumePoints
from i2e_triton.training.image_loader import GPUImageLoader, ImageSet
from i2e_triton.training.module import SpikingClassifier
from i2e_triton.training.official import CheckpointError
from i2e_triton.training.recipes import find_recipe
from tests.samples import noise
from tests.training.files import write_events
from tests.training.test_module import KilledError, Recorder, quiet_trainer
from tests.training.tiny import FAKE, TinyNetwork, losses, train

STEPS = 6
CROP = FAKE.changed(augmentation="crop", mixup=True, ema=0.9, accumulate=2)
OPTIONS: dict[str, Any] = {"max_steps": STEPS, "checkpoint_every": 2}


def raise_killed() -> None:
    raise KilledError


def kill_after(forwards: int, monkeypatch: pytest.MonkeyPatch, kill: Callable[[], None] = raise_killed) -> None:
    """Let the network end the run in a training forward pass."""

    class Killed(TinyNetwork):
        left = forwards

        def forward(self, x: Tensor) -> Tensor:
            Killed.left -= self.training
            if Killed.left < 0:
                kill()
            return super().forward(x)

    monkeypatch.setattr(module, "build_network", Killed)


def assert_equal_weights(first: Path, second: Path) -> None:
    states = [torch.load(folder / "last.pt", weights_only=True)["state_dict"] for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_network", TinyNetwork)
        train(folder, CROP, **OPTIONS)
    assert len(losses(folder)) == 2 * STEPS
    return folder


# Killed in the first epoch between two checkpoints, within an accumulated batch, and in the second epoch.
@pytest.mark.parametrize(("forwards", "workers"), [(7, 0), (10, 0), (19, 0), (7, 2)])
def test_a_killed_run_resumes_to_the_same_losses(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: int, workers: int
) -> None:
    kill_after(forwards, monkeypatch)
    with pytest.raises(KilledError):
        train(tmp_path, CROP, workers=workers, **OPTIONS)
    assert 0 < len(losses(tmp_path)) < 2 * STEPS
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    torch.rand(5)  # a new process has another random state
    record = train(tmp_path, CROP, resume=True, workers=workers, **OPTIONS)
    assert losses(tmp_path) == losses(whole)
    assert_equal_weights(tmp_path, whole)
    assert len(record.history) == 2


def train_until_killed(out: Path) -> None:
    kill_after(10, pytest.MonkeyPatch(), lambda: os.kill(os.getpid(), signal.SIGKILL))
    train(out, CROP, workers=2, **OPTIONS)


@pytest.mark.slow
def test_a_process_that_is_killed_by_a_signal_resumes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not a fork: autograd does not work in a fork of a process that used it.
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed, args=(tmp_path,))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    train(tmp_path, CROP, resume=True, workers=2, **OPTIONS)
    assert_equal_weights(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_on_converted_events_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    write_events(tmp_path / "events", 40)
    recipe = find_recipe("own").changed(batch_size=4, epochs=2)
    options: dict[str, Any] = {"max_steps": 5, "checkpoint_every": 2, "data": tmp_path / "events", "workers": workers}
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    train(tmp_path / "whole", recipe, **options)
    kill_after(7, monkeypatch)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", recipe, **options)
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    torch.rand(5)
    train(tmp_path / "killed", recipe, resume=True, **options)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert_equal_weights(tmp_path / "killed", tmp_path / "whole")


def test_a_run_on_images_in_memory_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("digits").changed(size=16, timesteps=2, epochs=1, augmentation="flip")
    options: dict[str, Any] = {"max_steps": 5, "checkpoint_every": 2, "in_memory": True}
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    train(tmp_path / "whole", recipe, **options)
    kill_after(3, monkeypatch)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", recipe, **options)
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    train(tmp_path / "killed", recipe, resume=True, **options)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_a_users_trainer_with_the_gpu_loader_resumes(tmp_path: Path, generator: torch.Generator) -> None:
    images = ImageSet(noise((20, 3, 16, 16), torch.uint8, generator), torch.arange(20) % 10)

    def fit(out: Path, stop: int = 100, resume: Path | None = None) -> list[float]:
        torch.manual_seed(0)
        loader = GPUImageLoader(images, 4, augment=RandomCropResizeFlip(16, 16, 2), seed=3, packed=True)
        recorder, points = Recorder(stop), ResumePoints(out, every=1)
        trainer = quiet_trainer(callbacks=[recorder, points], plugins=[CheckpointFiles()])
        with pytest.raises(KilledError) if stop < 10 else nullcontext():
            trainer.fit(SpikingClassifier(FAKE, TinyNetwork(FAKE)), loader, ckpt_path=resume, weights_only=True)
        return recorder.losses

    whole = fit(tmp_path / "whole")
    assert len(whole) == 10
    first = fit(tmp_path / "killed", stop=7)
    second = fit(tmp_path / "killed", resume=tmp_path / "killed" / "last.pt")
    assert first + second == whole


def test_a_finished_run_is_not_repeated(
    whole: Path, tmp_path: Path, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in whole.glob("*.pt")} == {"best.pt", "last.pt"}
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    record = train(tmp_path, CROP, resume=True, **OPTIONS)
    assert len(record.history) == 2
    assert (tmp_path / "last.pt").read_bytes() == (whole / "last.pt").read_bytes()
    assert "best.pt: epoch" in capsys.readouterr().err


def test_resuming_before_there_is_a_checkpoint_starts(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, resume=True, max_steps=1)
    assert "contains no checkpoint; starting from the beginning" in capsys.readouterr().err
    assert len(losses(tmp_path)) == 2


def test_a_run_with_other_settings_is_not_resumed(whole: Path, tmp_path: Path, tiny: None) -> None:
    (tmp_path / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"belongs to a run with model 'resnet18' \(now 'resnet34'\), lr 0.05 \(now"
    ):
        train(tmp_path, CROP.changed(lr=0.2, model="resnet34"), resume=True)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 broken", b"no checkpoint"])
def test_a_broken_file_ends_with_one_line(tmp_path: Path, tiny: None, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged, or not a checkpoint"):
        train(tmp_path, FAKE, resume=True)


def test_weights_alone_are_not_resumed(whole: Path, tmp_path: Path, tiny: None) -> None:
    shutil.copy(whole / "best.pt", tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"it has no callbacks, loops, optimizer_states, .*--init .*last\.pt"):
        train(tmp_path, CROP, resume=True)


def test_a_recipe_of_another_version_is_not_resumed(whole: Path, tmp_path: Path, tiny: None) -> None:
    state = torch.load(whole / "last.pt", weights_only=True)
    state["recipe"]["unknown"] = 1
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(
        CheckpointError, match=r"written by another version of i2e-triton \(.*unknown.*--init .*last.pt"
    ):
        train(tmp_path, CROP, resume=True)
