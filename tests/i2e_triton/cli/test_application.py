"""The application as a whole: its help, shell completion, and missing packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from i2e_triton.install_hints import pip_command
from tests.i2e_triton.cli.conftest import I2E

COMMANDS = ["info", "convert", "web", "video", "dataset", "import", "calibrate", "stats", "push", "train", "evaluate"]
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
        assert re.fullmatch(rf"i2e needs the package \w+: {re.escape(pip_command('data'))}", str(line))


@pytest.mark.parametrize("package", ["typer", "PIL"])
@pytest.mark.slow
def test_missing_cli_extra_is_reported_in_one_line(package: str, tmp_path: Path) -> None:
    (line,) = run_without((package,), tmp_path, "convert a.png -o out")
    assert line == f"i2e needs the package {package}: {pip_command('cli')}"


@pytest.mark.slow
def test_help_imports_no_package_that_only_commands_need(tmp_path: Path) -> None:
    code = "import sys; from i2e_triton.__main__ import main; sys.argv = ['i2e', '--help']\n"
    code += "try: main()\nexcept SystemExit: print(*sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in child.stdout.splitlines()[-1].split()}
    assert {"torch", "typer"} <= imported
    heavy = {"PIL", "av", "h5py", "huggingface_hub", "matplotlib", "pandas", "pyarrow", "pytorch_lightning"}
    assert not imported & {*heavy, "ray", "scipy", "skimage", "sklearn", "spikingjelly", "torchvision", "triton"}


def test_help_lists_the_commands_in_order(i2e: I2E) -> None:
    out = i2e("--help").out
    listed = re.findall(r"^│ ([a-z]+) ", out, re.MULTILINE)
    assert [name for name in listed if name in COMMANDS] == COMMANDS
    assert listed[:3] == COMMANDS[:3]


@pytest.mark.parametrize("command", ["", *COMMANDS, "dataset verify"])
def test_help_fits_80_columns_and_shows_no_type_of_flags(i2e: I2E, command: str) -> None:
    finished = i2e(*command.split(), "--help")
    assert finished.status == 0
    assert max(map(len, finished.out.splitlines())) <= 80
    assert not re.search("<bool>|BOOLEAN", finished.out)
    assert re.search(r"--help +-h +Show this message", finished.out)
    assert i2e(*command.split(), "-h").out == finished.out


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("convert a.png --resize ", ["fit", "crop", "stretch"]),
        ("dataset in --interpolation bi", ["bicubic", "bilinear"]),
        ("calibrate in --device c", ["cpu", "cuda"]),
        ("dataset in --preset cifar", ["cifar10", "cifar100"]),
        ("train --model resnet1", ["resnet18", "resnet101", "resnet152"]),
        ("evaluate best.pt --dev", ["--device"]),
        ("ev", ["evaluate"]),
    ],
)
def test_shell_completes_options_and_choices(
    i2e: I2E, words: str, completions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_I2E_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"i2e {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert i2e().out.split() == completions


def test_completion_script_is_printed(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "_I2E_COMPLETE=complete_bash" in i2e("--show-completion", "bash").out
