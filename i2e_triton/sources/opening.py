"""Find out the kind and the splits of the images at a location, and open one split."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from i2e_triton.io import location as io_location
from i2e_triton.io.location import NUMBERED, SPLIT_NAMES, check_one_data_set, check_shards, find_shards
from i2e_triton.sources.folder import FolderSource, folder_splits
from i2e_triton.sources.parquet import ParquetSource
from i2e_triton.sources.source import WHOLE, Source, SourceError
from i2e_triton.sources.tar import TarSource
from i2e_triton.sources.torchvision_sets import FOLDERS, open_torchvision, torchvision_splits

_SUFFIXES = {"parquet": ".parquet", "tar": ".tar"}
#: Kinds of sources: containers of images, and torchvision's data sets.
KINDS = ("folder", "parquet", "tar", *FOLDERS)


def splits(location: str, kind: str | None = None) -> tuple[str, ...]:
    """Return the names of the splits at a location: the ones of train, validation and test that exist.

    Args:
        location: a file or a folder. For torchvision's data sets, the ``root`` that torchvision takes.
        kind: one of :data:`KINDS`. Default: None, use :func:`find_kind`.

    Raises:
        SourceError: if the location does not contain this kind of source.
        OSError: if the location cannot be read.
    """
    path, kind = Path(location).expanduser(), kind or find_kind(location)
    if kind in FOLDERS:
        return torchvision_splits(kind)
    if kind in _SUFFIXES:
        return tuple(files_by_split(path, _SUFFIXES[kind]))
    return tuple(folder_splits(path))


def open_source(location: str, *, kind: str | None = None, split: str, download: bool = False) -> Source:
    """Return one split of a data set of images.

    Args:
        location: a file or a folder. For torchvision's data sets, the ``root`` that torchvision takes.
        kind: one of :data:`KINDS`. Default: None, use :func:`find_kind`.
        split: one of :func:`splits`.
        download: download a torchvision data set that does not exist. Default: False.

    Raises:
        SourceError: if the location does not contain this kind of source or this split, or a file is damaged.
        OSError: if the location cannot be read, or the download fails.
    """
    path, kind = Path(location).expanduser(), kind or find_kind(location)
    known = splits(location, kind)
    if split not in known:
        raise SourceError(f"{path} has no split {split!r}; it has {', '.join(known)}")
    if kind in FOLDERS:
        return open_torchvision(kind, path, split, download)
    if kind in _SUFFIXES:
        found = files_by_split(path, _SUFFIXES[kind])
        files = found[split]
        if path.is_dir():
            try:
                check_one_data_set(chain.from_iterable(found.values()))
                check_shards(files)
            except ValueError as error:
                raise SourceError(str(error)) from error
        return ParquetSource(files) if kind == "parquet" else TarSource(files)
    return FolderSource(folder_splits(path)[split])


def find_kind(location: str, expected: str | None = None) -> str:
    """Return the kind of the images at a location, one of :data:`KINDS`. Only names of files and folders are read.

    Args:
        location: a file or a folder.
        expected: the kind to return if the location is empty or contains several of torchvision's data sets.
            Default: None, raise an error.

    Raises:
        SourceError: if the location contains no images, or if it contains several of torchvision's data sets, and
            ``expected`` is None.
        OSError: if the location cannot be read.
    """
    path = Path(location).expanduser()
    known = [kind for kind, folder in FOLDERS.items() if (path / folder).is_dir()]
    if known:
        if len(known) > 1 and expected is None:
            raise SourceError(f"{path} contains {', '.join(known)}; choose one with --kind")
        return expected or known[0]
    kind = io_location.find_kind(path) or expected
    if kind is None:
        found = "contains no images, .parquet or .tar files" if path.exists() else "does not exist"
        raise SourceError(f"{path} {found}")
    if kind == "npz":
        raise SourceError(f"{path} contains events (npz files), not images")
    return kind


def files_by_split(location: Path, suffix: str) -> dict[str, list[Path]]:
    """Return the files of each split at a location. If no file name contains a split name, all files are one split.

    Args:
        location: a file, or a folder as for :func:`i2e_triton.io.location.find_shards`.
        suffix: suffix of the files.

    Raises:
        SourceError: if there are no files, or if only some file names contain a split name.
    """
    found: dict[str | None, list[Path]] = {}
    paths = find_shards(location, (suffix,)) if location.is_dir() else [location]
    if not paths or paths[0].suffix != suffix:
        raise SourceError(f"{location} contains no {suffix} files")
    for path in paths:
        found.setdefault(split_of(path), []).append(path)
    nameless = found.pop(None, [])
    if nameless and found:
        raise SourceError(
            f"the name of {nameless[0]} contains no split, but {next(iter(found.values()))[0]} does; "
            f"move or rename one (the names of splits are {', '.join(SPLIT_NAMES)})"
        )
    ordered = {split: found[split] for split in dict.fromkeys(SPLIT_NAMES.values()) if split in found}
    return ordered or {WHOLE: nameless}


def split_of(path: Path) -> str | None:
    """Return the split that a file belongs to, or None if its name contains no split.

    ``train-00000-of-00005.parquet`` belongs to train and ``imagenet-validation-07.tar`` to validation. If the name is a
    number, the name of the folder is used: ``test/0000.parquet`` belongs to test.
    """
    if NUMBERED.fullmatch(path.stem):
        return SPLIT_NAMES.get(path.parent.name)
    words = re.split(r"[-_.]", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
