"""Uncompressed tar files in the layout of WebDataset: what readers of images and readers of events share."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)
# tarfile raises these for header fields that are not numbers or are far too large.
_DAMAGE = (ValueError, OverflowError, RecursionError)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


def visible_files(file: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the name and header of each regular file in a tar. Hidden files, links and folders are left out.

    Names are normalized: ``./a.jpg``, as ``tar -C FOLDER -cf FILE .`` writes it, and ``/a.jpg`` become ``a.jpg``.

    Args:
        file: the open tar file. The caller may seek and read in it between two members.

    Raises:
        tarfile.TarError: if the file is not a tar, or is compressed, damaged or truncated.
    """
    size = os.fstat(file.fileno()).st_size
    if file.read(6).startswith(_COMPRESSED):
        raise tarfile.ReadError("it is compressed, which prevents reading by offset; decompress it first")
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header in memory
                if not 0 <= member.size <= size - member.offset_data:
                    raise tarfile.ReadError(f"its member {member.name!r} needs {member.size:,} bytes and is cut off")
                name = posixpath.normpath(member.name).lstrip("/")
                if member.isreg() and not member.issparse() and not posixpath.basename(name).startswith("."):
                    yield name, member
            end = tar.offset  # type: ignore[attr-defined]
    except _DAMAGE as error:
        raise tarfile.ReadError(f"a header is damaged: {error}") from error
    # tarfile stops without an error at a damaged header.
    file.seek(end)
    if file.read(len(_END_OF_ARCHIVE)) != _END_OF_ARCHIVE:
        raise tarfile.ReadError(f"no end-of-archive mark at byte {end}")


def split_name(name: str) -> tuple[str, str]:
    """Return sample and extension of a file name, split at the first dot as in WebDataset: ``a/0001``, ``seg.png``."""
    folder, base = posixpath.split(name)
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension.lower()


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from an offset on, or fewer if the file ends before."""
    file.seek(offset)
    return file.read(size)
