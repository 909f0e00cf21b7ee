"""Convert shards on this machine, in a pool of processes."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_sentinel
from typing import Any

import torch

from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard

ConvertShard = Callable[[Shard, Callable[[int], None]], ShardRecord]

_POLL_S = 0.1


def convert_shards(
    shards: Sequence[Shard],
    convert: ConvertShard,
    *,
    workers: int,
    stopping: threading.Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards. When ``stopping`` is set or a shard fails, finish the open shards and start no others.

    Any other exception, such as KeyboardInterrupt, abandons the open shards and removes their incomplete files.

    Args:
        shards: the shards to convert, in order.
        convert: called in the worker processes with a shard and a function that it calls after each batch of rows.
        workers: number of processes; 0 converts in this process.
        stopping: set from a signal handler or another thread.
        rows_done: called in this process with numbers of converted rows.
        shard_done: called in this process with the record of each finished shard.

    Raises:
        MemoryError: if memory is short.
        OSError: if a shard cannot be written, a source cannot be read, or a worker is killed.
        ValueError: if a source is damaged.
    """
    if workers == 0:
        for shard in shards:
            if stopping.is_set():
                break
            shard_done(convert(shard, rows_done))
    elif shards:
        try:
            with _Pool(convert, min(workers, len(shards)), len(shards), rows_done) as pool:
                run_shards(shards, pool.submit, lambda: pool.workers, stopping, pool.report_rows, shard_done)
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, which the system does if memory is short; finished shards are kept. "
                "Rerun the same command to resume, with fewer --workers if memory was short"
            ) from error


def run_shards(
    shards: Sequence[Shard],
    submit: Callable[[int, Shard], Future[ShardRecord]],
    slots: Callable[[], int],
    stopping: threading.Event,
    poll: Callable[[], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Submit shards, at most ``slots()`` at a time, until all are finished, one fails or ``stopping`` is set.

    Args:
        shards: the shards in order.
        submit: starts the conversion of a shard, given its position in ``shards``.
        slots: returns how many shards may be open.
        stopping: when it is set, the open shards are finished and no others are started.
        poll: called several times a second.
        shard_done: called with the record of each finished shard.
    """
    waiting = deque(enumerate(shards))
    open_shards: set[Future[ShardRecord]] = set()
    failure: BaseException | None = None
    while True:
        while waiting and len(open_shards) < slots() and not stopping.is_set() and failure is None:
            open_shards.add(submit(*waiting.popleft()))
        if not open_shards:
            break
        done, open_shards = wait(open_shards, _POLL_S, FIRST_COMPLETED)
        poll()
        for future in done:
            error = future.exception()
            if error is None:
                shard_done(future.result())
            else:
                failure = failure or error
    if failure is not None:
        raise failure


class _Pool:
    """Worker processes that convert shards. Leaving the ``with`` block by an exception abandons the open shards."""

    def __init__(self, convert: ConvertShard, workers: int, shards: int, rows_done: Callable[[int], None]) -> None:
        context = multiprocessing.get_context(_start_method())
        self.workers = workers
        self._rows_done = rows_done
        self._reported = 0
        # Without locks: a worker that is killed while it holds a lock would block the others.
        self._rows = context.RawArray(ctypes.c_int64, shards)
        self._abandoned = context.RawValue(ctypes.c_bool, False)
        self._executor = ProcessPoolExecutor(workers, context, _start_worker, (convert, self._rows, self._abandoned))

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        self._abandoned.value = kind is not None
        self._executor.shutdown(cancel_futures=True)

    def submit(self, index: int, shard: Shard) -> Future[ShardRecord]:
        """Start the conversion of a shard in a worker."""
        with _blocked_signals():  # the executor starts workers here, which must inherit the blocked signals
            try:
                return self._executor.submit(_convert_in_worker, index, shard)
            except BrokenProcessPool as error:
                failed: Future[ShardRecord] = Future()
                failed.set_exception(error)
                return failed

    def report_rows(self) -> None:
        """Report the rows that the workers have converted since the last call."""
        rows = sum(self._rows)
        if rows > self._reported:
            self._rows_done(rows - self._reported)
            self._reported = rows


def _start_method() -> str:
    """Return how worker processes are started.

    A fork has all modules, so that workers start at once. It is safe while no other thread holds a lock. Otherwise a
    server process that imports the modules once is forked.
    """
    if sys.platform == "linux" and threading.active_count() == 1:
        return "fork"
    multiprocessing.set_forkserver_preload(["i2e_triton.pipeline.dataset"])
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # on Windows


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Abandoned(BaseException):
    """The conversion was interrupted."""


#: What :func:`_start_worker` received in a worker process.
_worker: tuple[ConvertShard, Any, Any]


def _start_worker(convert: ConvertShard, rows: Any, abandoned: Any) -> None:
    global _worker
    _worker = convert, rows, abandoned
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A terminal sends Ctrl-C to all processes, and the main process decides what it means.
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGINT,))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_sentinel([parent.sentinel])
    os._exit(1)


def _convert_in_worker(index: int, shard: Shard) -> ShardRecord:
    convert, all_rows, abandoned = _worker

    def rows_done(rows: int) -> None:
        all_rows[index] += rows
        if abandoned.value:
            raise _Abandoned

    return convert(shard, rows_done)
