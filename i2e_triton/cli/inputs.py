"""From the arguments of a command to picture files, and to the names of what is written for each."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import PIL.Image

# Pillow knows these by their first bytes, but cannot decode them by itself.
_NO_PIXELS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}


@dataclass
class Inputs:
    """What the arguments of a command stand for."""

    #: Each picture file once, and where its results belong: a path below the output folder, without suffix.
    targets: dict[Path, Path] = field(default_factory=dict)
    #: Arguments, and folders in them, that are not to be had, and why.
    missing: dict[Path, str] = field(default_factory=dict)


def find_pictures(arguments: Iterable[str], out: Path) -> Inputs:
    """Find the pictures that files, folders (with theirs) and patterns name.

    Results mirror the folders below the deepest one that holds all arguments. A result has the name of its picture
    without the suffix; pictures of one folder that differ in their suffix alone keep it: ``a.jpg``, ``a.png``.

    A folder's hidden files, files that are no pictures by their suffix, and ``out`` in it, are passed over.
    """
    inputs = Inputs()
    roots: list[str] = []
    pictures: dict[str, Path] = {}  # by absolute path: a picture may be named twice
    for path in _expand(arguments, inputs.missing):
        reason = _hindrance(path, out)
        if reason:
            inputs.missing[path] = reason
            continue
        found = list(_walk(path, out, inputs.missing)) if path.is_dir() else [path]
        if not found:
            inputs.missing[path] = "no pictures in this folder"
        roots.append(os.path.abspath(path if path.is_dir() else path.parent))
        pictures.update((os.path.abspath(picture), picture) for picture in found)
    if pictures:
        base = os.path.commonpath(roots)
        names = _target_names([Path(picture).relative_to(base) for picture in pictures])
        inputs.targets = {picture: out / name for picture, name in zip(pictures.values(), names)}
    return inputs


def _expand(arguments: Iterable[str], missing: dict[Path, str]) -> Iterator[Path]:
    """Resolve patterns that the shell has left alone."""
    for argument in arguments:
        # A name may look like a pattern.
        matches = [argument] if os.path.lexists(argument) else sorted(glob.glob(argument, recursive=True))
        if not matches:
            missing[Path(argument)] = "no such file or folder"
        yield from map(Path, matches)


def _hindrance(path: Path, out: Path) -> str:
    """Say why there is nothing to find at an existing path; nothing if there may be."""
    if _same(path, out):
        return "the results go there; choose another folder for them to convert this one"
    return "" if path.is_dir() or path.is_file() else "neither a file nor a folder"


def _walk(folder: Path, out: Path, missing: dict[Path, str]) -> Iterator[Path]:
    """List the pictures in a folder and the folders in it."""

    def note(error: OSError) -> None:
        missing[Path(error.filename)] = error.strerror or str(error)

    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _same(Path(parent, name), out))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _picture_suffixes():
                yield Path(parent, name)


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


@cache
def _picture_suffixes() -> frozenset[str]:
    suffixes = PIL.Image.registered_extensions()
    return frozenset(s for s, name in suffixes.items() if name in PIL.Image.OPEN and name not in _NO_PIXELS)


def _target_names(pictures: Sequence[Path]) -> list[Path]:
    """Drop the suffixes, but for names that would be the same without; capitals do not tell names apart everywhere."""
    names = [picture.with_suffix("") for picture in pictures]
    while True:
        counts = Counter(str(name).casefold() for name in names)
        kept = [p if counts[str(n).casefold()] > 1 else n for p, n in zip(pictures, names)]
        if kept == names:
            return names
        names = kept
