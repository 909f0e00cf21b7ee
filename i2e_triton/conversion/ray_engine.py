"""A conversion on a Ray cluster: the same shards by the same function, one mapper a GPU or a core.

Source and output must be paths that every node sees. Needs ``pip install 'i2e-triton[ray]'``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from threading import Event
from typing import Any

import ray
import ray.data
import torch

from i2e_triton.conversion.batches import ImageBatches, convert_batch
from i2e_triton.conversion.local import Machine
from i2e_triton.conversion.manifest import ShardRecord
from i2e_triton.conversion.plan import Settings, Shard
from i2e_triton.sources import Source


class ShardMapper:
    """Converts shards in a Ray actor; holds the opened sources from one to the next."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        settings: Settings,
        machine: Machine,
        complete: Callable[..., ShardRecord],
    ) -> None:
        torch.set_num_threads(1)
        self._batches = ImageBatches(sources, settings)
        self._settings = settings
        self._machine = machine
        self._complete = complete

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Convert the shard of a row and return its record."""
        shard = Shard(**json.loads(row["shard"]))
        pieces = shard.pieces(self._machine.batch_rows)
        batches = (convert_batch(self._batches[piece], self._settings, self._machine.device) for piece in pieces)
        return {"record": json.dumps(asdict(self._complete(shard, batches)))}


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
    """Convert shards on the cluster that Ray is connected to, or a local one.

    Rows are reported shard by shard. When ``stopping`` is set, finished shards are kept and the others are left.

    Raises:
        ray.exceptions.RayError: if a mapper fails.
    """
    if not shards:
        return
    work = ray.data.from_items(
        [{"shard": json.dumps(asdict(shard))} for shard in shards], override_num_blocks=len(shards)
    )
    on_gpu = machine.device.type == "cuda"
    mapper: Any = ShardMapper  # Ray makes one of them for each actor
    records = work.map(
        mapper,
        fn_constructor_args=(sources, settings, machine, complete),
        num_cpus=0 if on_gpu else 1,
        num_gpus=1 if on_gpu else 0,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(shards)),
    )
    for row in records.iter_rows():
        record = ShardRecord.from_json(json.loads(row["record"]))
        rows_done(record.rows + len(record.skipped))
        shard_done(record)
        if stopping.is_set():
            return
