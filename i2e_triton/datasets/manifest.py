"""Read class names and the names of class folders from the ``manifest.json`` that ``i2e dataset`` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from i2e_triton.datasets.folder import UNLABELLED, is_number, label_folders
from i2e_triton.formats import RecordError

_NAME = "manifest.json"


@dataclass(frozen=True)
class ClassNames:
    """The classes of a converted data set."""

    names: tuple[str, ...] | None  #: None if the source had no class names

    def of_folders(self, folders: Sequence[str]) -> dict[str, int]:
        """Return the label of each class folder.

        Raises:
            ValueError: if a folder does not belong to a class.
        """
        if self.names is None:
            known = {name: int(name) for name in folders if is_number(name)}
        else:
            known = {name: label for label, name in enumerate(label_folders(self.names))}
        known[UNLABELLED] = -1
        unknown = [name for name in folders if name not in known]
        if unknown:
            raise ValueError(f"folder {unknown[0]!r} is not a class of {_NAME}; remove it")
        return {name: known[name] for name in folders}


def read_class_names(folder: Path) -> ClassNames | None:
    """Return the classes in the manifest of a folder, or None if ``i2e dataset`` wrote no manifest in it.

    Raises:
        ValueError: if the conversion is not complete.
        RecordError: if the manifest is damaged.
    """
    path = folder / _NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON, or damaged: {error}") from error
    if not isinstance(content, dict) or not content.keys() >= {"classes", "complete"}:
        return None
    names = content["classes"]
    if not content["complete"]:
        raise ValueError(f"{folder}: the conversion is not complete; rerun i2e dataset, or pass the files to read")
    if names is None:
        return ClassNames(None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecordError(f"{path}: classes must be a list of strings")
    return ClassNames(tuple(names))
