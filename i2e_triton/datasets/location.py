"""Where the files of a split lie: folders as they are downloaded, cached or converted, file names, globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Union

from i2e_triton.datasets.folder import NpzRecords, class_folders, holds_npz, npz_files
from i2e_triton.datasets.manifest import ClassNames, read_class_names
from i2e_triton.datasets.parquet import ParquetRecords
from i2e_triton.datasets.records import Records
from i2e_triton.datasets.tar import TarRecords
from i2e_triton.io.shard_names import NUMBERED, SHARD, SPLIT_NAMES, check_shards

Location = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]

_SUFFIXES = (".parquet", ".tar")
#: Where the shards of a folder lie: in it, in ``data``, in a folder for each configuration or split, or for both.
_DEPTHS = ("*", "*/*", "*/*/*")


def open_records(location: Location, split: str | None) -> Records:
    """Open the records of a split, whatever holds them.

    Args:
        location: see :class:`i2e_triton.datasets.EventDataset`.
        split: name of the split; None where there is one only.

    Raises:
        FileNotFoundError: if nothing lies there.
        ValueError: if it is not clear what should be read, or the split or a shard is missing; names what there is.
        RecordError: if a file is unfit.
    """
    if not isinstance(location, (str, os.PathLike)):
        return _open_given([Path(path) for path in location], split)
    path = Path(location)
    if path.is_file():
        return _open_given([path], split)
    if path.is_dir():
        return _open_folder(_hub_snapshot(path), split)
    matches = sorted(Path(match) for match in glob.glob(os.fspath(location), recursive=True))
    if not matches:
        raise FileNotFoundError(f"{location}: no such file or folder, and nothing that matches")
    return _open_given(matches, split)


def _open_folder(folder: Path, split: str | None) -> Records:
    names = read_class_names(folder)
    # Class folders first: looking for shards goes through all the files that they hold.
    if split is None and names is None and _holds_classes(folder):
        return _open_npz(folder, read_class_names(folder.parent))
    splits = [name for name in class_folders(folder) if _holds_classes(folder / name)]
    if splits:
        return _open_npz(folder / _chosen_split(folder, split, splits), names)
    for depth in _DEPTHS:
        files = sorted(path for path in folder.glob(depth) if path.suffix in _SUFFIXES and not _is_hidden(path, folder))
        if files:
            shards = _of_one_split(files, split)
            check_shards(shards)
            return _open_files(shards, names)
    raise FileNotFoundError(f"{folder}: no Parquet files, no uncompressed tars and no class folders of npz files there")


def _open_given(files: Sequence[Path], split: str | None) -> Records:
    """Open files that the user names: all of them, or those of a split."""
    if not files:
        raise ValueError("location must name a file at least, got none")
    chosen = files if split is None else _of_one_split(files, split)
    return _open_files(chosen, None)


def _open_files(files: Sequence[Path], names: ClassNames | None) -> Records:
    suffixes = {path.suffix for path in files}
    if suffixes == {".parquet"}:
        return ParquetRecords(files)
    if suffixes == {".tar"}:
        return TarRecords(files, names.names if names else None)
    raise ValueError(f"must be Parquet files (.parquet) or uncompressed tars (.tar), all alike; got {_listed(files)}")


def _of_one_split(files: Sequence[Path], split: str | None) -> list[Path]:
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        found.setdefault(_folder_and_split(path), []).append(path)
    split = _chosen_split(files[0].parent, split, [name for _, name in found])
    folders = [folder for folder, name in found if name == split]
    if len(folders) > 1:
        raise ValueError(f"split {split!r} of more than one data set there; pass one of {_listed(folders)}")
    return found[folders[0], split]


def _chosen_split(folder: Path, split: str | None, splits: Collection[str]) -> str:
    if split is None and len(set(splits)) > 1:
        raise ValueError(f"{folder}: pass split, one of {_listed(splits)}")
    if split is None or split in splits:
        return split or next(iter(splits))
    alike = {name for name in splits if SPLIT_NAMES.get(name, name) == SPLIT_NAMES.get(split, split)}
    if len(alike) != 1:
        raise ValueError(f"{folder}: no split {split!r} there; pass one of {_listed(splits)}")
    return alike.pop()


def _open_npz(root: Path, names: ClassNames | None) -> NpzRecords:
    folders = class_folders(root)
    if names is None:
        return NpzRecords(root, {name: label for label, name in enumerate(folders)}, tuple(folders))
    return NpzRecords(root, names.of_folders(folders), names.names)


def _holds_classes(folder: Path) -> bool:
    """Tell whether npz files lie in class folders; in folders within these where a manifest says what the classes are.

    Without it, folders of classes and folders of splits look alike.
    """
    classes = class_folders(folder)
    if any(holds_npz(folder / name) for name in classes):
        return True
    return read_class_names(folder.parent) is not None and any(any(npz_files(folder, name)) for name in classes)


def _folder_and_split(path: Path) -> tuple[Path, str]:
    """Read a shard's split from its name, ``train-00000-of-00002``, or from its folder's, ``train/0000``."""
    if NUMBERED.fullmatch(path.stem):
        return path.parent.parent, path.parent.name
    shard = SHARD.fullmatch(path.stem)
    return path.parent, shard["split"] if shard else path.stem


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _hub_snapshot(folder: Path) -> Path:
    """Find the files of a repository in the cache of the Hugging Face hub, ``datasets--<owner>--<name>``."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    revisions = sorted(path.name for path in snapshots.iterdir())
    main = folder / "refs" / "main"
    if main.is_file() and main.read_text().strip() in revisions:
        return snapshots / main.read_text().strip()
    if len(revisions) != 1:
        raise ValueError(f"{snapshots}: pass one of its folders {_listed(revisions)}")
    return snapshots / revisions[0]


def _listed(names: Iterable[object]) -> str:
    """Name a few of them."""
    texts = sorted({str(name) for name in names})
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
