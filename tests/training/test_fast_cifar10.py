"""The recipe learns, with settings small enough for a CPU, and writes down what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2e_triton.training import fast_cifar10
from i2e_triton.training.module import learning_rate
from i2e_triton.training.recipes import find_recipe


@pytest.mark.slow
def test_the_small_recipe_learns_digits(tmp_path: Path) -> None:
    fast_cifar10.main(["--seeds", "0", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "record.json").read_text())
    assert found["recipe"]["epochs"] == 2
    (run,) = found["runs"]
    assert run["accuracy"] > 65  # 10 is chance
    assert run["images_per_second"] > 0


def test_every_seed_is_recorded(tiny: None, tmp_path: Path) -> None:
    fast_cifar10.main(["--seeds", "3", "4", "--epochs", "1", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "record.json").read_text())
    assert [run["seed"] for run in found["runs"]] == [3, 4]
    assert all(0 < run["accuracy"] <= 100 for run in found["runs"])
    assert (tmp_path / "seed4" / "best.pt").exists()


def test_the_learning_rate_rises_and_falls_once() -> None:
    recipe = find_recipe("cifar10", "fast")
    rates = [learning_rate(recipe, place) for place in (0, 3, 6, 30, 59.99)]
    assert rates[0] == pytest.approx(0.4 / 25)
    assert rates[2] == pytest.approx(0.4)
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4]
    assert rates[4] == pytest.approx(0.4 / 25_000, rel=0.1)
