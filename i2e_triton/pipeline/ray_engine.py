"""Convert shards on a Ray cluster, with one task per CPU core.

The paths of source and output must exist on every node. Needs ``pip install 'i2e-triton[ray]'``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from threading import Event
from typing import Any

import ray
import torch

from i2e_triton.pipeline.local_engine import ConvertShard, run_shards
from i2e_triton.pipeline.manifest import ShardRecord
from i2e_triton.pipeline.plan import Shard


def convert_shards_with_ray(
    shards: Sequence[Shard],
    convert: ConvertShard,
    *,
    stopping: Event,
    rows_done: Callable[[int], None],
    shard_done: Callable[[ShardRecord], None],
) -> None:
    """Convert shards on the cluster that Ray is connected to or finds, otherwise on this machine.

    Rows are reported when their shard is finished. When ``stopping`` is set or a shard fails, the open shards are
    finished and no others are started. Ray converts the shard of a killed worker again, on another one.

    Raises:
        MemoryError: if memory is short.
        OSError: if a shard cannot be written, a source cannot be read, or Ray fails.
        ValueError: if a source is damaged.
    """
    if not shards:
        return
    _start_quietly()
    shared = ray.put(convert)
    task: Any = ray.remote(_convert)

    def submit(_index: int, shard: Shard) -> Future[ShardRecord]:
        return task.remote([shared], shard).future()  # in a list, so that Ray passes the reference and not the object

    def record_done(record: ShardRecord) -> None:
        rows_done(record.rows + len(record.skipped))
        shard_done(record)

    try:
        run_shards(shards, submit, _cpus, stopping, lambda: None, record_done)
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        if not isinstance(cause, ray.exceptions.RayError):
            raise cause from error
        reason = str(cause).strip().splitlines()[-1].strip()
        raise OSError(f"Ray: {reason}. Finished shards are kept; rerun the same command to resume") from error


def _cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _convert(shared: list[Any], shard: Shard) -> ShardRecord:
    torch.set_num_threads(1)
    return _load(shared[0])(shard, lambda _rows: None)


@lru_cache(maxsize=1)
def _load(shared: Any) -> ConvertShard:
    """Return the object of a reference. The process keeps it, with its open sources, for the next shard."""
    convert: ConvertShard = ray.get(shared)
    return convert


def _start_quietly() -> None:
    """Start Ray or connect to it. Its messages go to its log files only; errors are raised."""
    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
