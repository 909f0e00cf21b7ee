"""Decode rows of an event data set to tensors."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2e_triton.checks import PACKED_TIMESTEPS, check_format
from i2e_triton.datasets.records import EventRow
from i2e_triton.formats import RecordError, decode_packed, decode_record, load_npz, record_shape
from i2e_triton.formats.record import stack_packed
from i2e_triton.functional import pack
from i2e_triton.layout import check_layout, to_layout

_ZIP = b"PK"  # an npz file is a zip archive


@dataclass(frozen=True)
class SampleFormat:
    """The form in which data sets return events and labels."""

    packed: bool
    dtype: torch.dtype
    layout: str = "TCHW"
    transform: Callable[[Tensor], Any] | None = None
    target_transform: Callable[[int], Any] | None = None

    def __post_init__(self) -> None:
        # The number of timesteps of stored events is not known yet; RowDecoder checks it for each row.
        check_format(self.dtype, self.packed, PACKED_TIMESTEPS)
        check_layout(self.layout)

    def sample(self, events: Any, label: Any) -> tuple[Any, Any]:
        """Return the sample of a row: its events in the layout and its label, after the transforms."""
        if not self.packed and self.layout != "TCHW":
            events = to_layout(events, self.layout)
        if self.transform is not None:
            events = self.transform(events)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return events, label


@dataclass(frozen=True)
class RowDecoder(SampleFormat):
    """Decodes rows to events and labels."""

    def __call__(self, rows: Sequence[EventRow], timesteps: int | None) -> list[tuple[Any, Any]]:
        """Return events and label of each row.

        Args:
            rows: the rows.
            timesteps: number of timesteps that packed events must have, because a packed tensor does not store it.
                Ignored for dense events; may be None.

        Raises:
            RecordError: if the record is missing or damaged, or packed events do not have ``timesteps`` timesteps. The
                message names the file and the row.
        """
        events = self._stacked(rows, timesteps) if self.packed and len(rows) > 1 else None
        return [
            self.sample(self._decode(row, timesteps) if events is None else events[number], row.label)
            for number, row in enumerate(rows)
        ]

    def _stacked(self, rows: Sequence[EventRow], timesteps: int | None) -> tuple[Tensor, ...] | None:
        """Return the packed events of all rows, if they are packed records of equal shape."""
        contents = [row.content for row in rows if not isinstance(row.content, Path)]
        if timesteps is None or len(contents) < len(rows) or any(row.timesteps != timesteps for row in rows):
            return None
        stacked = stack_packed(contents, timesteps)
        return None if stacked is None else stacked.unbind()

    def _decode(self, row: EventRow, timesteps: int | None) -> Tensor:
        try:
            return self._decode_packed(row, timesteps) if self.packed else _dense_events(row).to(self.dtype)
        except RecordError as error:
            raise RecordError(f"{row.where}: {error}") from error

    def _decode_packed(self, row: EventRow, expected: int | None) -> Tensor:
        packed, timesteps = _packed_events(row)
        if timesteps != expected:
            raise RecordError(
                f"the record has {timesteps} timesteps instead of {expected}; packed events must all have the same "
                "number of timesteps; use packed=False"
            )
        return packed


def timesteps_of(row: EventRow) -> int:
    """Return the number of timesteps of a row.

    Raises:
        RecordError: if the record is damaged. The message names the file and the row.
    """
    try:
        content = _read_content(row)
        return len(content) if isinstance(content, Tensor) else record_shape(content, row.timesteps)[0]
    except RecordError as error:
        raise RecordError(f"{row.where}: {error}") from error


def _dense_events(row: EventRow) -> Tensor:
    content = _read_content(row)
    return content if isinstance(content, Tensor) else decode_record(content, row.timesteps)


def _packed_events(row: EventRow) -> tuple[Tensor, int]:
    """Return packed events and their number of timesteps."""
    content = _read_content(row)
    if not isinstance(content, Tensor):
        return decode_packed(content, row.timesteps)
    if len(content) > PACKED_TIMESTEPS:
        raise RecordError(
            f"the record has {len(content)} timesteps, but packed events have at most {PACKED_TIMESTEPS}; "
            "use packed=False"
        )
    return pack(content), len(content)


def _read_content(row: EventRow) -> Tensor | bytes | memoryview:
    """Return the dense events of an npz file, or the bytes of a record."""
    if isinstance(row.content, Path):
        try:
            with row.content.open("rb") as file:
                return load_npz(file)
        except OSError as error:
            raise RecordError(f"cannot be read: {error.strerror or error}") from error
    return load_npz(io.BytesIO(row.content)) if row.content[:2] == _ZIP else row.content
