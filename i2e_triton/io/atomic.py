"""Atomic writes: a reader sees the old file or the complete new file, never a partial one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: Pattern of the names of temporary files, which a killed process leaves behind.
PARTIAL_FILES = ".i2e-*.part"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_whole(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` when the ``with`` block ends without an error.

    The temporary file is ``.i2e-*.part`` in the same folder. If the block raises an error, the temporary file is
    removed and ``path`` is unchanged. Missing folders are created.

    Args:
        path: file to create or replace.
        sync: also survive a power failure: sync the file before it gets its name, and then its folder. Pass False for
            many small files, and call :func:`sync_files` at the end.

    Raises:
        OSError: if the folder or the file cannot be written. The error names ``path`` if the disk is full, or if the
            file or its folder cannot be synced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".i2e-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
        if sync:
            _sync(part, path)  # not by its descriptor: a text wrapper around the file has closed it
        os.replace(part, path)
        if sync:
            _sync(path.parent, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL and error.filename is None:
            error.filename = str(path)
        part.unlink(missing_ok=True)
        raise


def sync_files(paths: Iterable[Path]) -> None:
    """Sync files and their folders, so that they survive a power failure. On Windows, nothing is synced.

    Raises:
        OSError: if a file or folder cannot be synced. The error names it.
    """
    paths = list(paths)
    for path in (*paths, *{path.parent for path in paths}):
        _sync(path, path)


def _sync(path: Path, shown: Path) -> None:
    """Sync a file or folder. An error names the path ``shown``."""
    if os.name == "nt":  # Windows cannot open a folder, and syncs only files that are open for writing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(shown)
        raise
    finally:
        os.close(descriptor)
