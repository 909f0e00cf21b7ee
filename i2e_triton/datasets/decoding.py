"""Decode rows of an event data set to tensors."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_format
from i2e_triton.datasets.records import EventRow
from i2e_triton.formats import RecordError, decode_packed, decode_record, load_npz, record_shape
from i2e_triton.functional import pack

_ZIP = b"PK"  # an npz file is a zip archive


@dataclass(frozen=True)
class RowDecoder:
    """Decodes rows to events and labels."""

    packed: bool
    dtype: torch.dtype
    transform: Callable[[Tensor], Any] | None = None
    target_transform: Callable[[int], Any] | None = None

    def __post_init__(self) -> None:
        check_format(self.dtype, self.packed, PACKED_TIMESTEPS)  # each row is checked for its own timesteps

    def __call__(self, row: EventRow, timesteps: int | None) -> tuple[Any, Any]:
        """Return events and label of a row.

        Args:
            row: the row.
            timesteps: number of timesteps that packed events must have; a packed tensor does not store it. Not used for
                dense events.

        Raises:
            RecordError: if the record is missing, damaged or has other timesteps. The message names file and row.
        """
        try:
            events: Any = self._packed(row, timesteps) if self.packed else _dense(row).to(self.dtype)
        except RecordError as error:
            raise RecordError(f"{row.where}: {error}") from error
        label: Any = row.label
        if self.transform is not None:
            events = self.transform(events)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return events, label

    def _packed(self, row: EventRow, expected: int | None) -> Tensor:
        packed, timesteps = _packed(row)
        if timesteps != expected:
            raise RecordError(
                f"has {timesteps} timesteps instead of {expected}, which packed events do not store; read it dense"
            )
        return packed


def timesteps_of(row: EventRow) -> int:
    """Return the number of timesteps of a row.

    Raises:
        RecordError: if the record is damaged. The message names file and row.
    """
    try:
        content = _open(row)
        return len(content) if isinstance(content, Tensor) else record_shape(content, row.timesteps)[0]
    except RecordError as error:
        raise RecordError(f"{row.where}: {error}") from error


def _dense(row: EventRow) -> Tensor:
    content = _open(row)
    return content if isinstance(content, Tensor) else decode_record(content, row.timesteps)


def _packed(row: EventRow) -> tuple[Tensor, int]:
    content = _open(row)
    if not isinstance(content, Tensor):
        return decode_packed(content, row.timesteps)
    if len(content) > PACKED_TIMESTEPS:
        raise RecordError(f"has {len(content)} timesteps, packed events have at most {PACKED_TIMESTEPS}; read it dense")
    return pack(content), len(content)


def _open(row: EventRow) -> Tensor | bytes | memoryview:
    """Return the dense events of an npz file, or the bytes of a record."""
    if isinstance(row.content, Path):
        try:
            with row.content.open("rb") as file:
                return load_npz(file)
        except OSError as error:
            raise RecordError(f"cannot be read: {error.strerror or error}") from error
    return load_npz(io.BytesIO(row.content)) if row.content[:2] == _ZIP else row.content
