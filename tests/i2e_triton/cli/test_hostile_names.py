"""No file name reaches the terminal with control characters, and none is read as rich's markup or emoji code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.datasets.builders import random_events, write_official
from tests.i2e_triton.pipeline.builders import DAMAGED

NAME = "\x1b[31m[red]:cat:"
SHOWN = "\N{REPLACEMENT CHARACTER}[31m[red]:cat:"


@pytest.fixture
def shown(i2e: I2E) -> Callable[..., int]:
    """Run a command, and return how often its output contains the name."""

    def run(*arguments: object, status: int = 0) -> int:
        end = i2e(*arguments)
        output = end.out + end.err
        assert end.status == status, output
        assert not [letter for letter in output if letter != "\n" and not letter.isprintable()]
        # A table or an error may break the name.
        letters = "".join(letter for letter in output if not letter.isspace() and letter not in "│╭╮╰╯─")
        return letters.count(SHOWN)

    return run


@pytest.fixture
def images(in_tmp_path: None, write_image: Callable[[str], Path]) -> Path:
    """A folder with two classes. All names are hostile."""
    for class_name in ("a", "b"):
        write_image(f"{NAME}/{class_name}{NAME}/{NAME}.png")
    Path(NAME, f"a{NAME}", f"damaged{NAME}.png").write_bytes(DAMAGED)
    Path(NAME, f"a{NAME}", f"text.{NAME}").touch()
    return Path(NAME)


def test_convert(shown: Callable[..., int], images: Path) -> None:
    assert shown("convert", images, "-o", "out", "--format", "npz") >= 4, "two images, one skipped, other files"
    image = images / f"a{NAME}" / f"{NAME}.png"
    assert shown("convert", image, "-o", f"out{NAME}", "--format", "npz") >= 2, "image and written file"
    assert shown("convert", images / NAME, "-o", "out", status=1) >= 1, "missing image"
    assert shown("convert", image, "-o", image.parent, "--format", "png", status=2) >= 1, "image is overwritten"


def test_dataset_stats_and_verify(shown: Callable[..., int], images: Path) -> None:
    out = f"out{NAME}"
    assert shown("dataset", images, "-o", out, "--size", 8, 8, "--workers", 0) >= 3, "skipped image, other file, output"
    assert shown("dataset", "verify", out) == 1
    assert shown("stats", out, "--source", images, "-o", f"plots{NAME}") >= 3, "two classes, output"
    Path(out, NAME).touch()
    assert shown("dataset", "verify", out, status=1) == 2
    Path(out, "manifest.json").write_text("{")
    assert shown("dataset", "verify", out, status=1) == 1
    assert shown("stats", NAME * 2, status=1) >= 1, "missing data set"


def test_split_of_an_event_data_set(shown: Callable[..., int], generator: torch.Generator, in_tmp_path: None) -> None:
    write_official(Path("events", f"{NAME}-00000-of-00001.parquet"), random_events(2, generator))
    assert shown("stats", "events", "--split", "none", status=1) == 1


def test_calibrate(shown: Callable[..., int], images: Path) -> None:
    assert shown("calibrate", images, "--rate", 0.05, "-o", f"out{NAME}") == 3, "source, plot, table"
    assert shown("calibrate", NAME * 2, "--rate", 0.05, status=1) >= 1, "missing data set"


def test_info(shown: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2e_triton.cli.info._probe", lambda check: f"no: exit status 1\n{NAME}")
    monkeypatch.setenv("TRITON_CACHE_DIR", NAME)
    monkeypatch.setattr("i2e_triton.cli.options.load_kernels", lambda: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert shown("info") >= 2


@pytest.mark.parametrize("command", ["convert", "dataset", "stats", "calibrate", "info"])
def test_unknown_option(shown: Callable[..., int], command: str) -> None:
    assert shown(command, f"--{NAME}", status=2) <= 1
