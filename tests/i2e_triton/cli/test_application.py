"""Missing packages: help needs only the ``cli`` extra; a command exits with the pip command for its extra."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_PACKAGES = """
import sys
sys.modules.update(dict.fromkeys({packages}))
from i2e_triton.__main__ import main
main()
"""


def run_without(packages: tuple[str, ...], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``i2e`` in a subprocess in which these packages cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_PACKAGES.format(packages=packages), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


DATA_EXTRA = ("filelock", "matplotlib", "pyarrow", "torchvision")


@pytest.mark.parametrize("arguments", ["--help", "dataset --help", "calibrate --help"])
@pytest.mark.slow
def test_help_needs_only_the_cli_extra(arguments: str, tmp_path: Path) -> None:
    finished = run_without(DATA_EXTRA, tmp_path, *arguments.split())
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("arguments", ["dataset in -o out", "stats in"])
@pytest.mark.slow
def test_missing_data_extra_is_reported_in_one_line(arguments: str, tmp_path: Path) -> None:
    finished = run_without(DATA_EXTRA, tmp_path, *arguments.split())
    assert finished.returncode == 1
    assert re.fullmatch(r"i2e needs the package \w+: pip install 'i2e-triton\[data\]'\n", finished.stderr)


@pytest.mark.parametrize("package", ["typer", "PIL"])
@pytest.mark.slow
def test_missing_cli_extra_is_reported_in_one_line(package: str, tmp_path: Path) -> None:
    finished = run_without((package,), tmp_path, "convert", "a.png", "-o", "out")
    assert finished.returncode == 1
    assert finished.stderr == f"i2e needs the package {package}: pip install 'i2e-triton[cli]'\n"
