"""The code blocks, commands and links of the README work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.samples import photograph_path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON_BLOCKS = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [
    line.split("#")[0].strip() for language, code in BLOCKS if language == "sh" for line in code.splitlines() if line
]


def test_block_languages_and_commands_are_known() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh", "bibtex"}
    assert len(PYTHON_BLOCKS) >= 5
    assert {command.split()[0] for command in COMMANDS} == {"make", "pip", "i2e"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photographs, in which the README's ``i2e`` commands were run in order."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(photograph_path("astronaut"), folder / "photograph.png")
    for name, label in (("astronaut", "people"), ("chelsea", "cats"), ("rocket", "things")):
        path = folder / "photographs" / label / photograph_path(name).name
        path.parent.mkdir(parents=True)
        shutil.copy(photograph_path(name), path)
    for command in COMMANDS:
        if command.startswith("i2e "):
            arguments = command.split()[1:]
            subprocess.run(
                [sys.executable, "-m", "i2e_triton", *arguments], cwd=folder, check=True, capture_output=True
            )
    return folder


@pytest.mark.parametrize("code", PYTHON_BLOCKS, ids=range(len(PYTHON_BLOCKS)))
def test_python_block_runs(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})


def test_commands_write_the_files_that_the_readme_describes(folder: Path) -> None:
    assert {path.suffix for path in (folder / "out").iterdir()} == {".gif", ".png", ".npz"}
    assert [path.name for path in sorted((folder / "events").iterdir())] == [
        "manifest.json",
        "train-00000-of-00001.parquet",
    ]
    assert {path.suffix for path in (folder / "plots").iterdir()} >= {".png"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_targets_run_the_expected_commands(command: str) -> None:
    """``make --dry-run`` prints the commands. They are not run, because ``make test`` would run this test again."""
    # Variables of an outer make, for example MAKEFLAGS, would change the output.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True, env=environment
    ).stdout
    expected = {"make demo": "i2e convert", "make test": "pytest", "make bench": "pytest benchmarks"}[command]
    assert expected in printed


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("pip ")])
def test_extras_are_declared(command: str) -> None:
    """The commands are not run, because an installation would download gigabytes."""
    target = command.removeprefix("pip install ").strip("'")
    assert re.fullmatch(r"\.(\[\w+(,\w+)*\])?", target)
    extras = re.findall(r"\w+", target)
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert set(extras) <= set(declared)


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(r"`(\w+/[\w/.]+\.\w+)`", README)
    assert "docs/events.svg" in links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []
