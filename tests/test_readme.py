"""The code blocks, commands and links of the README and of the guides work."""

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
PAGES = {
    name: (ROOT / name).read_text()
    for name in ("README.md", "docs/quickstart.md", "docs/converting.md", "docs/dataset-conversion.md")
}
BLOCKS = [
    (page, language, code)
    for page, text in PAGES.items()
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
]
PYTHON_BLOCKS = [(page, code) for page, language, code in BLOCKS if language == "python"]
COMMANDS = {
    page: [
        line.split("#")[0].strip()
        for of, language, code in BLOCKS
        if of == page and language == "sh"
        for line in code.splitlines()
        if line
    ]
    for page in PAGES
}


def test_block_languages_and_commands_are_known() -> None:
    assert {language for _, language, _ in BLOCKS} == {"python", "sh", "bibtex"}
    assert len(PYTHON_BLOCKS) >= 8
    assert {command.split()[0] for commands in COMMANDS.values() for command in commands} == {"make", "pip", "i2e"}


def test_readme_is_short() -> None:
    assert len(README.split()) <= 900


@pytest.fixture(
    scope="module", params=[pytest.param(page, marks=[] if page == "README.md" else pytest.mark.slow) for page in PAGES]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a page, and a folder with photographs in which the ``i2e`` commands of the page were run in order."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(photograph_path("astronaut"), folder / "photograph.png")
    for name, label in (("astronaut", "people"), ("chelsea", "cats"), ("rocket", "things")):
        path = folder / "photographs" / label / photograph_path(name).name
        path.parent.mkdir(parents=True)
        shutil.copy(photograph_path(name), path)
    for command in COMMANDS[request.param]:
        if command.startswith("i2e ") and command != "i2e web":  # which serves until it is interrupted
            arguments = command.split()[1:]
            subprocess.run(
                [sys.executable, "-m", "i2e_triton", *arguments], cwd=folder, check=True, capture_output=True
            )
    return request.param, folder


def test_commands_and_python_blocks_run(folder: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    page, path = folder
    monkeypatch.chdir(path)
    for of, code in PYTHON_BLOCKS:
        if of == page:
            exec(compile(code, page, "exec"), {})
    written = {file.relative_to(path).parts[0] for file in path.rglob("*")}
    expected = {
        "README.md": {"out", "events", "plots", "events.gif", "runs"},
        "docs/quickstart.md": {"out", "events", "runs"},
        "docs/converting.md": {"out", "events.gif", "sheet.png", "rates.png"},
        "docs/dataset-conversion.md": {"events", "plots"},
    }
    assert written >= expected[page]


@pytest.mark.parametrize("command", [c for c in COMMANDS["README.md"] if c.startswith("make ")])
def test_make_targets_run_the_expected_commands(command: str) -> None:
    """``make --dry-run`` prints the commands. They are not run, because ``make test`` would run this test again."""
    # Variables of an outer make, for example MAKEFLAGS, would change the output.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True, env=environment
    ).stdout
    expected = {"make demo": "i2e convert", "make test": "pytest", "make docs": "sphinx-build"}[command]
    assert expected in printed


@pytest.mark.parametrize("command", [c for c in COMMANDS["README.md"] if c.startswith("pip ")])
def test_extras_are_declared(command: str) -> None:
    """The commands are not run, because an installation would download gigabytes."""
    target = command.removeprefix("pip install ").strip("'")
    assert re.fullmatch(r"\.(\[\w+(,\w+)*\])?", target)
    extras = re.findall(r"\w+", target)
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert set(extras) <= set(declared)
