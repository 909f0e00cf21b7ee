"""One process or many: started by torchrun, or started here as the published ``--multiprocessing_distributed`` does."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, multiprocessing

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a process stands among the others, and what it computes on."""

    device: torch.device
    rank: int = 0
    processes: int = 1
    store: distributed.Store | None = None  #: what several processes share

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def decide(self, choose: Callable[[], T]) -> T:
        """Let the first process choose, and return its choice in all: what they find may differ between machines.

        Raises:
            OSError: if choosing raised it, in all processes.
            ValueError: likewise.
        """
        if self.processes == 1:
            return choose()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = choose()
            except (OSError, ValueError) as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome)
        choice, problem = outcome
        if problem is not None:
            raise problem
        return choice

    def tell_once(self, line: str) -> None:
        """Write a line to standard error, in the first process that gets here; the others wait until it is written.

        A process that ended before that would have those that it was started with ended, the one that writes as well.
        """
        try:
            if self.store is None or self.store.add("tells", 1) == 1:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
                if self.store is not None:
                    self.store.set("told", "")
            else:
                self.store.wait(["told"], timedelta(seconds=20))
        except RuntimeError:  # the store ended with the process that keeps it, which has told
            return


@dataclass(frozen=True)
class Launch:
    """How processes are started.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        gpu: index of the one GPU to use; None: that of the process's rank on its machine.
        spawn: start a process for each GPU here; one where there is none.
        nodes: machines, of which this is number ``node``.
        url: where process 0 listens, as ``tcp://127.0.0.1:8080``; None is a free port of this machine.
        backend: NCCL or gloo; gloo on the CPU, whatever it says.
    """

    device: str
    gpu: int | None = None
    spawn: bool = False
    nodes: int = 1
    node: int = 0
    url: str | None = None
    backend: str = "nccl"

    @property
    def gpus(self) -> int:
        """GPUs of this machine that may be used."""
        return torch.cuda.device_count() if self.device == "cuda" else 0


def launch(work: Callable[[Place], None], how: Launch) -> None:
    """Do work in every process, under torchrun in this one.

    Args:
        work: what each process does; it must pickle where processes are started here.
        how: see :class:`Launch`.
    """
    if distributed.is_torchelastic_launched():
        local_rank = int(os.environ["LOCAL_RANK"])
        _join(work, how, "env://", int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), local_rank)
    elif how.spawn or how.nodes > 1:
        spawn(work, how, max(1, how.gpus) if how.spawn else 1)
    else:
        work(Place(_device(how, 0)))


def spawn(work: Callable[[Place], None], how: Launch, processes: int) -> None:
    """Start processes on this machine, and wait for them."""
    url = how.url or f"tcp://127.0.0.1:{_free_port()}"
    multiprocessing.spawn(_spawned, (work, how, url, processes), nprocs=processes)


def _spawned(local_rank: int, work: Callable[[Place], None], how: Launch, url: str, processes: int) -> None:
    _join(work, how, url, how.node * processes + local_rank, how.nodes * processes, local_rank)


def _join(work: Callable[[Place], None], how: Launch, url: str, rank: int, processes: int, local_rank: int) -> None:
    device = _device(how, local_rank)
    backend = how.backend if device.type == "cuda" else "gloo"
    store, rank, processes = next(distributed.rendezvous(url, rank, processes))
    group = distributed.PrefixStore("group", store)
    distributed.init_process_group(backend, store=group, rank=rank, world_size=processes)
    work(Place(device, rank, processes, distributed.PrefixStore("work", store)))
    # Not after an error: leaving together would wait for those that have not met it.
    distributed.destroy_process_group()


def _device(how: Launch, local_rank: int) -> torch.device:
    if how.device == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", local_rank if how.gpu is None else how.gpu)
    torch.cuda.set_device(device)
    return device


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
