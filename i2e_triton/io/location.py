"""Find out what a file or folder contains, and list its files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

#: Name of a split in file and folder names -> its name in the official data sets.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
#: Stem of a shard on the Hugging Face hub: ``train-00000-of-00013``. Older files end in a hash.
SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})(-[0-9a-f]{16})?")
#: Stem of a shard in a folder with the name of its split: ``train/0000.parquet``.
NUMBERED = re.compile(r"\d+")
#: The image extensions of torchvision, which takes seconds to import.
IMAGE_SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
if find_spec("pillow_heif") is not None:
    IMAGE_SUFFIXES += (".heic", ".heif")

#: The folder in which the Hugging Face hub keeps the files of a data set.
_DATA_FOLDER = "data"
_SHARD_KINDS = {".parquet": "parquet", ".tar": "tar"}
#: Folders are searched for files down to this depth: configuration, split and class.
_DEPTH = 3


def find_kind(path: Path) -> str | None:
    """Return what a file or folder contains: ``"parquet"``, ``"tar"``, ``"npz"``, ``"folder"`` (of images) or None.

    Only names are read. Files and folders whose name starts with a dot are ignored.

    The suffix of a file decides. In a folder, the first of these that exists decides:

    1. sub-folders with npz files,
    2. folders ``train`` and ``val`` or ``test`` with image files (the folder may also contain the archives of the
       data set),
    3. Parquet files in the folder or in ``data/`` (a data set of the Hugging Face hub may also have folders with
       example images),
    4. other sub-folders with image files,
    5. Parquet files, then tars, in the folder or its sub-folders,
    6. any sub-folder, or image files in the folder itself: ``"folder"``.

    Raises:
        OSError: if a folder cannot be read.
    """
    if not path.is_dir():
        return _SHARD_KINDS.get(path.suffix)
    in_folders = _kind_of_class_folders(path, _DEPTH)
    splits = {SPLIT_NAMES[name] for name in sub_folders(path) if name in SPLIT_NAMES}
    if in_folders == "npz" or (in_folders and "train" in splits and len(splits) > 1):
        return in_folders
    if list_files(path, (".parquet",)) or list_files(path / _DATA_FOLDER, (".parquet",)):
        return "parquet"
    if in_folders:
        return in_folders
    for suffix, kind in _SHARD_KINDS.items():
        if find_shards(path, (suffix,)):
            return kind
    return "folder" if sub_folders(path) or list_files(path, IMAGE_SUFFIXES) else None


def find_shards(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files with one of these suffixes, sorted, from the first of these places that has such files.

    1. the folder itself,
    2. its sub-folder ``data``,
    3. its other sub-folders (one per split or configuration),
    4. the sub-folders of these.

    Raises:
        OSError: if a folder cannot be read.
    """
    folders = [folder]
    for _ in range(_DEPTH):
        found = [path for each in folders for path in list_files(each, suffixes)]
        if found:
            return [path for path in found if path.parent == folder / _DATA_FOLDER] or sorted(found)
        folders = [each / name for each in folders for name in sub_folders(each)]
    return []


def check_one_data_set(files: Iterable[Path]) -> None:
    """Raise a ValueError that names the folders if the files belong to more than one data set."""
    # On the hub, each configuration of a data set has a folder, and a split may have a folder in it.
    folders = {path.parent.parent if path.parent.name in SPLIT_NAMES else path.parent for path in files}
    if len(folders) > 1:
        raise ValueError(f"found more than one data set; choose one of {', '.join(map(str, sorted(folders)))}")


def check_shards(files: Sequence[Path]) -> None:
    """Raise a ValueError if the files of a split belong to more than one data set, or a shard is missing.

    Only names like ``train-00000-of-00013`` contain the number of shards. Other files are not counted.

    Raises:
        ValueError: the message names the folders, or the number of shards found and the total.
    """
    check_one_data_set(files)
    shards = [SHARD.fullmatch(path.stem) for path in files]
    found = sorted(int(shard["index"]) for shard in shards if shard)
    counts = {int(shard["count"]) for shard in shards if shard}
    if counts and (len(counts) > 1 or found != list(range(max(counts)))):
        raise ValueError(
            f"{files[0].parent}: found {len(found)} of {' or '.join(map(str, sorted(counts)))} shards like "
            f"{files[0].name}; finish the download or the conversion, or pass the files to read"
        )


def sub_folders(folder: Path) -> list[str]:
    """Return the names of the visible sub-folders, sorted as text: ``10`` before ``2``."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the visible files in a folder that end in one of these suffixes (in lower or upper case), sorted by name.

    If the folder does not exist, the result is empty.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if is_data_file(entry, suffixes))


def is_data_file(entry: os.DirEntry[str], suffixes: Sequence[str]) -> bool:
    """Return whether an entry is a visible file that ends in one of these suffixes (in lower or upper case)."""
    name = entry.name.lower()
    return name.endswith(tuple(suffixes)) and not name.startswith(".") and entry.is_file()


def walk_folders(root: Path, name: str) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield the path relative to ``root`` and the entries of ``root / name`` and of all visible folders below it.

    Symbolic links are followed.

    Raises:
        ValueError: if symbolic links form a cycle.
    """
    return _walk(root, name, (os.path.realpath(root),))


def _walk(root: Path, path: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    real = os.path.realpath(root / path)
    if real in above:
        raise ValueError(f"{root / path} is the same folder as {real}, which contains it; remove the symbolic link")
    with os.scandir(root / path) as iterator:
        entries = list(iterator)
    yield path, entries
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir():
            yield from _walk(root, os.path.join(path, entry.name), (*above, real))


def _kind_of_class_folders(folder: Path, depth: int) -> str | None:
    """Return ``"npz"`` or ``"folder"`` for the first sub-folder with npz or image files, or None if there is none."""
    for name in sub_folders(folder) if depth else ():
        if list_files(folder / name, (".npz",)):
            return "npz"
        if list_files(folder / name, IMAGE_SUFFIXES):
            return "folder"
        kind = _kind_of_class_folders(folder / name, depth - 1)
        if kind is not None:
            return kind
    return None
