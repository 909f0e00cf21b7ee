"""All images of a small data set in one tensor: decoded once, kept in a file for the next time."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from i2e_triton.io.atomic import write_whole
from i2e_triton.sources import Source, SourceError, check_resize, prepare_batch

_READ_AT_ONCE = 256  # images
_FORMAT = "i2e-triton images 1"
#: How reading a damaged zip ends: OSError where it points before its start, RuntimeError where it seems encrypted.
_CACHE_DAMAGE = (zipfile.BadZipFile, EOFError, KeyError, ValueError, RuntimeError, OSError)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, and their labels, on the CPU.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        classes: their names, in order of the labels; None where they have none.

    Raises:
        TypeError: if images or labels are of another type.
        ValueError: if there is no image, or a shape is unfit.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.labels.dtype != torch.int64:
            raise TypeError(f"images must be uint8 and labels int64, got {self.images.dtype} and {self.labels.dtype}")
        if self.images.dim() != 4 or self.images.numel() == 0:
            raise ValueError(f"images must be [N, C, H, W] and one at least, got shape {list(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be [{len(self.images)}], got shape {list(self.labels.shape)}")
        if self.images.device.type != "cpu" or self.labels.device.type != "cpu":
            raise ValueError("images and labels must be on the CPU; the loader moves them")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the shape, the pixels and the labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


def load_image_set(
    source: Source, *, size: tuple[int, int] | None = None, rule: str = "bilinear", cache: Path | None = None
) -> ImageSet:
    """Decode all images of a source into memory, once.

    Args:
        source: of :func:`i2e_triton.sources.open_source`.
        size: height and width that images are resized to; None where all have the same.
        rule: how, one of :data:`i2e_triton.sources.RESIZE_RULES`.
        cache: a folder that keeps the decoded images, one file for each source, size and rule. It is read where the
            source's fingerprint is that of the file. A damaged file is made anew, with a warning.

    Raises:
        SourceError: if there is no image, one is damaged, or images differ in size or type.
        ValueError: if the resize rule does not exist.
        OSError: if the source or the cache cannot be read or written.
    """
    check_resize(size, rule)
    if cache is None:
        return _decode(source, size, rule)
    key = json.dumps([_FORMAT, source.fingerprint(), size, rule if size else None])
    path = cache / f"images-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    images = _cached(path, key)
    if images is None:
        images = _decode(source, size, rule)
        _write_cache(path, key, images)
    return images


def _cached(path: Path, key: str) -> ImageSet | None:
    """Return what a file holds; None where there is no file, and with a warning where it is damaged."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        try:
            return _read_cache(file, key)
        except _CACHE_DAMAGE as error:
            warnings.warn(f"{path} is damaged ({error}); the images are decoded again", stacklevel=3)
            return None


def _decode(source: Source, size: tuple[int, int] | None, rule: str) -> ImageSet:
    if not len(source):
        raise SourceError("the source holds no image")
    images: Tensor | None = None
    labels = torch.empty(len(source), dtype=torch.int64)
    console = Console(stderr=True)
    starts = range(0, len(source), _READ_AT_ONCE)
    for start in track(starts, "decoding images", console=console, transient=True, disable=not console.is_terminal):
        stop = min(start + _READ_AT_ONCE, len(source))
        batch, labels[start:stop] = _decode_rows(source, start, stop, size, rule)
        if images is None:
            images = torch.empty(len(source), *batch.shape[1:], dtype=torch.uint8)
        if batch.shape[1:] != images.shape[1:]:
            raise _different(list(images.shape[1:]), list(batch.shape[1:]), f"of the rows {start} to {stop - 1}")
        images[start:stop] = batch
    assert images is not None
    return ImageSet(images, labels, source.classes)


def _decode_rows(
    source: Source, start: int, stop: int, size: tuple[int, int] | None, rule: str
) -> tuple[Tensor, Tensor]:
    rows = list(source.read(start, stop))
    prepared = prepare_batch((row.image for row in rows), size, rule)
    for place, error in prepared.damaged.items():
        raise SourceError(f"the image {rows[place].key!r} cannot be read: {error}")
    (_, images), *others = prepared.groups
    if others:
        places, other = others[0]
        raise _different(list(images.shape[1:]), list(other.shape[1:]), repr(rows[places[0]].key))
    if images.dtype != torch.uint8:
        raise SourceError(f"the image {rows[0].key!r} has more than 8 bits; convert the set to 8 bits first")
    return images, torch.tensor([row.label for row in rows])


def _different(first: list[int], other: list[int], which: str) -> SourceError:
    return SourceError(f"images differ: {first} and {other}, the latter {which}; give a size, as size=(32, 32)")


def _write_cache(path: Path, key: str, images: ImageSet) -> None:
    about = json.dumps({"key": key, "classes": images.classes}).encode()
    with write_whole(path) as file:
        np.savez(
            file,
            about=np.frombuffer(about, np.uint8),
            images=images.images.numpy(),
            labels=images.labels.numpy(),
        )


def _read_cache(file: BinaryIO, key: str) -> ImageSet:
    """Read what :func:`_write_cache` wrote; the zip's checksums are checked, and nothing is unpickled."""
    with zipfile.ZipFile(file) as archive:
        about = json.loads(_member(archive, "about.npy").tobytes())
        if not isinstance(about, dict) or about.get("key") != key:
            raise ValueError("it holds other images than its name says")
        images, labels = _member(archive, "images.npy"), _member(archive, "labels.npy")
    classes = None if about["classes"] is None else tuple(map(str, about["classes"]))
    try:
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), classes)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array that takes no more memory than its file."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    content = archive.read(name)
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.hasobject:
        raise ValueError(f"{name} is of another layout")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape).copy()
