"""Events of photographs, also with empty timesteps, and an event data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2e_triton.datasets import EventDataset
from tests.i2e_triton.datasets.builders import photograph_events, write_official

#: Timesteps that are emptied.
EMPTY: dict[str, list[int]] = {
    "no timestep is empty": [],
    "the first is empty": [0],
    "the last is empty": [7],
    "several are empty": [0, 1, 4, 6, 7],
}
every_gap = pytest.mark.parametrize("gap", EMPTY)


def events_with_gaps(gap: str, name: int = 0) -> Tensor:
    """Return the events of a photograph, bool ``[8, 2, 32, 48]``, without those of some timesteps."""
    events = torch.cat([photograph_events()[name], photograph_events()[1 - name, ..., :16]], -1)
    events[EMPTY[gap]] = False
    return events


def event_dataset(folder: Path) -> tuple[EventDataset, Tensor]:
    """Return a data set of four classes and its events, bool ``[4, 8, 2, 32, 48]``. Some timesteps are empty."""
    events = torch.stack([events_with_gaps(gap) for gap in EMPTY])
    path = write_official(folder / "events.parquet", events, names=["cat", "dog", "owl", "ant"])
    return EventDataset(path), events
