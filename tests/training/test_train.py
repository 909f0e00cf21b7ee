"""The official command line: its three commands run, and every flag has its official meaning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from i2e_triton.training import train as script
from i2e_triton.training.recipes import RunOptions, find_recipe
from i2e_triton.training.train import FLAGS, main
from tests.training.files import write_parquet
from tests.training.tiny import losses

ROOT = Path(__file__).parents[2]
SHARED = "--lr 0.1 --lr_min 5e-5 --label_smooth 0.1 --model resnet18 --shuffle 4"
OFFICIAL = {
    "CIFAR10": f"-bz 128 -dp DATA --dataset cifar10 -n CIFAR10 -cn 10 -e 256 -wd 2e-4 --ratio 0.07 -p 30 {SHARED}",
    "CIFAR100": f"-bz 128 -dp DATA --dataset cifar100 -n CIFAR100 -cn 100 -e 256 -wd 2e-4 --ratio 0.07 -p 30 {SHARED}",
    "ImageNet": f"-bz 128 -dp DATA --dataset imagenet -n ImageNet -cn 1000 -e 128 -wd 1e-5 --ratio 0.12 -p 200 {SHARED}"
    " --multiprocessing_distributed",
}


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that parses official flags, with two GPUs unless told otherwise."""

    def parse(flags: str, gpus: int = 2) -> RunOptions:
        found: list[RunOptions] = []
        monkeypatch.setattr(script, "run", found.append)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        main(flags.split())
        return found[0]

    return parse


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_commands_are_the_recipe_baseline2(name: str, options: Any) -> None:
    found = options(OFFICIAL[name])
    assert found.recipe == find_recipe(name, "baseline2")
    assert (found.data, found.out, found.log_file) == (Path("DATA"), Path("run") / name, Path("log/log.txt"))
    assert found.devices == (2 if name == "ImageNet" else 1)
    assert (found.precision, found.overwrite, found.new_folder) == ("float16", True, False)


def test_every_official_flag_is_understood(options: Any) -> None:
    found = options(
        "-bz 32 -dp p --dataset cifar10 -sp s -lp /other -eo -n n -tk 3 -s 1 -cn 10 --deterministic --dummy --resume r "
        "--dist_backend gloo -e 2 --lr 0.5 -m 0.8 -wd 0.1 --opt momentum --amp --mixup --t_train 2 --model resnet34 "
        "--ratio 0.2 --shuffle 1 --scheduler stepLR --lr_min 0.01 --warmup_t 1 --warmup_lr_init 0.02 "
        "--label_smooth 0.2 --decay_t 3 --decay_rate 0.3 -w 1 -p 5 --evaluate --gpu 1"
    )
    assert found.recipe == find_recipe("cifar10").changed(
        batch_size=32,
        mixup=True,
        ratio=0.2,
        order=1,
        drop_to=2,
        model="resnet34",
        epochs=2,
        optimizer="momentum",
        lr=0.5,
        momentum=0.8,
        weight_decay=0.1,
        label_smoothing=0.2,
        scheduler="stepLR",
        lr_min=0.01,
        warmup_epochs=1,
        warmup_lr=0.02,
        decay_epochs=3,
        decay_rate=0.3,
        seed=1,
    )
    assert (found.out, found.log_file, found.new_folder) == (Path("s/n"), Path("other/log.txt"), True)
    assert (found.deterministic, found.fake, found.evaluate, found.init) == (True, True, True, "r")
    assert (found.precision, found.device, found.backend) == ("float32", "cuda:1", "gloo")
    assert (found.workers, found.log_every) == (1, 5)


def test_the_table_has_every_official_flag() -> None:
    official = (
        "-bz -dp --dataset -sp -lp -eo -n -tk -s -cn --deterministic --dummy --resume --world_size --rank --dist_url "
        "--dist_backend --gpu --multiprocessing_distributed -e -se --lr -m -wd --opt --amp --mixup --t_train --model "
        "--ratio --shuffle --scheduler --lr_min --warmup_t --warmup_lr_init --label_smooth --decay_t --decay_rate "
        "-w -p --evaluate"
    )
    assert [flags.split()[0] for flags in FLAGS][: len(official.split())] == official.split()


def test_without_a_gpu_the_flags_fall_back_to_the_cpu(options: Any) -> None:
    found = options("--dataset cifar10 -dp p --gpu 3 --multiprocessing_distributed", gpus=0)
    assert (found.precision, found.device, found.devices) == ("float32", "auto", 1)


def test_dvscifar10_is_fine_tuned_with_the_official_values(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = options("--dataset dvscifar10 -dp p")
    recipe = found.recipe
    assert (recipe.batch_size, recipe.epochs, recipe.lr, recipe.lr_min, recipe.weight_decay) == (32, 128, 5e-4, 0, 0)
    assert (recipe.augmentation, recipe.label_smoothing, recipe.scheduler, found.init) == (
        "none",
        0.1,
        "cosineLR",
        None,
    )
    (tmp_path / "best.pth.tar").touch()  # the official default of --resume
    assert options("--dataset dvscifar10 -dp p").init == "best.pth.tar"


def test_start_epoch_continues_from_the_weights_of_the_epoch_before(options: Any) -> None:
    found = options("--dataset cifar10 -dp p -sp s -n n -se 3")
    assert (found.init, found.start_epoch) == ("s/n/weights/epoch2.pth.tar", 3)


def test_machines_are_counted_by_flags_or_by_the_environment(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")  # restored after the test
    url = "--dist_url tcp://10.0.0.1:8080"
    assert options(f"--dataset cifar10 -dp p --world_size 4 --rank 2 {url}").machines == 4
    environment = script.os.environ
    found = (environment["NODE_RANK"], environment["MASTER_ADDR"], environment["MASTER_PORT"])
    assert found == ("2", "10.0.0.1", "8080")
    environment.update(WORLD_SIZE="3", RANK="1")
    found = options("--dataset cifar10 -dp p --world_size -1 --rank -1 --dist_url env://")
    assert (found.machines, environment["NODE_RANK"]) == (3, "1")
    assert "WORLD_SIZE" not in environment


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset cifar", "dataset must be one of cifar10"),
        ("--dataset cifar10 --opt lamb", "optimizer must be one of sgd, momentum, adam, adamw; got 'lamb'"),
        ("--dataset cifar10 -bz 0", "batch_size must be at least 1, got 0"),
        ("--dataset cifar10 --shuffle 6", "order must be one of alpha-beta-gamma"),
        ("--dataset cifar10 --rank 1", "--rank must be 0 to 0 for --world_size 1, got 1"),
        ("--dataset cifar10 --rank -1", "-1 stands for the environment variable RANK, which is not set"),
        ("--dataset cifar10 --lr x", "argument --lr: invalid float value: 'x'"),
    ],
)
def test_wrong_flags_are_refused(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(flags.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_the_official_commands_train(tiny: None, tmp_path: Path) -> None:
    write_parquet(tmp_path / "ten", classes=10)
    end = f"-bz 2 -e 2 --max-steps 2 --size 16 -w 0 -p 1 --device cpu -sp {tmp_path}"
    main(f"{OFFICIAL['CIFAR10']} {end}".replace("DATA", str(tmp_path / "ten")).split())
    main(f"{OFFICIAL['CIFAR100']} {end} --dummy".split())
    main(f"{OFFICIAL['ImageNet']} {end} --dummy".split())
    for name in OFFICIAL:
        assert len(losses(tmp_path / name)) == 4
        assert (tmp_path / name / "log" / "log.txt").exists()
    main(f"{OFFICIAL['CIFAR100']} {end} --dummy -eo -n new".split())
    with pytest.raises(SystemExit):
        main(f"{OFFICIAL['CIFAR100']} {end} --dummy -eo -n new".split())


@pytest.mark.slow
def test_the_script_runs_as_a_file() -> None:
    command = [sys.executable, "training/train.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    assert all(flag in done.stdout for flags in FLAGS for flag in flags.split())


def test_modules_of_training_shadow_nothing() -> None:
    """``python training/train.py`` puts the folder before all others."""
    names = [path.stem for path in (ROOT / "training").glob("*.py") if path.stem != "__init__"]
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
