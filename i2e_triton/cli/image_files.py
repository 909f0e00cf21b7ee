"""Find the image files that command-line arguments name, and choose the paths of the results."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import PIL.Image

from i2e_triton.io.pictures import FORMATS


@dataclass
class ImageFiles:
    """The result of :func:`find_image_files`."""

    #: Path of the results of each image file: in the output folder, without a suffix.
    targets: dict[Path, Path] = field(default_factory=dict)
    #: Arguments and folders that cannot be read, and why.
    unreadable: dict[Path, str] = field(default_factory=dict)
    #: Image files that an argument names directly, not by a folder.
    named: set[Path] = field(default_factory=set)
    #: Number of non-image files in folders, by suffix.
    others: Counter[str] = field(default_factory=Counter)


def find_image_files(arguments: Iterable[str], out: Path) -> ImageFiles:
    """Find the images of the arguments: image files, folders (with subfolders) and patterns.

    The path of a result in ``out`` is the path of its image relative to the deepest folder that contains all arguments,
    without the suffix. If the names of two images differ only in the suffix, both keep it: ``a.jpg``, ``a.png``.

    In folders, hidden files, files without an image suffix and the folder ``out`` are skipped.
    """
    found = ImageFiles()
    roots: list[str] = []
    images: dict[str, Path] = {}  # by absolute path, so that an image that is named twice is listed once
    for path in _expand(arguments, found.unreadable):
        reason = _why_unreadable(path, out)
        if reason:
            found.unreadable[path] = reason
            continue
        files = list(_walk(path, out, found)) if path.is_dir() else [path]
        if not files:
            found.unreadable[path] = "no images in this folder"
        if not path.is_dir():
            found.named.add(path)
        roots.append(os.path.abspath(path if path.is_dir() else path.parent))
        images.update((os.path.abspath(file), file) for file in files)
    if images:
        base = os.path.commonpath(roots)
        names = _target_names([Path(image).relative_to(base) for image in images])
        found.targets = {image: out / name for image, name in zip(images.values(), names)}
    return found


def _expand(arguments: Iterable[str], unreadable: dict[Path, str]) -> Iterator[Path]:
    """Yield the paths that the arguments name. Expand the patterns that the shell did not expand."""
    for argument in arguments:
        # The name of an existing file may look like a pattern.
        matches = [argument] if os.path.lexists(argument) else sorted(glob.glob(argument, recursive=True))
        if not matches:
            unreadable[Path(argument)] = "no such file or folder"
        yield from map(Path, matches)


def _why_unreadable(path: Path, out: Path) -> str:
    """Return why an existing path cannot be converted, or an empty string if it can."""
    if _same_file(path, out):
        return "this is the output folder; choose another --out to convert it"
    return "" if path.is_dir() or path.is_file() else "neither a file nor a folder"


def other_files(names: Iterable[str], image_suffixes: Collection[str]) -> Counter[str]:
    """Count the files that are neither images nor hidden, by suffix."""
    suffixes = (os.path.splitext(name)[1].lower() for name in names if not name.startswith("."))
    return Counter(suffix or "(no suffix)" for suffix in suffixes if suffix not in image_suffixes)


def describe_others(others: Counter[str]) -> str:
    """Return ``skipped files that are not images: 2 .heic (pip install pillow-heif), 1 .txt`` for these counts."""
    hints = dict.fromkeys((".heic", ".heif"), " (pip install pillow-heif)")
    return "skipped files that are not images: " + ", ".join(
        f"{count} {suffix}{hints.get(suffix, '')}" for suffix, count in others.most_common()
    )


def _walk(folder: Path, out: Path, found: ImageFiles) -> Iterator[Path]:
    """Yield the images in a folder and its subfolders. Record unreadable subfolders and other files in ``found``."""

    def record(error: OSError) -> None:
        found.unreadable[Path(error.filename)] = error.strerror or str(error)

    for parent, folders, files in os.walk(folder, onerror=record):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _same_file(Path(parent, name), out)
        )
        found.others += other_files(files, _image_suffixes())
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _image_suffixes():
                yield Path(parent, name)


def _same_file(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


@cache
def _image_suffixes() -> frozenset[str]:
    suffixes = PIL.Image.registered_extensions()
    return frozenset(s for s, name in suffixes.items() if name in PIL.Image.OPEN and name in FORMATS)


def _target_names(images: Sequence[Path]) -> list[Path]:
    """Return the paths without their suffixes. Paths that would then be equal keep them.

    Upper and lower case count as equal, because some file systems do not distinguish them.
    """
    names = [image.with_suffix("") for image in images]
    while True:  # a kept suffix may cause another collision: a.png and a.png.bmp
        counts = Counter(str(name).casefold() for name in names)
        kept = [image if counts[str(name).casefold()] > 1 else name for image, name in zip(images, names)]
        if kept == names:
            return names
        names = kept
