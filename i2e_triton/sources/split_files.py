"""Which split a file belongs to, by its name."""

from __future__ import annotations

import re
from pathlib import Path

from i2e_triton.io.shard_names import NUMBERED, SPLIT_NAMES, check_shards
from i2e_triton.sources.folder import sub_folders
from i2e_triton.sources.source import WHOLE, SourceError

#: Where the Hugging Face hub keeps the files of a data set.
DATA_FOLDER = "data"


def split_of(path: Path) -> str | None:
    """Tell the split of a file: ``train-00000-of-00005.parquet``, ``imagenet-validation-07.tar``; None of ``a.tar``.

    A file that has a number for a name belongs to the split that its folder names: ``test/0000.parquet``.
    """
    if NUMBERED.fullmatch(path.stem):
        return SPLIT_NAMES.get(path.parent.name)
    words = re.split(r"[-_.]", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def files_by_split(location: Path, suffix: str) -> dict[str, list[Path]]:
    """Sort the files of a location by split; all are one split where no name tells one.

    Args:
        location: a file, or a folder as of :func:`find_files`.
        suffix: of the files' names.

    Raises:
        SourceError: if there are none, only some names tell their split, or a shard of a split is missing.
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
    if location.is_dir():
        for files in (*found.values(), nameless):
            _check_shards(files)
    order = dict.fromkeys(SPLIT_NAMES.values())
    return {split: found[split] for split in order if split in found} or {WHOLE: nameless}


def find_files(location: Path, suffix: str) -> list[Path]:
    """List the files with a suffix, sorted: the location itself, or those in it.

    If there are none, then those in its folder ``data``, in its only folder (the hub has one for each configuration),
    or in folders that have the names of splits.

    Raises:
        OSError: if a folder cannot be read.
    """
    if not location.is_dir():
        return [location] if location.suffix == suffix else []
    files = _visible(location, suffix)
    if files:
        return files
    folders = sub_folders(location)
    if DATA_FOLDER in folders:
        return _visible(location / DATA_FOLDER, suffix)
    if len(folders) == 1:
        return find_files(location / folders[0], suffix)
    if set(folders) <= set(SPLIT_NAMES):
        return [path for folder in folders for path in _visible(location / folder, suffix)]
    return []


def _check_shards(files: list[Path]) -> None:
    try:
        check_shards(files)
    except ValueError as error:
        raise SourceError(str(error)) from error


def _visible(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"[!.]*{suffix}") if path.is_file())
