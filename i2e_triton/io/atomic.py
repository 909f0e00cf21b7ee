"""Writing files whole: a reader finds the old file or the new one, never a part of it."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name, and the place of a file that has it, when it is complete.

    Until then it lies in the same folder as ``.i2e-*.part``. Whatever ends the ``with`` block early, an error or the
    user, removes it and leaves ``path`` as it was. Missing folders are made.

    Raises:
        OSError: if the folder or the file cannot be written; it names the file where there is no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".i2e-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            error.filename = str(path)
        part.unlink(missing_ok=True)
        raise
