"""Run the command line in the test process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from i2e_triton.cli.application import app


@dataclass
class Finished:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


I2E = Callable[..., Finished]


@pytest.fixture
def i2e(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> I2E:
    """Run ``i2e`` with these arguments on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(int(end.value.code or 0), captured.out, captured.err)

    return run
