"""Every path that the documentation names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "kernels" / "NOTES.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def named_paths(text: str) -> set[str]:
    """Return the paths in links, in code spans and in the boxes of Mermaid diagrams."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    code = re.findall(r"`([\w./]+/[\w./]*|\w+\.(?:py|md))`", text)
    boxes = [name for box in re.findall(r"<i>(.*?)</i>", text) for name in box.split(", ")]
    return {*links, *code, *boxes}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_a_document_exist(document: Path) -> None:
    folders = [ROOT / name for name in (document.parent, "", "i2e_triton", "kernels", "benchmarks", "tests/kernels")]
    paths = named_paths(document.read_text())
    assert [path for path in sorted(paths) if not any((folder / path).exists() for folder in folders)] == []
