"""Killed workers are reported where the main thread waits for batches, and nowhere else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from i2e_triton.pipeline.worker_watch import WorkerWatch


@pytest.fixture
def handler() -> Iterator[Callable[..., None]]:
    """Install a SIGCHLD handler that raises as PyTorch's does."""

    def raise_death(*_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    before = signal.signal(signal.SIGCHLD, raise_death)
    yield raise_death
    signal.signal(signal.SIGCHLD, before)


def child_dies() -> None:
    os.kill(os.getpid(), signal.SIGCHLD)


def dying(error: BaseException | None) -> Iterator[int]:
    yield 1
    child_dies()
    if error is not None:
        raise error
    yield 2


def test_death_is_reported_by_the_next_call_of_next(handler: Callable[..., None]) -> None:
    with WorkerWatch() as workers:
        child_dies()
        with pytest.raises(OSError, match=r"pid 7\) is killed by signal: Killed; finished shards are kept"):
            workers.next(iter([1]))
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_death_interrupts_waiting(handler: Callable[..., None]) -> None:
    with WorkerWatch() as workers:
        batches = dying(None)
        assert workers.next(batches) == 1
        with pytest.raises(OSError, match="is killed by signal: Killed; finished"):
            workers.next(batches)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError()])
def test_broken_connection_waits_for_the_signal(error: BaseException, handler: Callable[..., None]) -> None:
    def broken() -> Iterator[int]:
        threading.Timer(0.1, child_dies).start()
        raise error
        yield 1

    with WorkerWatch() as workers, pytest.raises(OSError, match="is killed by signal: Killed; finished"):
        workers.next(broken())


def test_without_handler_the_broken_connection_is_reported() -> None:
    def broken() -> Iterator[int]:
        raise ConnectionResetError(104, "reset")
        yield 1

    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with WorkerWatch() as workers, pytest.raises(OSError, match=r"DataLoader worker is gone .*reset"):
            workers.next(broken())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_other_errors_and_end_pass_through(handler: Callable[..., None]) -> None:
    def failing() -> Iterator[int]:
        raise RuntimeError("a bug")
        yield 1

    with WorkerWatch() as workers:
        assert workers.next(iter([])) is None
        with pytest.raises(RuntimeError, match="a bug"):
            workers.next(failing())
