"""The recipe learns, with settings small enough for a CPU, and writes down what it did."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.progress import Progress
from torch import Tensor, nn

from i2e_triton.training import fast_cifar10
from i2e_triton.training.fast_cifar10 import SMOKE, Settings, cifar10, digits, summary
from i2e_triton.training.image_set import ImageSet
from tests.samples import noise


class Stub(nn.Module):
    """In the place of the network where only the recipe around it counts: a layer on the mean rate of each bit."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 10)

    def forward(self, packed: Tensor) -> Tensor:
        logits: Tensor = self.fc(packed.float().mean((2, 3)) / 255)
        return logits


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_cifar10, "build_model", lambda *_, **__: Stub())


def write_cifar10(folder: Path, counts: dict[str, int], size: int, generator: torch.Generator) -> None:
    """Parquet files as the hub serves them, of noise."""
    folder.mkdir(exist_ok=True)
    for split, count in counts.items():
        pictures = []
        for image in noise((count, size, size, 3), torch.uint8, generator):
            file = io.BytesIO()
            PIL.Image.fromarray(image.numpy()).save(file, "png")
            pictures.append({"bytes": file.getvalue(), "path": None})
        labels = [number % 10 for number in range(count)]
        pq.write_table(pa.table({"img": pictures, "label": labels}), folder / f"{split}.parquet")


def test_the_smoke_run_learns_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_cifar10, "TIMED_STEPS", 1)
    fast_cifar10.main(["--smoke", "--seeds", "2", "--out", str(tmp_path), "--device", "cpu"])
    found = json.loads((tmp_path / "record.json").read_text())
    assert (found["device"], found["neurons"], found["compiled"]) == ("cpu", "torch-reference", False)
    for run in found["runs"]:
        assert run["accuracy"] > 65  # 10 is chance
        assert len(run["losses"]) == SMOKE.epochs
        assert run["losses"][-1] < run["losses"][0] - 0.3


def test_several_seeds_on_files_are_recorded(
    stub: None, tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "data", {"train": 70, "test": 33}, 32, generator)
    small = Settings(size=32, epochs=3, batch_size=20)
    monkeypatch.setattr(fast_cifar10, "Settings", lambda: small)
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path / "data"), "--seeds", "3", "--out", str(out), "--device", "cpu"]
    fast_cifar10.main([*arguments, "--epochs", "2"])
    found = json.loads((out / "record.json").read_text())
    assert found["settings"]["epochs"] == 2
    assert found["settings"]["batch_size"] == 20
    assert [run["seed"] for run in found["runs"]] == [0, 1, 2]
    assert len({run["losses"][0] for run in found["runs"]}) == 3
    for run in found["runs"]:
        seconds = run["seconds"]
        assert seconds["all"] == pytest.approx(seconds["set up"] + seconds["train"] + seconds["test"])
        assert run["images_per_second"] == pytest.approx(2 * 3 * 20 / seconds["train"])
        assert list(run["seconds_of_a_step"]) == ["loader", "forward", "backward", "update"]
        assert min(run["seconds_of_a_step"].values()) > 0
        assert run["accuracy"] * 33 / 100 == pytest.approx(round(run["accuracy"] * 33 / 100), abs=1e-3)
    assert len(list((out / "cache").iterdir())) == 2


@pytest.fixture
def digit_runs(stub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few digits and steps."""
    few = ImageSet(digits()[0].images[:64], digits()[0].labels[:64])
    monkeypatch.setattr(fast_cifar10, "digits", lambda: (few, few))


def seeds_of(out: Path) -> dict[int, float]:
    found = json.loads((out / "record.json").read_text())
    assert found["summary"]["accuracy"]["mean"] == pytest.approx(np.mean([run["accuracy"] for run in found["runs"]]))
    return {run["seed"]: run["losses"][0] for run in found["runs"]}


def test_the_record_is_written_after_each_seed_and_gone_on_with(
    digit_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--smoke", "--device", "cpu", "--seeds", "3", "--out"]
    fast_cifar10.main([*arguments, str(tmp_path / "straight")])
    straight, run_seed = seeds_of(tmp_path / "straight"), fast_cifar10.run_seed
    assert len(set(straight.values())) == 3

    def killed_at_1(settings: Settings, data: Any, seed: int, *others: Any) -> dict[str, Any]:
        if seed == 1:
            raise KeyboardInterrupt
        return run_seed(settings, data, seed, *others)

    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(fast_cifar10, "run_seed", killed_at_1)
        with pytest.raises(KeyboardInterrupt):
            fast_cifar10.main([*arguments, str(cut)])
    assert seeds_of(cut) == {0: straight[0]}
    fast_cifar10.main([*arguments, str(cut)])
    assert seeds_of(cut) == straight
    with monkeypatch.context() as patch:
        patch.setattr(fast_cifar10, "run_seed", None)
        fast_cifar10.main([*arguments, str(cut)])
    assert seeds_of(cut) == straight


def test_a_record_of_something_else_is_kept(
    digit_runs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--smoke", "--device", "cpu", "--seeds", "1", "--out", str(tmp_path)]
    fast_cifar10.main(arguments)
    path = tmp_path / "record.json"
    record = path.read_text()
    for content, options, message in (
        (record, ["--epochs", "1"], "holds runs of other settings; move it away or take another --out"),
        (record.replace('"device": "cpu"', '"device": "H100"'), [], "holds runs of other device;"),
        (record[:-10], [], "is no record of runs (JSONDecodeError"),
        ("[1]", [], "is no record of runs (TypeError"),
        ("{}", [], "is no record of runs (KeyError"),
    ):
        path.write_text(content)
        with pytest.raises(SystemExit):
            fast_cifar10.main([*arguments, *options])
        assert message in capsys.readouterr().err
        assert path.read_text() == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "banana"], "--device must be cpu, cuda or cuda:N, got 'banana'"),
        (["--out", "{file}/out"], "Not a directory"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
    ],
)
def test_unfit_options_end_before_any_work(
    stub: None, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        fast_cifar10.main(["--smoke", "--device", "cpu", *(option.format(file=file) for option in options)])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_seed_repeats_its_run(stub: None) -> None:
    few = ImageSet(digits()[0].images[:100], digits()[0].labels[:100])

    def losses(seed: int) -> list[float]:
        device = torch.device("cpu")
        run = fast_cifar10.run_seed(SMOKE, (few, few), seed, device, compiled=False, progress=Progress(disable=True))
        found: list[float] = run["losses"]
        return found

    assert losses(3) == losses(3) != losses(4)


def test_the_learning_rate_rises_and_falls_once(stub: None) -> None:
    settings = Settings(lr=0.5, warmup=0.1)
    trainer = fast_cifar10.build(settings, 100, torch.device("cpu"), compiled=False)
    rates = []
    for _ in range(100):
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        trainer.optimizer.step()
        trainer.schedule.step()
    rate = np.array(rates)
    assert (rate[:, 0] == rate[:, 1]).all()
    top = int(np.argmax(rate[:, 0]))
    assert top == 9
    assert rate[top, 0] == pytest.approx(0.5)
    assert rate[0, 0] == pytest.approx(0.5 / 25)
    assert rate[-1, 0] < 0.5 / 1000
    assert (np.diff(rate[: top + 1, 0]) > 0).all()
    assert (np.diff(rate[top:, 0]) < 0).all()


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 10), (0.1, 1), (0.5, 2), (0.1, 5), (1 / 3, 3)])
def test_runs_of_few_steps(stub: None, warmup: float, steps: int) -> None:
    trainer = fast_cifar10.build(Settings(lr=0.5, warmup=warmup), steps, torch.device("cpu"), compiled=False)
    rates = []
    for _ in range(steps):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.schedule.step()
    assert rates[0] == pytest.approx(0.5 / 25)
    assert steps == 1 or rates[1] == pytest.approx(0.5)


def test_what_is_tested_is_the_average_of_the_weights(stub: None) -> None:
    trainer = fast_cifar10.build(Settings(ema=0.75), 100, torch.device("cpu"), compiled=False)
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.0, 2e-4]
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in trainer.optimizer.param_groups)
    weights = [trainer.network.fc.weight.detach().clone()]  # type: ignore[union-attr, operator]
    for _ in range(3):
        trainer.loss(torch.ones(4, 2, 3, 3, dtype=torch.uint8), torch.arange(4)).backward()
        trainer.update()
        weights.append(trainer.network.fc.weight.detach().clone())  # type: ignore[union-attr, operator]
    assert not torch.equal(weights[1], weights[3])
    expected = weights[1]
    for current in weights[2:]:
        expected = 0.75 * expected + 0.25 * current
    averaged: Any = trainer.averaged.module
    assert torch.allclose(averaged.fc.weight, expected, atol=1e-7)


def test_mean_and_spread() -> None:
    runs = [
        {"accuracy": accuracy, "seconds": {"all": seconds}, "images_per_second": 100.0}
        for accuracy, seconds in ((80.0, 10.0), (84.0, 12.0), (82.0, 11.0))
    ]
    assert summary(runs)["accuracy"] == {"mean": 82.0, "spread": 2.0}
    assert summary(runs)["seconds"] == {"mean": 11.0, "spread": 1.0}
    assert summary(runs[:1])["accuracy"]["spread"] == 0


def test_digits_are_split_without_overlap() -> None:
    train, tested = digits()
    assert (len(train), len(tested)) == (1437, 360)
    assert train.images.shape[1:] == (1, 8, 8)
    assert int(train.images.max()) == 255


def test_other_data_are_refused(tmp_path: Path, generator: torch.Generator) -> None:
    write_cifar10(tmp_path / "small", {"train": 12, "test": 10}, 28, generator)
    with pytest.raises(ValueError, match="is not CIFAR-10: it needs images"):
        cifar10(tmp_path / "small", tmp_path / "cache")
    write_cifar10(tmp_path / "half", {"train": 12}, 32, generator)
    with pytest.raises(ValueError, match="needs the splits train and test, it has train"):
        cifar10(tmp_path / "half", tmp_path / "cache")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --data PATH or --smoke"),
        (["--smoke", "--data", "x"], "give either --data PATH or --smoke"),
        (["--smoke", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--smoke", "--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--data", "nowhere", "--device", "cpu"], "nowhere does not exist"),
    ],
)
def test_unfit_options_end_with_a_message(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fast_cifar10.main([*arguments, "--out", str(tmp_path)])
    assert re.search(re.escape(message), capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
