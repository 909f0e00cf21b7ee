"""The command: it learns, takes the published commands, and says what to change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2e_triton.training import train
from i2e_triton.training.options import build_parser, parse_options
from i2e_triton.training.published import read_weights
from i2e_triton.training.recipes import Recipe, recipe
from tests.training.test_data import write_parquet
from tests.training.tiny import TinyNetwork, failure, rows, run

ROOT = Path(__file__).parents[2]
QUICK = ("--dataset", "fake", "--size", 16, "-bz", 4, "-e", 1, "--max-steps", 1, "-n", "run")


def test_a_few_hundred_steps_learn_a_small_problem(tiny: None, tmp_path: Path) -> None:
    settings = ("--dataset", "fake", "-cn", 4, "--size", 16, "-bz", 16, "-e", 3, "--max-steps", 70, "--lr", 0.2)
    run(*settings, "-sp", tmp_path, "-n", "run")
    steps, epochs = rows(tmp_path / "run" / "steps.csv"), rows(tmp_path / "run" / "epochs.csv")
    assert len(steps) == 210
    assert float(steps[0]["loss"]) > 1.2  # four classes, as good as by chance
    assert float(epochs[-1]["train_top1"]) > 0.98
    assert float(epochs[-1]["val_top1"]) > 0.98


PUBLISHED = {
    "CIFAR10": "-bz 128 -dp {data} --dataset cifar10 -n CIFAR10 -cn 10 -e 256 --lr 0.1 --lr_min 5e-5 -wd 2e-4 "
    "--label_smooth 0.1 --model resnet18 --ratio 0.07 --shuffle 4 -p 30",
    "CIFAR100": "-bz 128 -dp {data} --dataset cifar100 -n CIFAR100 -cn 100 -e 256 --lr 0.1 --lr_min 5e-5 -wd 2e-4 "
    "--label_smooth 0.1 --model resnet18 --ratio 0.07 --shuffle 4 -p 30",
    "ImageNet": "-bz 128 -dp {data} --dataset imagenet -n ImageNet -cn 1000 -e 128 --lr 0.1 --lr_min 5e-5 -wd 1e-5 "
    "--label_smooth 0.1 --model resnet18 --ratio 0.12 --shuffle 4 -p 200 --multiprocessing_distributed",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_commands_are_the_recipe_baseline2(name: str) -> None:
    options = parse_options(PUBLISHED[name].format(data="images").split())
    assert options.recipe == recipe("baseline2", name.lower())
    assert (options.data, options.folder) == (Path("images"), Path("run") / name)
    assert options.launch.spawn == (name == "ImageNet")


def test_the_published_commands_run(tmp_path: Path) -> None:
    write_parquet(tmp_path / "images", classes=10)
    end = f"-bz 2 -e 1 --max-steps 1 --size 16 -w 0 --device cpu -sp {tmp_path}".split()
    # As a file, from the root of a clone, with the data that are there.
    command = [
        sys.executable,
        "training/train.py",
        *PUBLISHED["CIFAR10"].format(data=tmp_path / "images").split(),
        *end,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    # A process started for each GPU, or one on the CPU; made-up images of a thousand classes.
    run(*PUBLISHED["ImageNet"].format(data=tmp_path).split(), *end, "--dummy")
    run(*PUBLISHED["CIFAR100"].format(data=tmp_path / "images").split(), *end)
    for name, lr in (("CIFAR10", 0.1), ("CIFAR100", 0.1), ("ImageNet", 0.1)):
        (step,) = rows(tmp_path / name / "steps.csv")
        assert float(step["lr"]) == lr
        best = torch.load(tmp_path / name / "best.pt", weights_only=True)
        assert best["state_dict"]["fc.weight"].shape[0] == recipe(None, name.lower()).classes


def test_every_published_flag_is_taken() -> None:
    flags = (
        "-bz 32 -dp p --dataset dvscifar10 -sp s -lp /log -eo -n n -tk 3 -s 1 -cn 10 --deterministic --dummy "
        "--resume r "
        "--world_size 1 --rank 0 --dist_url tcp://127.0.0.1:8080 --dist_backend nccl -e 2 -se 1 --lr 0.5 -m 0.8 "
        "-wd 0.1 --opt sgd --amp --mixup --t_train 2 --model resnet34 --ratio 0.2 --shuffle 1 --scheduler stepLR "
        "--lr_min 0.01 --warmup_t 1 --warmup_lr_init 0.02 --label_smooth 0.2 --decay_t 3 --decay_rate 0.3 "
        "-w 1 -p 5 --evaluate"
    )
    options = parse_options(flags.split())
    assert options.recipe == Recipe(
        "baseline2",
        "cifar10-dvs",
        classes=10,
        size=128,
        augmentation="flip",
        batch_size=32,
        mixup=True,
        ratio=0.2,
        order=1,
        drop_to=2,
        model="resnet34",
        epochs=2,
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
    assert (options.topk, options.print_every, options.workers, options.start_epoch) == (3, 5, 1, 1)
    assert (options.new_folder, options.deterministic, options.fake, options.evaluate) == (True, True, True, True)
    assert (options.launch.url, options.resume, options.precision) == ("tcp://127.0.0.1:8080", Path("r"), None)


def test_machines_may_be_counted_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    options = parse_options(["--dataset", "cifar10", "--world_size", "-1", "--rank", "-1", "--dist_url", "env://"])
    assert (options.launch.nodes, options.launch.node, options.launch.url) == (3, 2, "env://")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset cifar", "dataset must be one of cifar10"),
        ("--dataset cifar10 --recipe best", "recipe must be one of baseline1, baseline2, transfer1, transfer2"),
        ("--dataset cifar10 --recipe fast-cifar10", "its own: python -m i2e_triton.training.fast_cifar10"),
        ("--dataset cifar10 --evaluate", "--evaluate needs weights"),
        ("--dataset cifar10 --recipe transfer1", "transfer1 starts from the weights of another run; add --init FILE"),
        ("--dataset cifar10 --init a --resume b", "give one of them"),
        ("--dataset cifar10 --world_size 2", "--world_size needs --dist_url"),
        ("--dataset cifar10 --world_size -1", "-1 stands for WORLD_SIZE of the environment, which is not set"),
        ("--dataset cifar10 --rank -2", "argument --rank: must be a whole number, 0 or more, got -2"),
        ("--dataset cifar10 --rank 1", "--rank must be less than the 1 machines of --world_size, got 1"),
        ("--dataset cifar10 --model resnet19", "invalid choice: 'resnet19'"),
        ("--dataset cifar10 -bz 0", "argument -bz/--batch_size: must be a whole number, 1 or more, got 0"),
        ("--dataset cifar10 -p 0", "argument -p/--print_freq: must be a whole number, 1 or more, got 0"),
        ("--dataset cifar10 -tk 0", "argument -tk/--topk: must be a whole number, 1 or more, got 0"),
        ("--dataset cifar10 -w -1", "argument -w/--workers: must be a whole number, 0 or more, got -1"),
        ("--dataset cifar10 --max-steps 0", "argument --max-steps: must be a whole number, 1 or more, got 0"),
        ("--dataset cifar10 --checkpoint-every -1", "--checkpoint-every: must be a whole number, 0 or more, got -1"),
        ("--dataset cifar10 --lr -1", "argument --lr: must be a number, 0 or more, got -1"),
        ("--dataset cifar10 -m -1", "argument -m/--momentum: must be a number of at least 0 and less than 1, got -1"),
        ("--dataset cifar10 -wd -1", "argument -wd/--weight_decay: must be a number, 0 or more, got -1"),
        ("--dataset cifar10 --label_smooth 2", "argument --label_smooth: must be a number from 0 to 1, got 2"),
        ("--dataset cifar10 -s -5", "argument -s/--seed: must be a whole number from 0 to 4294967295, got -5"),
        ("--dataset cifar10 --warmup_t -3", "argument --warmup_t: must be a whole number, 0 or more, got -3"),
        ("--dataset cifar10 --size 4", "argument --size: must be a whole number, 8 or more, got 4"),
        ("--dataset cifar10 --ratio -0.1", "argument --ratio: must be a number, 0 or more, got -0.1"),
        ("--dataset cifar10 --t_train -1", "argument --t_train: must be a whole number, 0 or more, got -1"),
        ("--dataset cifar10 --t_train 20", "drop_to (--t_train) must be at most the 8 timesteps, got 20"),
        ("--dataset cifar10 --timesteps 9", "timesteps must be 1 to 8, got 9"),
        ("--dataset cifar10 --shuffle 6", "order must be one of alpha-beta-gamma"),
        ("--dataset cifar10 -se 256", "--start_epoch must be less than the 256 epochs, got 256"),
        ("--dataset cifar10 --compile nothing", "inductor, "),
        ("--dataset cifar10 --amp --precision bfloat16", "--precision bfloat16 turns it on; leave one of them out"),
        ("--dataset cifar10 --gpu 0 --device cpu", "--gpu 0 and --device cpu: leave one of them out"),
        ("--dataset cifar10 --gpu 0 --multiprocessing_distributed", "--gpu takes one GPU"),
        ("--dataset cifar10 --gpu 99", "--gpu"),
        ("--dataset cifar10 --input rgb --threshold 0.1", "are for events, and the input is rgb"),
        (
            "--dataset cifar10 --input value --ratio 0.1 --shuffle 1 --no-random",
            "--ratio, --shuffle, --no-random: on how images become events, and the input is value",
        ),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        train.main(arguments.split())
    assert error.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("train.py: error: ")
    assert printed.endswith("(train.py --help lists all options)\n")
    assert printed.count("\n") == 1


def test_the_help_names_the_recipes_that_there_are() -> None:
    text = " ".join(build_parser("train.py").format_help().split())
    assert (
        "Recipes: baseline1, baseline2, transfer1, transfer2 for cifar10, cifar100, imagenet, cifar10-dvs; "
        "baseline1 for fake; demo for digits." in text
    )


def test_a_recipe_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        train.main(["--dataset", "cifar10", "--recipe", "transfer1", "--show"])
    assert error.value.code == 0
    assert capsys.readouterr().out == f"{recipe('transfer1', 'cifar10')}\n"


def test_another_number_of_classes_is_refused(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        run("--dataset", "digits", "-cn", 7, "-sp", tmp_path)
    assert failure(error) == (
        "error: digits has 10 classes, the network 7; train one with --class_number 10, or choose another --data"
    )


def test_a_label_beyond_the_classes_is_refused(tiny: None, tmp_path: Path) -> None:
    write_parquet(tmp_path / "images", classes=10)
    with pytest.raises(SystemExit) as error:
        run("--dataset", "cifar10", "-dp", tmp_path / "images", "-cn", 4, "--size", 16, "-bz", 8, "-sp", tmp_path)
    assert "the network has 4 classes: 0 to 3; set --class_number" in failure(error)


def test_a_defect_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Defective(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("a defect")

    monkeypatch.setattr(train, "build_network", Defective)
    with pytest.raises(RuntimeError, match="a defect"):
        run(*QUICK, "-sp", tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        run(*QUICK, "--max-steps", 8, "--lr", 1e30, "-sp", tmp_path)
    assert "error: the loss of epoch 0, step" in failure(error)
    assert "lower --lr, or take --precision float32" in failure(error)


def test_synchronised_normalisation_needs_gpus(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        run(*QUICK, "--sync-bn", "-sp", tmp_path)
    assert "--sync-bn needs GPUs" in failure(error)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_scales(tiny: None, tmp_path: Path, precision: str) -> None:
    run(*QUICK, "--max-steps", 30, "-bz", 16, "-cn", 2, "--lr", 0.2, "--precision", precision, "-sp", tmp_path)
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / "steps.csv")]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert bool(state["scaler"]) == (precision == "float16")


def test_precision_is_that_of_the_network_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    class Watched(TinyNetwork):
        def __init__(self, chosen: Recipe):
            super().__init__(chosen)
            self.i2e.register_forward_hook(lambda *step: seen.append(step[-1]))
            self.conv.register_forward_hook(lambda *step: seen.append(step[-1]))

    monkeypatch.setattr(train, "build_network", Watched)
    run(*QUICK, "--precision", "bfloat16", "-sp", tmp_path / "half")
    run(*QUICK, "--precision", "float32", "-sp", tmp_path / "full")
    half, full = seen[:2], seen[4:6]
    assert torch.equal(half[0], full[0])  # the same events, bit for bit
    assert (half[1].dtype, full[1].dtype) == (torch.bfloat16, torch.float32)
    assert seen[3].dtype == torch.float32  # validation


def test_memory_format_and_compilation_change_nothing(tiny: None, tmp_path: Path) -> None:
    run(*QUICK, "--max-steps", 3, "-sp", tmp_path / "plain")
    run(*QUICK, "--max-steps", 3, "--channels-last", "--compile", "eager", "-sp", tmp_path / "other")
    plain, other = (
        [float(row["loss"]) for row in rows(tmp_path / name / "run" / "steps.csv")] for name in ("plain", "other")
    )
    assert other == pytest.approx(plain, rel=1e-4)
    options = parse_options([*map(str, QUICK), "--device", "cpu", "--channels-last", "--compile", "eager"])
    prepared = train.prepare(options, train.Place(torch.device("cpu")), train.Start())
    assert isinstance(prepared.forward, torch._dynamo.OptimizedModule)
    assert prepared.network.get_parameter("conv.weight").is_contiguous(memory_format=torch.channels_last)


def test_deterministic_runs_are_equal(tiny: None, tmp_path: Path) -> None:
    try:
        for name in ("one", "two"):
            run(*QUICK, "--max-steps", 3, "--deterministic", "-sp", tmp_path / name)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    one, two = (rows(tmp_path / name / "run" / "steps.csv") for name in ("one", "two"))
    assert one == two
    run(*QUICK, "--max-steps", 3, "--seed", 7, "-sp", tmp_path / "three")
    assert rows(tmp_path / "three" / "run" / "steps.csv") != one


def test_evaluating_gives_the_accuracy_of_training(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*QUICK, "--max-steps", 12, "-bz", 16, "-sp", tmp_path)
    capsys.readouterr()
    run(*QUICK, "--max-steps", 12, "-bz", 16, "-sp", tmp_path, "--resume", "--evaluate")
    (epoch,) = rows(tmp_path / "run" / "epochs.csv")
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(printed["top1"]) == pytest.approx(float(epoch["val_top1"]), abs=1e-6)
    assert float(printed["loss"]) == pytest.approx(float(epoch["val_loss"]), abs=1e-5)


def test_fine_tuning_keeps_all_but_a_last_layer_of_other_classes(tmp_path: Path) -> None:
    run(*QUICK, "-sp", tmp_path)
    best = tmp_path / "run" / "best.pt"
    before = torch.load(best, weights_only=True)["state_dict"]
    options = parse_options([*map(str, QUICK), "--device", "cpu", "-w", "0", "-cn", "3", "--init", str(best)])
    network = train.prepare(options, train.Place(torch.device("cpu")), train.Start(weights=read_weights(best))).network
    after = network.state_dict()
    assert after["fc.weight"].shape == (3, 512)
    assert all(torch.equal(after[name], before[name]) for name in before if not name.startswith("fc."))
    with pytest.raises(SystemExit) as error:
        run(*QUICK, "--model", "resnet34", "--init", best, "-sp", tmp_path, "-n", "other")
    assert "resnet18" in failure(error)
    assert "resnet34" in failure(error)


def test_a_published_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(*QUICK, "-sp", tmp_path)
    state = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["state_dict"]
    published = tmp_path / "theirs" / "weights" / "epoch0.pth.tar"
    published.parent.mkdir(parents=True)
    content = {"epoch": 0, "state_dict": {f"module.{name}": value for name, value in state.items()}, "best_acc1": 12.5}
    torch.save(content, published)
    run(*QUICK, "-sp", tmp_path, "-n", "theirs", "-e", 2, "--start_epoch", 1)
    assert f"going on with the weights of {published} at epoch 1" in capsys.readouterr().err
    assert [row["epoch"] for row in rows(tmp_path / "theirs" / "steps.csv")] == ["1"]


def test_a_run_goes_on_however_its_order_is_written(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*QUICK, "-sp", tmp_path)
    run(*QUICK, "-sp", tmp_path, "--resume", "--shuffle", 4)
    assert "going on with" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        run(*QUICK, "-sp", tmp_path, "--resume", "--shuffle", 3)
    assert "order 'gamma-alpha-beta' (now 'beta-gamma-alpha')" in failure(error)


def test_modules_of_training_shadow_nothing() -> None:
    """``python training/train.py`` puts the folder before all others."""
    names = [path.stem for path in (ROOT / "training").glob("*.py") if path.stem != "__init__"]
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
