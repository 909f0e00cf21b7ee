"""The folder of a run: what is in it, who may write into it, and what a full disk does to it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from i2e_triton.training import module
from i2e_triton.training.models import build_model
from i2e_triton.training.official import load_weights, save_weights
from i2e_triton.training.recipes import Recipe, RunOptions, find_recipe
from i2e_triton.training.run import run
from tests.training.tiny import FAKE, TinyNetwork, losses, train


def test_a_run_learns_digits_and_leaves_what_its_help_says(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = find_recipe("digits").changed(epochs=2, lr=0.1, timesteps=2)
    record = train(tmp_path, recipe, max_steps=40)
    assert record.history[-1]["val_top1"] > 0.2  # 0.1 is chance
    assert record.history[-1]["train_loss"] < record.history[0]["train_loss"]
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    board = {name for name in found if "tfevents" in name}
    logs = {"logs/version_0/metrics.csv", "logs/version_0/hparams.yaml"}
    assert found - board == {"best.pt", "last.pt", "curves.png", "log.txt", ".lock", *logs}
    assert board
    printed = capsys.readouterr().err
    assert printed == (tmp_path / "log.txt").read_text()
    assert "1,293 to train, 144 to validate, 360 to test" in printed
    assert "best.pt: epoch 1, chosen by its validation top-1" in printed
    assert "because it includes label smoothing (0.1), which validation leaves out" in printed
    assert "Tip" not in printed


def test_the_recipe_fast_learns_and_is_validated_every_two_epochs(tiny: None, tmp_path: Path) -> None:
    fast = find_recipe("cifar10", "fast")
    changes = {name: getattr(fast, name) for name in ("scheduler", "holdout")}
    recipe = find_recipe("digits").changed(**changes, augmentation="flip", size=16, epochs=4, lr=0.15, ema=0.9)
    record = train(tmp_path, recipe, in_memory=True, validate_every=2, max_steps=None)
    first, last = record.history
    assert record.best == (last["val_top1"], 3)
    assert last["val_top1"] > first["val_top1"] > 0.3  # 0.1 is chance
    assert last["images_per_second"] > 0


def test_recipes_that_select_on_the_test_split_say_so(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = find_recipe("cifar10").changed(size=16, batch_size=4, epochs=1)
    train(tmp_path / "paper", paper, fake=True, max_steps=1)
    assert "This checkpoint was selected on the test split, as in the paper" in capsys.readouterr().err
    train(tmp_path / "held-out", paper.changed(holdout=0.1), fake=True, max_steps=1)
    assert "was selected" not in capsys.readouterr().err


def test_a_folder_with_a_run_is_refused(tiny: None, tmp_path: Path) -> None:
    train(tmp_path, max_steps=1)
    before = (tmp_path / "best.pt").read_bytes()
    with pytest.raises(
        ValueError, match="contains a run; add --resume to continue it, or --overwrite, or change --out"
    ):
        train(tmp_path, max_steps=1)
    with pytest.raises(ValueError, match=r"exists; choose another --name, or leave out --exist_ok"):
        train(tmp_path, max_steps=1, overwrite=True, new_folder=True)
    with pytest.raises(ValueError, match="needs --data PATH"):
        train(tmp_path, find_recipe("cifar10"), overwrite=True)  # fails before it replaces anything
    assert (tmp_path / "best.pt").read_bytes() == before
    train(tmp_path, FAKE.changed(epochs=1), max_steps=1, overwrite=True)
    assert (tmp_path / "best.pt").read_bytes() != before


def test_a_second_run_in_a_folder_is_refused_while_the_first_runs(tiny: None, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match=r"another run uses .*; wait for it"):
        train(tmp_path, max_steps=1)
    train(tmp_path, max_steps=1)


def test_a_run_that_fails_before_it_begins_leaves_no_folder(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs --data PATH"):
        train(tmp_path / "new", find_recipe("cifar10"))
    assert not (tmp_path / "new").exists()


def test_part_files_of_killed_runs_are_removed(tiny: None, tmp_path: Path) -> None:
    part = tmp_path / ".i2e-0123.part"
    part.write_bytes(bytes(100))
    train(tmp_path, max_steps=1)
    assert not part.exists()


def test_a_full_disk_keeps_the_checkpoint(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FillsTheDisk(TinyNetwork):
        """Lets files grow no further after four training steps."""

        steps = 0

        def forward(self, x: Tensor) -> Tensor:
            FillsTheDisk.steps += self.training
            if FillsTheDisk.steps == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
            return super().forward(x)

    monkeypatch.setattr(module, "build_network", FillsTheDisk)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match=r"last\.pt"):
            train(tmp_path, FAKE, checkpoint_every=3, log_every=50, max_steps=8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob(".i2e-*"))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["global_step"] == 3
    monkeypatch.setattr(module, "build_network", TinyNetwork)
    train(tmp_path, FAKE, checkpoint_every=3, resume=True)


def test_a_loss_that_is_not_finite_ends_the_run(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the loss of epoch 0, step \d is nan; lower --lr, or use --precision float32"
    ):
        train(tmp_path, FAKE.changed(lr=1e30), max_steps=8)


def test_memory_that_runs_out_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**60)

    monkeypatch.setattr(module, "build_network", Large)
    with pytest.raises(
        MemoryError, match="compute the batch of 16 in parts with --accumulate 2, or lower --batch-size"
    ):
        train(tmp_path, max_steps=1)


def test_a_defect_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Defective(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("a defect")

    monkeypatch.setattr(module, "build_network", Defective)
    with pytest.raises(RuntimeError, match="a defect"):
        train(tmp_path, max_steps=1)


def test_gpus_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for options in ({"device": "cuda"}, {"sync_bn": True}):
        with pytest.raises(ValueError, match="PyTorch finds no GPU"):
            train(tmp_path / "run", **options)


def test_precision_is_that_of_the_training_network_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[tuple[str, bool], torch.dtype] = {}

    class Watched(TinyNetwork):
        def __init__(self, recipe: Recipe):
            super().__init__(recipe)
            for name in ("i2e", "conv"):
                self.get_submodule(name).register_forward_hook(self.watch(name))

        def watch(self, name: str) -> Any:
            return lambda _, __, output: seen.update({(name, self.training): output.dtype})

    monkeypatch.setattr(module, "build_network", Watched)
    train(tmp_path, FAKE.changed(epochs=1), max_steps=2, precision="bfloat16")
    half = torch.bfloat16
    float32 = torch.float32
    expected = {("i2e", True): float32, ("conv", True): half, ("i2e", False): float32, ("conv", False): float32}
    assert seen == expected


def test_layout_and_deterministic_mode_change_nothing(tiny: None, tmp_path: Path) -> None:
    train(tmp_path / "plain", max_steps=2)
    train(tmp_path / "again", max_steps=2)
    assert losses(tmp_path / "plain") == losses(tmp_path / "again")
    try:
        train(tmp_path / "other", max_steps=2, channels_last=True, deterministic=True)
    finally:
        torch.use_deterministic_algorithms(False)
    plain, other = ([float(loss) for loss in losses(tmp_path / name).values()] for name in ("plain", "other"))
    assert other == pytest.approx(plain, rel=1e-4)
    train(tmp_path / "seed", FAKE.changed(seed=7), max_steps=2)
    assert losses(tmp_path / "seed") != losses(tmp_path / "plain")


@pytest.mark.slow
def test_a_compiled_network_trains_alike(tiny: None, tmp_path: Path) -> None:
    recipe = FAKE.changed(batch_size=2, timesteps=2, epochs=1)
    torch._dynamo.reset()
    train(tmp_path / "plain", recipe, max_steps=2)
    train(tmp_path / "compiled", recipe, max_steps=2, compile="eager")
    plain, compiled = ([float(loss) for loss in losses(tmp_path / name).values()] for name in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert all("_orig_mod" not in name for name in torch.load(tmp_path / "compiled" / "best.pt")["state_dict"])


def test_accumulated_parts_take_as_many_steps(tiny: None, tmp_path: Path) -> None:
    train(tmp_path, FAKE.changed(accumulate=4, epochs=1), max_steps=3)
    assert len(losses(tmp_path)) == 3


def test_fine_tuning_keeps_all_but_a_last_layer_of_other_classes(tmp_path: Path) -> None:
    trained = build_model("resnet18", 10)
    save_weights(tmp_path / "trained.pt", trained, 0, 0.0, {})
    recipe = FAKE.changed(classes=3, epochs=1, batch_size=2, timesteps=1, lr=0.0, weight_decay=0.0)
    train(tmp_path / "run", recipe, init=str(tmp_path / "trained.pt"), max_steps=1)
    after = build_model("resnet18", 3)
    load_weights(after, tmp_path / "run" / "best.pt")
    assert torch.equal(after.conv1.weight, trained.conv1.weight)
    with pytest.raises(ValueError, match="weights for 10 classes, the network has 3"):
        run(RunOptions(recipe, out=tmp_path, init=str(tmp_path / "trained.pt"), evaluate=True, device="cpu"))
