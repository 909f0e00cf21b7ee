"""Decode the records of a data set that is opened with the Hugging Face library ``datasets``."""

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
        batch: columns by name. The column ``data`` contains records. Without it, the batch is returned unchanged.
        packed: return packed events ``[2, H, W]``, uint8, instead of dense ones. Default: False.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        timesteps: number of timesteps of the records, 1 to 8. Used for packed records and for ``packed=True``, because
            ``datasets`` drops the file metadata that stores the number. Default: 8.

    Returns:
        The batch with a column ``events`` instead of ``data``.

    Raises:
        RecordError: if a record is null or damaged, or if ``packed`` is True and a record does not have ``timesteps``
            timesteps. The message names the row of the batch.
    """
    if "data" not in batch:
        return batch
    decoder = RowDecoder(packed, dtype)
    events = []
    for number, record in enumerate(batch["data"]):
        where = f"row {number} of the batch"
        if record is None:
            raise RecordError(f"{where}: data is null")
        events.append(decoder([EventRow(record, -1, timesteps, where)], timesteps)[0][0])
    return {**{name: values for name, values in batch.items() if name != "data"}, "events": events}
