"""Rows of a data set as tensors."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_format
from i2e_triton.datasets.records import Row
from i2e_triton.formats import RecordError, decode_packed, decode_record, load_npz, record_shape
from i2e_triton.functional import pack

_ZIP = b"PK"


@dataclass(frozen=True)
class Decoding:
    """How a row becomes events and label."""

    packed: bool
    dtype: torch.dtype
    transform: Callable[[Tensor], Any] | None
    target_transform: Callable[[int], Any] | None

    def __post_init__(self) -> None:
        check_format(self.dtype, self.packed, PACKED_TIMESTEPS)  # each row is checked for its own timesteps

    def __call__(self, row: Row, timesteps: int | None) -> tuple[Any, Any]:
        """Decode a row; packed events must have so many timesteps, since they cannot tell.

        Raises:
            RecordError: if the record is unfit; the message names file and row.
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

    def _packed(self, row: Row, wanted: int | None) -> Tensor:
        packed, timesteps = _packed(row)
        if timesteps != wanted:
            raise RecordError(
                f"has {timesteps} timesteps instead of {wanted}, which packed events do not tell; read it dense"
            )
        return packed


def timesteps_of(row: Row) -> int:
    """Return a row's number of timesteps.

    Raises:
        RecordError: if the record is unfit; the message names file and row.
    """
    try:
        content = _open(row)
        return len(content) if isinstance(content, Tensor) else record_shape(content, row.timesteps)[0]
    except RecordError as error:
        raise RecordError(f"{row.where}: {error}") from error


def _dense(row: Row) -> Tensor:
    content = _open(row)
    return content if isinstance(content, Tensor) else decode_record(content, row.timesteps)


def _packed(row: Row) -> tuple[Tensor, int]:
    content = _open(row)
    if not isinstance(content, Tensor):
        return decode_packed(content, row.timesteps)
    if len(content) > PACKED_TIMESTEPS:
        raise RecordError(f"has {len(content)} timesteps, packed events hold {PACKED_TIMESTEPS}; read them dense")
    return pack(content), len(content)


def _open(row: Row) -> Tensor | bytes | memoryview:
    """Return the dense events of an npz, or else the record that is to be decoded."""
    if isinstance(row.content, Path):
        with row.content.open("rb") as file:
            return load_npz(file)
    return load_npz(io.BytesIO(row.content)) if row.content[:2] == _ZIP else row.content
