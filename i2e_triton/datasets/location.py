"""Open the records of a split from a folder, a file, a glob or a list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Union

from i2e_triton.datasets.folder import NpzRecords, labels_by_name
from i2e_triton.datasets.manifest import ClassNames, read_class_names
from i2e_triton.datasets.parquet import ParquetRecords
from i2e_triton.datasets.records import Records
from i2e_triton.datasets.tar import TarRecords
from i2e_triton.io.location import (
    NUMBERED,
    SHARD,
    SPLIT_NAMES,
    check_shards,
    find_kind,
    find_shards,
    list_files,
    sub_folders,
)

Location = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


class MissingSplitError(ValueError):
    """A location contains events, but not of this split. The message names the splits that exist."""


def open_records(location: Location, split: str | None) -> Records:
    """Return the records of a split.

    Args:
        location: as for :class:`i2e_triton.datasets.EventDataset`.
        split: name of the split. None is valid if there is only one split.

    Raises:
        FileNotFoundError: if the location does not exist or contains no events.
        ValueError: if the location is ambiguous, or the split or a shard is missing. The message names what exists.
        RecordError: if a file is damaged.
    """
    if not isinstance(location, (str, os.PathLike)):
        return _open_files([Path(path) for path in location], split)
    path = Path(location)
    if path.is_file():
        return _open_files([path], split)
    if path.is_dir():
        return _open_folder(path, split)
    matches = sorted(Path(match) for match in glob.glob(os.fspath(location), recursive=True))
    if not matches:
        raise FileNotFoundError(f"{location}: no such file or folder, and no file matches this pattern")
    return _open_files(matches, split)


def _open_folder(folder: Path, split: str | None) -> Records:
    names = read_class_names(folder)
    if find_kind(folder) == "npz":
        if split is None and names is None and _has_class_folders(folder):
            return _open_npz(folder, read_class_names(folder.parent))
        splits = [name for name in sub_folders(folder) if _has_class_folders(folder / name)]
        if splits:
            return _open_npz(folder / _chosen_split(folder, split, splits), names)
    files = find_shards(folder, (".parquet", ".tar"))
    if not files:
        hint = "; pass a folder in its snapshots" if (folder / "snapshots").is_dir() else ""
        raise FileNotFoundError(
            f"{folder} contains no events: no Parquet files, uncompressed tars or class folders with npz files{hint}"
        )
    shards = _of_one_split(files, split)
    check_shards(shards)
    return _open_shards(shards, names)


def _open_files(files: Sequence[Path], split: str | None) -> Records:
    """Return the records of files that the user lists: of all files, or of those of a split."""
    if not files:
        raise ValueError("location must name at least one file, got an empty list")
    return _open_shards(files if split is None else _of_one_split(files, split), None)


def _open_shards(files: Sequence[Path], names: ClassNames | None) -> Records:
    suffixes = {path.suffix.lower() for path in files}
    if suffixes == {".parquet"}:
        return ParquetRecords(files)
    if suffixes == {".tar"}:
        return TarRecords(files, names.names if names else None)
    raise ValueError(f"files must all be Parquet (.parquet) or all be uncompressed tars (.tar), got {_listed(files)}")


def _of_one_split(files: Sequence[Path], split: str | None) -> list[Path]:
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(_split_of(path), []).append(path)
    return found[_chosen_split(files[0].parent, split, found)]


def _chosen_split(folder: Path, split: str | None, splits: Collection[str]) -> str:
    """Return the name that the files use for a split, for example ``val`` for ``validation``."""
    if split is None and len(set(splits)) > 1:
        raise ValueError(f"{folder} has several splits; pass split, one of {_listed(splits)}")
    if split is None or split in splits:
        return split or next(iter(splits))
    same_split = {name for name in splits if SPLIT_NAMES.get(name, name) == SPLIT_NAMES.get(split, split)}
    if len(same_split) != 1:
        raise MissingSplitError(f"{folder} has no split {split!r}; pass one of {_listed(splits)}")
    return same_split.pop()


def _open_npz(root: Path, names: ClassNames | None) -> NpzRecords:
    folders = sub_folders(root)
    if names is None:
        labels = labels_by_name(folders)
        return NpzRecords(root, labels, tuple(labels))
    return NpzRecords(root, names.of_folders(folders), names.names)


def _has_class_folders(folder: Path) -> bool:
    """Return whether the sub-folders contain npz files."""
    return any(list_files(folder / name, (".npz",)) for name in sub_folders(folder))


def _split_of(path: Path) -> str:
    """Return the split in the name of a shard, or, for ``train/0000.parquet``, the name of its folder."""
    if NUMBERED.fullmatch(path.stem):
        return path.parent.name
    shard = SHARD.fullmatch(path.stem)
    return shard["split"] if shard else path.stem


def _listed(names: Iterable[object]) -> str:
    """Return at most eight of the names, separated by commas."""
    texts = sorted({str(name) for name in names})
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
