"""Every example in ``examples/`` runs, with smaller sizes and fewer steps where it would take long."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib import pyplot

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

#: Values of the constants at the top of an example, by file name without ".py". An example that is missing here runs
#: unchanged.
CONSTANTS: dict[str, dict[str, Any]] = {
    "photographs_to_network": {"PICTURES": 16, "EPOCHS": 1},
}

#: Examples that take more than 10 s with the constants above.
SLOW: set[str] = set()


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
