"""Atomic writes: a reader sees the old file or the complete new file, never a partial one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` when the ``with`` block ends without an error.

    The temporary file is ``.i2e-*.part`` in the same folder. If the block raises, the temporary file is removed and
    ``path`` is unchanged. Missing folders are created.

    Raises:
        OSError: if the folder or the file cannot be written. The error names ``path`` if the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".i2e-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL and error.filename is None:
            error.filename = str(path)
        part.unlink(missing_ok=True)
        raise
