"""The end of DataLoader workers that are killed, told where their batches are waited for and nowhere else."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
#: How long the news of a death may take after a connection has broken.
_NEWS_S = 1.0


class WorkerWatch:
    """Takes batches of a DataLoader whose workers have started.

    PyTorch raises at once that a worker is killed, wherever the main thread happens to be, be it half-way through the
    start of a writer that then nobody waits for. Within the ``with`` block it is told by :meth:`next` alone.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._death: RuntimeError | None = None
        # Without workers there is no handler, and only the main thread is told of signals.
        self._before: Any = signal.getsignal(signal.SIGCHLD)
        self._takes_over = callable(self._before) and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> WorkerWatch:
        if self._takes_over:
            signal.signal(signal.SIGCHLD, self._child_changed)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._takes_over:
            signal.signal(signal.SIGCHLD, self._before)

    def next(self, batches: Iterator[_T]) -> _T | None:
        """Return the next batch, None at the end.

        Raises:
            OSError: if a worker was killed.
        """
        try:
            self._waiting = True
            try:
                if self._death is not None:
                    raise self._death
                return next(batches, None)
            finally:
                self._waiting = False
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
                raise
            raise OSError(f"{self._reason(error)}; finished shards are kept, and the same command goes on") from error

    def _child_changed(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before(number, frame)
        except RuntimeError as error:
            self._death = error
            if self._waiting:
                raise

    def _reason(self, error: BaseException) -> str:
        end = time.monotonic() + _NEWS_S
        while self._takes_over and self._death is None and time.monotonic() < end:
            time.sleep(_NEWS_S / 100)
        if self._death is None and not isinstance(error, RuntimeError):
            return f"DataLoader worker is gone ({error})"
        return str(self._death or error).strip().rstrip(".")
