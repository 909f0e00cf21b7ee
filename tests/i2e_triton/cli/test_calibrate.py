"""``i2e calibrate``: what it prints is what ``i2e dataset`` then makes."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
import torch

from i2e_triton.analysis.calibration import RATIOS
from i2e_triton.cli import calibrate, dataset
from i2e_triton.pipeline.manifest import read_manifest
from tests.i2e_triton.cli.conftest import Finished
from tests.i2e_triton.pipeline.builders import DAMAGED, png, some_images

Run = Callable[..., Finished]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``i2e calibrate`` with these arguments, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def _run(*arguments: object) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            calibrate.app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(int(end.value.code or 0), captured.out, captured.err)

    return _run


@pytest.fixture
def pictures(tmp_path: Path, generator: torch.Generator) -> Path:
    """A flat folder of pictures, with a space in its name."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for row, image in enumerate(some_images(8, generator, (20, 24))):
        (folder / f"{row}.png").write_bytes(png(image))
    return folder


def size_of(options: list[str]) -> list[int] | None:
    return [int(options[1]), int(options[2])] if options[0] == "--size" else None


@pytest.mark.parametrize(
    "options",
    [
        ["--size", "16", "12"],
        ["--size", "16", "16", "--resize", "bilinear-crop", "--order", "0", "--timesteps", "5", "--split", "train"],
        ["--kind", "folder"],
        ["--preset", "mnist", "--kind", "folder"],
    ],
)
def test_the_command_that_is_printed_gives_the_rate_that_is_printed(
    run: Run, pictures: Path, tmp_path: Path, options: list[str]
) -> None:
    result = run(pictures, "--rate", 0.05, *options)
    assert result.status == 0, result.err
    (command,) = (line.removeprefix("next: ") for line in result.out.splitlines() if line.startswith("next: "))
    words = shlex.split(command)
    assert words[:5] == ["i2e", "dataset", str(pictures), "-o", "OUT"]
    words[4] = str(tmp_path / "events")
    with pytest.raises(SystemExit) as end:
        dataset.app([*words[2:], "--workers", "0"])
    assert not end.value.code
    manifest = read_manifest(tmp_path / "events")
    assert manifest is not None
    rates = torch.tensor(manifest.event_rate(), dtype=torch.float64)
    assert rates.shape[0] == (5 if "--timesteps" in options else 8)
    assert manifest.settings["size"] == ([32, 32] if "--preset" in options else size_of(options))
    ratio = words[words.index("--ratio") + 1]
    assert f"ratio {ratio}: mean event rate {float(rates.mean()):.3%}, wanted 5.000%" in result.out
    assert float(rates.mean()) == pytest.approx(0.05, rel=0.1)


def test_the_curve_is_written(run: Run, pictures: Path, tmp_path: Path) -> None:
    result = run(pictures, "--rate", 0.1, "--size", 16, 16, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    with (tmp_path / "out" / "calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    ratios = [float(row["ratio"]) for row in rows]
    rates = [float(row["event_rate"]) for row in rows]
    found = float(result.out.split()[1].removesuffix(":"))
    assert ratios == sorted({*RATIOS, found})
    assert rates == sorted(rates, reverse=True)
    assert f"mean event rate {rates[ratios.index(found)]:.3%}, wanted 10.000%" in result.out
    with PIL.Image.open(tmp_path / "out" / "calibration.png") as picture:
        assert picture.format == "PNG"


def test_a_sample_and_damaged_images_are_said(run: Run, pictures: Path) -> None:
    (pictures / "2.png").write_bytes(DAMAGED)
    result = run(pictures, "--rate", 0.1, "--size", 16, 16)
    assert "of 7 images out of 8" in result.out
    assert "cannot be read: 1 of the sample" in result.out
    assert "of 4 images out of 8" in run(pictures, "--rate", 0.1, "--size", 16, 16, "--sample", 4).out


def test_a_rate_beyond_reach_ends_with_what_can_be_reached(run: Run, pictures: Path, tmp_path: Path) -> None:
    result = run(pictures, "--rate", 0.7, "-o", tmp_path / "out")
    assert result.status == 1
    assert re.search(r"no ratio gives these images a mean event rate of 70.00%; choose one from \d", result.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", 0], "must be between 0 and 1"),
        (["--rate", 5], "must be between 0 and 1"),
        (["--rate", "nan"], "must be between 0 and 1"),
        (["--rate", 0.1, "--sample", 0], "must be at least 1, got 0"),
        (["--rate", 0.1, "--size", 0, 5], "at least 1 pixel"),
        (["--rate", 0.1, "--resize", "nearest"], "got 'nearest'"),
        (["--rate", 0.1, "--preset", "mnits"], "got 'mnits'"),
        (["--rate", 0.1, "--kind", "zip"], "got 'zip'"),
        (["--rate", 0.1, "--split", "test"], "must be one of train; got 'test'"),
        (["--rate", 0.1, "--timesteps", 9], "must be 1 to 8, got 9"),
        (["--rate", 0.1, "-o", __file__], "is a file"),
        (["--rate", 0.1, "--device", "tpu"], "must be cpu, cuda or cuda:N"),
    ],
)
def test_wrong_options_are_refused(run: Run, pictures: Path, options: list[object], message: str) -> None:
    result = run(pictures, *options)
    assert result.status == 2
    assert message in re.sub(r"[\s│]+", " ", result.err)


def test_a_source_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "--rate", 0.1)
    assert result.status == 1
    assert "nowhere does not exist" in result.err


def test_what_cannot_be_written_is_printed_all_the_same(run: Run, pictures: Path) -> None:
    options = ["--rate", 0.1, "--size", 16, 16]
    result = run(pictures, *options, "-o", pictures / "0.png")
    assert result.status == 2
    assert "is a file" in re.sub(r"[\s│]+", " ", result.err)
    result = run(pictures, *options, "-o", pictures / "0.png" / "out")
    assert result.status == 1
    assert result.err.startswith("stopped: ")
    assert "mean event rate" in result.out
    assert "curve:" not in result.out
