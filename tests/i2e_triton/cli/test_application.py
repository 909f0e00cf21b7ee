"""Missing packages: help needs only the ``cli`` extra; a command exits with the pip command for its extra."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_PACKAGES = """
import json, sys
sys.modules.update(dict.fromkeys({packages}))
from i2e_triton.__main__ import main

results = []
for arguments in {commands}:
    sys.argv = ["i2e", *arguments.split()]
    try:
        main()
    except SystemExit as end:
        results.append(end.code)
print("\\n" + json.dumps(results))
"""


def run_without(packages: tuple[str, ...], folder: Path, *commands: str) -> list[int | str]:
    """Run ``i2e`` in a subprocess in which these packages cannot be imported.

    Returns:
        For each command its exit status, or the line that it exits with.
    """
    code = WITHOUT_PACKAGES.format(packages=packages, commands=commands)
    child = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (0, "")
    results: list[int | str] = json.loads(child.stdout.splitlines()[-1])
    return results


@pytest.mark.slow
def test_help_needs_only_the_cli_extra_and_other_commands_name_the_data_extra(tmp_path: Path) -> None:
    helps = ("--help", "dataset --help", "calibrate --help")
    *statuses, dataset, stats = run_without(
        ("filelock", "matplotlib", "pyarrow", "torchvision"), tmp_path, *helps, "dataset in -o out", "stats in"
    )
    assert statuses == [0, 0, 0]
    for line in (dataset, stats):
        assert re.fullmatch(r"i2e needs the package \w+: pip install 'i2e-triton\[data\]'", str(line))


@pytest.mark.parametrize("package", ["typer", "PIL"])
@pytest.mark.slow
def test_missing_cli_extra_is_reported_in_one_line(package: str, tmp_path: Path) -> None:
    (line,) = run_without((package,), tmp_path, "convert a.png -o out")
    assert line == f"i2e needs the package {package}: pip install 'i2e-triton[cli]'"
