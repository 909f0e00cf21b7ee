"""Convert shards on a Ray cluster, with one actor per GPU or per CPU core.

The paths of source and output must exist on every node. Needs ``pip install 'i2e-triton[ray]'``.
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
from i2e_triton.pipeline.local_engine import EngineOptions, Failure
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.sources import Source

_STOP_CHECK_S = 0.1


class ShardMapper:
    """Converts shards in a Ray actor, which keeps its sources open."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        config: ConversionConfig,
        options: EngineOptions,
        complete: Callable[..., ShardRecord],
        stopping: Any,
    ) -> None:
        torch.set_num_threads(1)
        self._batches = ImageBatches(sources, config)
        self._config = config
        self._options = options
        self._complete = complete
        self._stopping = stopping

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Convert a shard. Returns its record or its failure as JSON; both are empty after a stop."""
        if ray.get(self._stopping.is_set.remote()):
            return {"record": "", "failure": ""}
        shard = Shard(**json.loads(row["shard"]))
        batches = (
            convert_batch(self._batches[row_range], self._config, self._options.device)
            for row_range in shard.row_ranges(self._options.batch_rows)
        )
        try:
            return {"record": json.dumps(asdict(self._complete(shard, batches))), "failure": ""}
        except (OSError, ValueError) as error:
            return {"record": "", "failure": json.dumps(asdict(Failure.of(error)))}


def convert_shards_with_ray(
    shards: Sequence[Shard],
    sources: Mapping[str, Source],
    config: ConversionConfig,
    complete: Callable[..., ShardRecord],
    *,
    options: EngineOptions,
    stopping: Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards on the cluster that Ray is connected to or finds, otherwise on this machine.

    Rows are reported when their shard is finished. When ``stopping`` is set or a shard fails, the open shards are
    finished and no others are started.

    Raises:
        OSError: if a shard cannot be written, a source cannot be read, or Ray fails.
        ValueError: if a source is damaged.
    """
    if not shards:
        return
    _start_quietly()
    failures = []
    try:
        with _shared(stopping) as shared:
            for row in _convert_all(shards, options, (sources, config, options, complete, shared)):
                if row["failure"]:
                    failures.append(Failure(**json.loads(row["failure"])))
                    _set(shared)
                elif row["record"]:
                    record = ShardRecord.from_json(json.loads(row["record"]))
                    rows_done(record.rows + len(record.skipped))
                    shard_done(record)
    except ray.exceptions.RayTaskError:
        raise  # a bug: keep the traceback
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise OSError(f"Ray: {reason}. Finished shards are kept; rerun the same command to resume") from error
    if failures:
        raise failures[0].error()


def _convert_all(
    shards: Sequence[Shard], options: EngineOptions, arguments: tuple[Any, ...]
) -> Iterator[dict[str, Any]]:
    items = ray.data.from_items(
        [{"shard": json.dumps(asdict(shard))} for shard in shards], override_num_blocks=len(shards)
    )
    on_gpu = options.device.type == "cuda"
    mapper: Any = ShardMapper  # Ray creates one instance per actor
    results = items.map(
        mapper,
        fn_constructor_args=arguments,
        num_cpus=0 if on_gpu else 1,
        num_gpus=1 if on_gpu else 0,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(shards)),
    )
    yield from results.iter_rows()


@contextlib.contextmanager
def _shared(stopping: Event) -> Iterator[Any]:
    """Return an actor with an event that all nodes can query. It is set when ``stopping`` is set."""
    shared = ray.remote(Event).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    ended = Event()

    def watch() -> None:
        while not ended.wait(_STOP_CHECK_S):
            if stopping.is_set():
                return _set(shared)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield shared
    finally:
        ended.set()
        watcher.join()


def _set(shared: Any) -> None:
    ray.get(shared.set.remote())


def _start_quietly() -> None:
    """Start Ray or connect to it. Its messages go to its log files only; errors are raised."""
    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
