"""A conversion on a Ray cluster: the same shards by the same function, one mapper a GPU or a core.

Source and output must be paths that every node sees. Needs ``pip install 'i2e-triton[ray]'``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from threading import Event, Thread
from typing import Any

import ray
import ray.data
import torch

from i2e_triton.pipeline.batches import ImageBatches, convert_batch
from i2e_triton.pipeline.failure import Failure
from i2e_triton.pipeline.local_engine import Machine
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Settings, Shard
from i2e_triton.sources import Source

_WATCH_S = 0.1


class ShardMapper:
    """Converts shards in a Ray actor; holds the opened sources from one to the next."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        settings: Settings,
        machine: Machine,
        complete: Callable[..., ShardRecord],
        stopping: Any,
    ) -> None:
        torch.set_num_threads(1)
        self._batches = ImageBatches(sources, settings)
        self._settings = settings
        self._machine = machine
        self._complete = complete
        self._stopping = stopping

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Convert the shard of a row and return its record, or why there is none; nothing once it is to stop."""
        if ray.get(self._stopping.is_set.remote()):
            return {"record": "", "failure": ""}
        shard = Shard(**json.loads(row["shard"]))
        pieces = shard.pieces(self._machine.batch_rows)
        batches = (convert_batch(self._batches[piece], self._settings, self._machine.device) for piece in pieces)
        try:
            return {"record": json.dumps(asdict(self._complete(shard, batches))), "failure": ""}
        except (OSError, ValueError) as error:
            return {"record": "", "failure": json.dumps(asdict(Failure.of(error)))}


def convert_shards_with_ray(
    shards: Sequence[Shard],
    sources: Mapping[str, Source],
    settings: Settings,
    complete: Callable[..., ShardRecord],
    *,
    machine: Machine,
    stopping: Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards on the cluster that Ray is connected to or finds, or else on this machine.

    Rows are reported shard by shard. When ``stopping`` is set, or a shard fails, those in hand are finished and no
    other is begun.

    Raises:
        OSError: if a shard cannot be written, a source cannot be read, or Ray loses what it cannot replace.
        ValueError: if a source is damaged.
    """
    if not shards:
        return
    _start_quietly()
    failures = []
    try:
        with _shared(stopping) as shared:
            for row in _convert_all(shards, machine, (sources, settings, machine, complete, shared)):
                if row["failure"]:
                    failures.append(Failure(**json.loads(row["failure"])))
                    _set(shared)
                elif row["record"]:
                    record = ShardRecord.from_json(json.loads(row["record"]))
                    rows_done(record.rows + len(record.skipped))
                    shard_done(record)
    except ray.exceptions.RayTaskError:
        raise  # a defect: its traceback says where
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise OSError(f"Ray: {reason}. Finished shards are kept, and the same command goes on") from error
    if failures:
        raise failures[0].error()


def _convert_all(shards: Sequence[Shard], machine: Machine, arguments: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    work = ray.data.from_items(
        [{"shard": json.dumps(asdict(shard))} for shard in shards], override_num_blocks=len(shards)
    )
    on_gpu = machine.device.type == "cuda"
    mapper: Any = ShardMapper  # Ray makes one of them for each actor
    done = work.map(
        mapper,
        fn_constructor_args=arguments,
        num_cpus=0 if on_gpu else 1,
        num_gpus=1 if on_gpu else 0,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(shards)),
    )
    yield from done.iter_rows()


@contextlib.contextmanager
def _shared(stopping: Event) -> Iterator[Any]:
    """Make an event that mappers on any node can ask, in an actor of its own; it is set when ``stopping`` is."""
    shared = ray.remote(Event).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    ended = Event()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            if stopping.is_set():
                return _set(shared)

    watching = Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield shared
    finally:
        ended.set()
        watching.join()


def _set(shared: Any) -> None:
    ray.get(shared.set.remote())


def _start_quietly() -> None:
    """Start Ray, or connect to it, and keep what it tells of itself to its log files: errors are raised."""
    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
