"""Uncompressed tars, read member by member: what tars of images and tars of events have in common."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)
# What ``tarfile`` itself runs into where numbers of a header are none, or far too large.
_DAMAGE = (ValueError, OverflowError, RecursionError)


def visible_files(file: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """List the regular files of a tar that are not hidden, by the name that extracting would give them.

    That is ``a.jpg`` for ``./a.jpg``, as ``tar -C FOLDER -cf FILE .`` writes it, and for ``/a.jpg``.

    Args:
        file: the tar, open; reading elsewhere in it between two members is no harm.

    Raises:
        tarfile.TarError: if it is no tar, is compressed, damaged, or cut off.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all
                if not 0 <= member.size <= size - member.offset_data:
                    raise tarfile.ReadError(f"it does not hold the {member.size:,} bytes of its member {member.name!r}")
                name = posixpath.normpath(member.name).lstrip("/")
                if member.isreg() and not member.issparse() and not posixpath.basename(name).startswith("."):
                    yield name, member
            end = tar.offset  # type: ignore[attr-defined]
    except _DAMAGE as error:
        raise tarfile.ReadError(f"a header is damaged: {error}") from error
    # A header that is nonsense ends the reading without an error.
    file.seek(end)
    if file.read(len(_END_OF_ARCHIVE)) != _END_OF_ARCHIVE:
        raise tarfile.ReadError(f"no end-of-archive mark at byte {end}")


def split_name(name: str) -> tuple[str, str]:
    """Split a file's name into sample and extension as WebDataset does, at the first dot: ``a/0001``, ``seg.png``."""
    folder, base = posixpath.split(name)
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension.lower()
