"""How Sphinx-Gallery orders the examples and shows the pictures that they save."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

#: The examples that a reader should see first, in this order. The others follow by name.
FIRST = (
    "first_events",
    "photographs_to_network",
    "official_module",
    "augmentation",
    "other_libraries",
    "calibration",
    "dynamic_threshold",
)


def position(file: str) -> tuple[int, str]:
    """Return the sort key of an example."""
    name = Path(file).stem
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name


def saved_pictures(block: Any, variables: Mapping[str, Any], configuration: Mapping[str, Any]) -> str:
    """Move the GIF and PNG files that a cell saved in ``out/`` to the site, and return the RST that shows them."""
    folder = Path(variables["src_file"]).parent / "out"
    shown = []
    for path in sorted(path for path in folder.glob("*") if path.suffix in (".gif", ".png")):
        target = Path(next(variables["image_path_iterator"])).with_suffix(path.suffix)
        shutil.move(path, target)
        shown.append(str(target))
    return str(figure_rst(shown, configuration["src_dir"]))
