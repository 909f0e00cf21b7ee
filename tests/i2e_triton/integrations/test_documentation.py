"""The examples of ``docs/integrations.md`` run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.i2e_triton.datasets.builders import photograph_events, write_official

TEXT = (Path(__file__).parents[3] / "docs" / "integrations.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}
EXAMPLES = [
    pytest.param(code, marks=pytest.mark.slow if name == "ONNX" else (), id=name)
    for name, part in SECTIONS.items()
    for code in re.findall(r"^```python\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)
]


def test_every_library_has_an_example() -> None:
    assert {"SpikingJelly", "Tonic", "snnTorch", "ONNX", "Layouts"} <= {str(example.id) for example in EXAMPLES}


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = photograph_events()
    events[1, [0, 7]] = False  # empty timesteps
    write_official(tmp_path / "events" / "train-00000-of-00001.parquet", events)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "integrations.md", "exec"), {})
