"""The examples of ``docs/datasets.md`` run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from i2e_triton.datasets import I2ECIFAR10
from i2e_triton.datasets.official import OfficialSet
from tests.i2e_triton.datasets.builders import official_record, random_events, write_official, write_parquet
from tests.i2e_triton.sources.builders import noise_image
from tests.i2e_triton.sources.test_torchvision_sets import Cifar

TEXT = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}
EXAMPLES = [
    pytest.param(code, id=name)
    for name, part in SECTIONS.items()
    for code in re.findall(r"^```python\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(I2ECIFAR10, "info", OfficialSet("I2E-CIFAR10", "cifar10", 10, 2))
    records = list(map(official_record, random_events(2, generator, (8, 2, 128, 128))))
    for split in ("train", "validation"):
        write_parquet(tmp_path / f"data/I2E-CIFAR10/{split}-00000-of-00001.parquet", records, [3, 9])
    Cifar("cifar10", tmp_path / "data", generator, monkeypatch)
    write_official(tmp_path / "out" / "train-00000-of-00001.parquet", random_events(2, generator))
    for split in ("train", "val"):
        (tmp_path / "photos" / split / "a").mkdir(parents=True)
        noise_image(generator).save(tmp_path / "photos" / split / "a" / "1.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "datasets.md", "exec"), {})
