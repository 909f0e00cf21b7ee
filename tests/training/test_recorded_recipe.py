"""The recipe in a checkpoint is compared by what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2e_triton.training.checkpoint import check_same_run
from i2e_triton.training.published import CheckpointError
from i2e_triton.training.recipes import recipe

RECIPE = recipe("demo", "digits").changed(order=4)
FILE = Path("last.pt")


def recorded(**changes: Any) -> dict[str, Any]:
    return {"recipe": {**RECIPE.as_dict(), **changes}}


@pytest.mark.parametrize("order", [4, "gamma-alpha-beta", [4, 5, 6, 7, 0, 1, 2, 3]], ids=str)
def test_an_order_is_the_same_however_it_was_written(order: Any) -> None:
    check_same_run(FILE, recorded(order=order), RECIPE)
    with pytest.raises(CheckpointError, match=r"order 'gamma-alpha-beta' \(now 'alpha-beta-gamma'\)"):
        check_same_run(FILE, recorded(order=order), RECIPE.changed(order=0))


def test_what_was_not_recorded_yet_had_its_default() -> None:
    older = recorded()
    del older["recipe"]["accumulate"]
    check_same_run(FILE, older, RECIPE)
    with pytest.raises(CheckpointError, match=r"accumulate 1 \(now 2\)"):
        check_same_run(FILE, older, RECIPE.changed(accumulate=2))


@pytest.mark.parametrize("changes", [{"colour": 3}, {"lr": -1.0}], ids=str)
def test_a_recipe_of_another_version_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"last.pt is of another version \(.*(colour|lr).*--init last.pt"):
        check_same_run(FILE, recorded(**changes), RECIPE)
