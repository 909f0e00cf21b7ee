"""``i2e calibrate``: ``i2e dataset`` with the printed ratio gives the printed event rate."""

from __future__ import annotations

import csv
import re
import shlex
from functools import partial
from pathlib import Path

import PIL.Image
import pytest
import torch

from i2e_triton.analysis.calibration import RATIOS
from i2e_triton.pipeline.manifest import read_manifest
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.pipeline.builders import DAMAGED, png, some_images


@pytest.fixture
def run(i2e: I2E) -> I2E:
    """Run ``i2e calibrate`` with these arguments."""
    return partial(i2e, "calibrate")


@pytest.fixture
def images(tmp_path: Path, generator: torch.Generator) -> Path:
    """A flat folder of images with a space in its name."""
    folder = tmp_path / "my images"
    folder.mkdir()
    for row, image in enumerate(some_images(8, generator, (20, 24))):
        (folder / f"{row}.png").write_bytes(png(image))
    return folder


def size_of(options: list[str]) -> list[int] | None:
    return [int(options[1]), int(options[2])] if options[0] == "--size" else None


@pytest.mark.parametrize(
    "options",
    [
        ["--size", "16", "12", "--resize", "crop", "--interpolation", "bilinear"],
        ["--size", "16", "12", "--order", "0", "--timesteps", "5", "--split", "train"],
        ["--kind", "folder"],
        ["--preset", "mnist", "--kind", "folder"],
    ],
)
def test_printed_command_gives_the_printed_rate(
    run: I2E, i2e: I2E, images: Path, tmp_path: Path, options: list[str]
) -> None:
    result = run(images, "--rate", 0.05, *options)
    assert result.status == 0, result.err
    (command,) = (line.removeprefix("next: ") for line in result.out.splitlines() if line.startswith("next: "))
    words = shlex.split(command)
    assert words[:5] == ["i2e", "dataset", str(images), "-o", "OUT"]
    words[4] = str(tmp_path / "events")
    assert i2e(*words[1:], "--workers", 0).status == 0
    manifest = read_manifest(tmp_path / "events")
    assert manifest is not None
    rates = torch.tensor(manifest.event_rate(), dtype=torch.float64)
    assert rates.shape[0] == (5 if "--timesteps" in options else 8)
    assert manifest.settings["size"] == ([32, 32] if "--preset" in options else size_of(options))
    ratio = words[words.index("--ratio") + 1]
    assert f"ratio {ratio}: mean event rate {float(rates.mean()):.3%}, requested 5.000%" in result.out
    assert float(rates.mean()) == pytest.approx(0.05, rel=0.1)


def test_only_one_split_is_opened(run: I2E, images: Path) -> None:
    for name in ("train", "val"):
        (images / name).mkdir()
    for path in images.glob("*.png"):
        path.rename(images / "train" / path.name)
    assert run(images, "--rate", 0.1, "--size", 16, 16).status == 0
    result = run(images, "--rate", 0.1, "--size", 16, 16, "--split", "validation")
    assert (result.status, "val" in result.err) == (1, True)


def test_curve_is_written_as_csv_and_png(run: I2E, images: Path, tmp_path: Path) -> None:
    result = run(images, "--rate", 0.1, "--size", 16, 16, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    with (tmp_path / "out" / "calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    ratios = [float(row["ratio"]) for row in rows]
    rates = [float(row["event_rate"]) for row in rows]
    found = float(result.out.split()[1].removesuffix(":"))
    assert ratios == sorted({*RATIOS, found})
    assert rates == sorted(rates, reverse=True)
    assert f"mean event rate {rates[ratios.index(found)]:.3%}, requested 10.000%" in result.out
    with PIL.Image.open(tmp_path / "out" / "calibration.png") as image:
        assert image.format == "PNG"


def test_sample_size_and_unreadable_images_are_printed(run: I2E, images: Path) -> None:
    (images / "2.png").write_bytes(DAMAGED)
    result = run(images, "--rate", 0.1, "--size", 16, 16)
    assert "from 7 images of 8" in result.out
    assert "unreadable and skipped: 1 images of the sample" in result.out
    assert "from 4 images of 8" in run(images, "--rate", 0.1, "--size", 16, 16, "--sample", 4).out


def test_unreachable_rate_is_an_error_with_the_reachable_range(run: I2E, images: Path, tmp_path: Path) -> None:
    result = run(images, "--rate", 0.7, "-o", tmp_path / "out")
    assert result.status == 1
    assert re.search(r"no ratio gives these images a mean event rate of 70.00%; choose a rate from \d", result.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", 0], "must be between 0 and 1"),
        (["--rate", 5], "must be between 0 and 1"),
        (["--rate", "nan"], "must be between 0 and 1"),
        (["--rate", 0.1, "--sample", 0], "must be at least 1, got 0"),
        (["--rate", 0.1, "--split", "test"], "must be one of train; got 'test'"),
        (["--rate", 0.1, "-o", __file__], "is a file"),
    ],
)
def test_invalid_options_are_rejected(run: I2E, images: Path, options: list[object], message: str) -> None:
    result = run(images, *options)
    assert result.status == 2
    assert message in re.sub(r"[\s│]+", " ", result.err)


def test_result_is_printed_if_the_curve_cannot_be_written(run: I2E, images: Path) -> None:
    options = ["--rate", 0.1, "--size", 16, 16]
    result = run(images, *options, "-o", images / "0.png")
    assert result.status == 2
    assert "is a file" in re.sub(r"[\s│]+", " ", result.err)
    result = run(images, *options, "-o", images / "0.png" / "out")
    assert result.status == 1
    assert result.err.startswith("stopped: ")
    assert "mean event rate" in result.out
    assert "curve:" not in result.out
