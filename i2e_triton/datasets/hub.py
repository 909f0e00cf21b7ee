"""Records read by the Hugging Face library ``datasets``."""

from __future__ import annotations

from typing import Any

import torch

from i2e_triton.datasets.decoding import Decoding
from i2e_triton.datasets.records import Row
from i2e_triton.formats import RecordError


def decode_batch(
    batch: dict[str, list[Any]], *, packed: bool = False, dtype: torch.dtype = torch.float32, timesteps: int = 8
) -> dict[str, list[Any]]:
    """Replace the records of a batch by events, for ``datasets``' ``with_transform``::

        rows = datasets.load_dataset("parquet", data_files="train-*.parquet", split="train")
        rows = rows.with_transform(i2e_triton.datasets.decode_batch)  # rows[0]["events"]: [T, 2, H, W]

    Args:
        batch: columns; ``data`` holds records. Without it the batch is returned as it is.
        packed: packed events ``[2, H, W]``, uint8, instead of dense ones; of official records too.
        dtype: of dense events: float32, float16, bfloat16, uint8 or bool.
        timesteps: of each record, where records or result are packed, 1 to 8; ``datasets`` does not keep what the file
            says. For other arguments than the default ones pass ``functools.partial(decode_batch, ...)``.

    Returns:
        The batch with a column ``events`` in the place of ``data``.

    Raises:
        RecordError: if a record is unfit; names its number in the batch.
    """
    if "data" not in batch:
        return batch
    decoding = Decoding(packed, dtype, None, None)
    events = []
    for number, record in enumerate(batch["data"]):
        where = f"row {number} of the batch"
        if record is None:
            raise RecordError(f"{where}: data is null")
        events.append(decoding(Row(record, -1, timesteps, where), timesteps)[0])
    return {**{name: values for name, values in batch.items() if name != "data"}, "events": events}
