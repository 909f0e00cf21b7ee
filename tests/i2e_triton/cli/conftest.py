"""Fixtures that run the command line in the test process."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pytest
import torch

from i2e_triton.cli.application import app
from tests.samples import noise


@dataclass
class Finished:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


I2E = Callable[..., Finished]


@pytest.fixture
def i2e(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> I2E:
    """Return a function that runs ``i2e`` with the given arguments in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app([str(argument) for argument in arguments], prog_name="i2e")
        captured = capsys.readouterr()
        return Finished(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_image(generator: torch.Generator) -> Callable[[str], Path]:
    """Return a function that writes noise as an image file.

    The image has 77 pixels, so that no event rate is halfway between two printed values.
    """

    def write(name: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(noise((7, 11, 3), torch.uint8, generator).numpy()).save(path)
        return path

    return write


def files_in(folder: str | Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir())


def plain(text: str) -> str:
    """Return a message without the frame and the line breaks that rich adds."""
    return " ".join(re.sub(r"[│╭╮╰╯─|+]|-{3,}", " ", text).split())
