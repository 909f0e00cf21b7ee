"""Report killed DataLoader workers only where the main thread waits for batches."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
#: After a connection to a worker breaks, the signal of its end arrives within this time.
_SIGNAL_TIMEOUT_S = 1.0


class WorkerWatch:
    """Takes batches from a DataLoader whose workers have started.

    PyTorch's SIGCHLD handler raises RuntimeError anywhere in the main thread, for example while a writer starts. Within
    the ``with`` block only :meth:`next` raises.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._error: RuntimeError | None = None
        # Without workers PyTorch installs no handler. Only the main thread receives signals.
        self._before: Any = signal.getsignal(signal.SIGCHLD)
        self._active = callable(self._before) and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> WorkerWatch:
        if self._active:
            signal.signal(signal.SIGCHLD, self._child_changed)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._active:
            signal.signal(signal.SIGCHLD, self._before)

    def next(self, batches: Iterator[_T]) -> _T | None:
        """Return the next batch, or None at the end.

        Raises:
            OSError: if a worker was killed.
        """
        try:
            self._waiting = True
            try:
                if self._error is not None:
                    raise self._error
                return next(batches, None)
            finally:
                self._waiting = False
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
                raise
            raise OSError(
                f"{self._reason(error)}; finished shards are kept; rerun the same command to resume"
            ) from error

    def _child_changed(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before(number, frame)
        except RuntimeError as error:
            self._error = error
            if self._waiting:
                raise

    def _reason(self, error: BaseException) -> str:
        end = time.monotonic() + _SIGNAL_TIMEOUT_S
        while self._active and self._error is None and time.monotonic() < end:
            time.sleep(_SIGNAL_TIMEOUT_S / 100)
        if self._error is None and not isinstance(error, RuntimeError):
            return f"DataLoader worker is gone ({error})"
        return str(self._error or error).strip().rstrip(".")
