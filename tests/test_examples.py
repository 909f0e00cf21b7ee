"""Every example in ``examples/`` runs, with smaller sizes and fewer steps where it would take long."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import nbclient
import nbformat
import pytest
from matplotlib import pyplot

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))

#: Values of the constants at the top of an example, by file name without ".py". An example that is missing here runs
#: unchanged.
CONSTANTS: dict[str, dict[str, Any]] = {
    "attack": {"TRAIN": 64, "TEST": 8, "EPOCHS": 1, "EPSILONS": (0.1,), "STEPS": 2},
    "learned_ratio": {"RATIOS": (0.12,), "SEEDS": 1, "EPOCHS": 1},
    "photographs_to_network": {"PICTURES": 16, "EPOCHS": 1},
}

#: Examples that take more than 10 s with the constants above.
SLOW: set[str] = {"attack"}


def with_constants(source: str, values: Mapping[str, Any]) -> ast.Module:
    """Parse an example and replace the values of its top-level constants.

    Raises:
        ValueError: if the example does not assign one of the constants.
    """
    module = ast.parse(source)
    missing = set(values)
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) if name in values:
                statement.value = ast.copy_location(ast.parse(repr(values[name]), mode="eval").body, statement.value)
                missing.discard(name)
    if missing:
        raise ValueError(f"the example has no constants {sorted(missing)}")
    return ast.fix_missing_locations(module)


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW), id=path.stem) for path in EXAMPLES]
)
def test_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    module = with_constants(path.read_text(), CONSTANTS.get(path.stem, {}))
    try:
        exec(compile(module, path, "exec"), {"__name__": "__main__", "__file__": str(path)})
    finally:
        pyplot.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    assert path.stat().st_size < 300_000  # with its outputs, which code-hosting sites show
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/gif" in output.data for output in shown) == 2


def test_constants_are_those_of_examples() -> None:
    assert {*CONSTANTS, *SLOW} <= {path.stem for path in EXAMPLES}


def test_constants_are_replaced() -> None:
    variables: dict[str, Any] = {}
    module = with_constants("EPOCHS = 20\nSIZE = (64, 64)\nsizes = [SIZE] * EPOCHS\n", {"EPOCHS": 1, "SIZE": (8, 8)})
    exec(compile(module, "example", "exec"), variables)
    assert variables["sizes"] == [(8, 8)]


def test_missing_constant_is_an_error() -> None:
    with pytest.raises(ValueError, match="no constants \\['STEPS'\\]"):
        with_constants("EPOCHS = 20\n", {"STEPS": 1})
