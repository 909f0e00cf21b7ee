"""Decode records that the Hugging Face library ``datasets`` has read."""

from __future__ import annotations

from typing import Any

import torch

from i2e_triton.datasets.decoding import RowDecoder
from i2e_triton.datasets.records import EventRow
from i2e_triton.formats import RecordError


def decode_batch(
    batch: dict[str, list[Any]], *, packed: bool = False, dtype: torch.dtype = torch.float32, timesteps: int = 8
) -> dict[str, list[Any]]:
    """Return a batch with its records decoded to events, for ``with_transform`` of the library ``datasets``::

        rows = datasets.load_dataset("parquet", data_files="train-*.parquet", split="train")
        rows = rows.with_transform(i2e_triton.datasets.decode_batch)  # rows[0]["events"]: [T, 2, H, W]

    Pass ``functools.partial(decode_batch, ...)`` to change the other arguments.

    Args:
        batch: columns by name. ``data`` holds records; without it, the batch is returned unchanged.
        packed: return packed events ``[2, H, W]``, uint8, instead of dense ones. Default: False.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        timesteps: number of timesteps of each record, 1 to 8, if the records or the results are packed. ``datasets``
            drops the metadata that stores it. Default: 8.

    Returns:
        The batch with a column ``events`` instead of ``data``.

    Raises:
        RecordError: if a record is damaged. The message names its number in the batch.
    """
    if "data" not in batch:
        return batch
    decoder = RowDecoder(packed, dtype)
    events = []
    for number, record in enumerate(batch["data"]):
        where = f"row {number} of the batch"
        if record is None:
            raise RecordError(f"{where}: data is null")
        events.append(decoder(EventRow(record, -1, timesteps, where), timesteps)[0])
    return {**{name: values for name, values in batch.items() if name != "data"}, "events": events}
