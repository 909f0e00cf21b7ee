"""Which split a file belongs to, by its name."""

from __future__ import annotations

import re
from pathlib import Path

from i2e_triton.sources.source import SPLIT_NAMES, WHOLE, SourceError

#: Where the Hugging Face hub keeps the files of a data set.
DATA_FOLDER = "data"


def split_of(path: Path) -> str | None:
    """Tell the split of a file: ``train-00000-of-00005.parquet``, ``imagenet-validation-07.tar``; None of ``a.tar``."""
    words = re.split(r"[-_.]", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def files_by_split(location: Path, suffix: str) -> dict[str, list[Path]]:
    """Sort the files of a location by split; all are one split where no name tells one.

    Args:
        location: a file; or a folder with such files, or with a folder ``data`` that has them.
        suffix: of the files' names.

    Raises:
        SourceError: if there are none, or only some names tell their split.
    """
    found: dict[str | None, list[Path]] = {}
    paths = find_files(location, suffix)
    if not paths:
        raise SourceError(f"{location} holds no {suffix} files")
    for path in paths:
        found.setdefault(split_of(path), []).append(path)
    nameless = found.pop(None, [])
    if nameless and found:
        raise SourceError(
            f"the name of {nameless[0]} tells no split, that of {next(iter(found.values()))[0]} does: "
            f"move or rename one (a split is {', '.join(SPLIT_NAMES)})"
        )
    order = dict.fromkeys(SPLIT_NAMES.values())
    return {split: found[split] for split in order if split in found} or {WHOLE: nameless}


def find_files(location: Path, suffix: str) -> list[Path]:
    """List the files with a suffix: the location itself, those in it, or those in its folder ``data``; sorted."""
    if not location.is_dir():
        return [location] if location.suffix == suffix else []
    return _visible(location, suffix) or _visible(location / DATA_FOLDER, suffix)


def _visible(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"[!.]*{suffix}") if path.is_file())
