"""Faults in the file operations of a process: the n-th operation below a folder fails, or the process is killed there.

The operations are open, write, fsync, rename, remove, mkdir, rmdir and listing a folder. Audit events of the
interpreter report most of them. Writing and fsync have no event and are replaced by functions that count.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("SIGKILL", "ENOSPC", "EIO")

#: Operations that need space on the disk.
_NEED_SPACE = ("open to write", "write", "fsync", "mkdir")
_ALL_FLAGS_THAT_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_VARIABLE = "I2E_TORTURE_FAULT"


@dataclass(frozen=True)
class Fault:
    """A fault at an operation below one of ``folders``.

    ENOSPC persists, as on a full disk: it fails each operation that needs space from number ``at`` on. EIO happens
    once.
    """

    kind: str  #: one of :data:`KINDS`
    at: int  #: number of the operation, from 0
    folders: tuple[str, ...]  #: absolute paths
    log: str = ""  #: file that receives one line for each operation; "" writes none


class Injector:
    """Counts the file operations of this process, and of each process forked from it, and causes the fault.

    Args:
        fault: what to cause, and where.
        only_in_forks: leave out this process itself.
    """

    def __init__(self, fault: Fault, only_in_forks: bool = False) -> None:
        self._fault = fault
        self._left_out = os.getpid() if only_in_forks else 0
        self._count = 0
        self._busy = False
        self._folders = tuple(folder.rstrip("/") + "/" for folder in fault.folders)
        self._log = os.open(fault.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if fault.log else -1

    def install(self) -> None:
        """Count from now on, until the process ends."""
        fsync, write, path_open, io_open = os.fsync, os.write, pathlib.Path.open, io.open

        def counting_fsync(fd: Any) -> None:
            self.reach("fsync", _path_of(fd if isinstance(fd, int) else fd.fileno()))
            fsync(fd)

        def counting_write(fd: int, data: Any) -> int:
            path = _path_of(fd)
            self.reach("write", path, lambda: write(fd, bytes(data)[: len(data) // 2]))
            return write(fd, data)

        def counting(open_file: Callable[..., Any]) -> Callable[..., Any]:
            def open_counting(*args: Any, **kwargs: Any) -> Any:
                file = open_file(*args, **kwargs)
                if type(file) is io.BufferedWriter and isinstance(file.name, (str, os.PathLike)):
                    path = str(file.name)
                    return _CountingFile(file.detach(), lambda half: self.reach("write", path, half))
                return file

            return open_counting

        os.fsync, os.write = counting_fsync, counting_write
        pathlib.Path.open = counting(path_open)  # type: ignore[method-assign]
        io.open = builtins.open = counting(io_open)
        sys.addaudithook(self._audit)

    def reach(self, operation: str, path: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count an operation on a path, and cause the fault if it is due; a fault in a write leaves half of the data.

        Raises:
            OSError: if the fault is an error and due.
        """
        if self._busy or os.getpid() == self._left_out or not (os.path.abspath(path) + "/").startswith(self._folders):
            return
        number, fault = self._count, self._fault
        self._count += 1
        self._busy = True  # half of a write is no operation
        try:
            if self._log >= 0:
                os.write(self._log, f"{operation}\n".encode())
            due = number == fault.at
            if fault.kind == "ENOSPC":
                due = number >= fault.at and operation in _NEED_SPACE
            if not due:
                return
            half()
            if fault.kind == "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, fault.kind)
            raise OSError(code, os.strerror(code), *(() if operation in ("write", "fsync") else (path,)))
        finally:
            self._busy = False

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, bytes)):
            writes = bool((args[2] or 0) & _ALL_FLAGS_THAT_WRITE)
            self.reach("open to write" if writes else "open to read", os.fsdecode(args[0]))
        elif event == "os.rename":
            self.reach("rename", _below(args[0], args[2]))
        elif event in ("os.remove", "os.rmdir"):
            self.reach(event[3:], _below(args[0], args[1]))
        elif event == "os.mkdir":
            self.reach("mkdir", _below(args[0], args[2]))
        elif event in ("os.scandir", "os.listdir") and isinstance(args[0], (str, bytes)):
            self.reach("list", os.fsdecode(args[0]))


class _CountingFile(io.BufferedWriter):
    """A file opened to write whose write calls ``reach``, with a function that writes half of the data."""

    def __init__(self, raw: Any, reach: Callable[[Callable[[], Any]], None]) -> None:
        super().__init__(raw)
        self._reach = reach

    def write(self, data: Any) -> int:
        write = super().write

        def half() -> None:
            content = memoryview(data).cast("B")
            write(content[: len(content) // 2])
            self.flush()

        self._reach(half)
        return write(data)


def install_in_workers(fault: Fault, folder: str) -> None:
    """Install the fault in every process that this process forks or starts, and not in this process.

    Args:
        fault: what to cause, and where. Each process counts its own operations.
        folder: receives a module that new Python processes import.
    """
    pathlib.Path(folder, "sitecustomize.py").write_text(f"from {__name__} import install_from_environment as i; i()\n")
    root = str(pathlib.Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, root, os.environ.get("PYTHONPATH", "")])
    os.environ[_VARIABLE] = json.dumps(asdict(fault))
    Injector(fault, only_in_forks=True).install()


def install_from_environment() -> None:
    """Install the fault of the process that called :func:`install_in_workers`."""
    Injector(Fault(**json.loads(os.environ[_VARIABLE]))).install()


def _path_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _below(path: Any, folder_fd: int) -> str:
    """Return a path that may be relative to the folder of a file descriptor (-1: to the working directory)."""
    name = os.fsdecode(path)
    return os.path.join(_path_of(folder_fd), name) if folder_fd >= 0 else name
