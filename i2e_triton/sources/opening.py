"""A location becomes a source: which kind lies there, and which splits it has."""

from __future__ import annotations

from pathlib import Path

from i2e_triton.sources.folder import FolderSource, folder_splits, holds_pictures, sub_folders
from i2e_triton.sources.parquet import ParquetSource
from i2e_triton.sources.source import Source, SourceError
from i2e_triton.sources.split_files import DATA_FOLDER, files_by_split, find_files
from i2e_triton.sources.tar import TarSource
from i2e_triton.sources.torchvision_sets import FOLDERS, open_torchvision, torchvision_splits

_SUFFIXES = {"parquet": ".parquet", "tar": ".tar"}
KINDS = ("folder", "parquet", "tar", *FOLDERS)


def splits(location: str, kind: str | None = None) -> tuple[str, ...]:
    """Name the splits of what lies at a location: of train, validation and test those that are there.

    Args:
        location: a file or a folder; for torchvision's data sets the ``root`` that torchvision takes.
        kind: one of :data:`KINDS`, or None to find it by :func:`find_kind`.

    Raises:
        SourceError: if nothing of the kind is there.
        OSError: if the location cannot be read.
    """
    path, kind = Path(location).expanduser(), kind or find_kind(location)
    if kind in FOLDERS:
        return torchvision_splits(kind)
    if kind in _SUFFIXES:
        return tuple(files_by_split(path, _SUFFIXES[kind]))
    return tuple(folder_splits(path))


def open_source(location: str, *, kind: str | None = None, split: str, download: bool = False) -> Source:
    """Open one split of a data set of images.

    Args:
        location: a file or a folder; for torchvision's data sets the ``root`` that torchvision takes.
        kind: one of :data:`KINDS`, or None to find it by :func:`find_kind`.
        split: one of :func:`splits`.
        download: fetch one of torchvision's data sets that is not there.

    Raises:
        SourceError: if nothing of the kind is there, it has no such split, or is not what it should be.
        OSError: if the location cannot be read, or the download fails.
    """
    path, kind = Path(location).expanduser(), kind or find_kind(location)
    known = splits(location, kind)
    if split not in known:
        raise SourceError(f"{path} has no split {split!r}; it has {', '.join(known)}")
    if kind in FOLDERS:
        return open_torchvision(kind, path, split, download)
    if kind in _SUFFIXES:
        files = files_by_split(path, _SUFFIXES[kind])[split]
        return ParquetSource(files) if kind == "parquet" else TarSource(files)
    return FolderSource(folder_splits(path)[split])


def find_kind(location: str, expected: str | None = None) -> str:
    """Tell the kind of what lies at a location, by the names of files and folders.

    Args:
        location: a file or a folder.
        expected: one of torchvision's data sets, taken where several of them are there, or nothing is.

    Raises:
        SourceError: if nothing is there, or several of torchvision's data sets and none is expected.
        OSError: if the location cannot be read.
    """
    path = Path(location).expanduser()
    known = [kind for kind, folder in FOLDERS.items() if (path / folder).is_dir()]
    if known:
        if len(known) > 1 and expected is None:
            raise SourceError(f"{path} holds {', '.join(known)}: choose one with --kind")
        return expected or known[0]
    if find_files(path, ".parquet"):
        return "parquet"
    folders = sub_folders(path) if path.is_dir() else []
    # ImageNet's own tars often lie beside the folders that were made of them.
    if find_files(path, ".tar") and set(folders) <= {DATA_FOLDER}:
        return "tar"
    if folders or (path.is_dir() and holds_pictures(path)):
        return "folder"
    if expected is not None:
        return expected
    raise SourceError(f"{path} {'holds no pictures, .parquet or .tar files' if path.exists() else 'does not exist'}")
