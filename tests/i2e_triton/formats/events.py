"""Random events and events of photographs for the tests of formats, and an independent official record."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

import i2e_triton
from tests.samples import PHOTOGRAPHS, photograph


@st.composite
def dense_events(draw: st.DrawFn, timesteps: int = 8, side: int = 19) -> Tensor:
    """Draw dense events ``[T, 2, H, W]``, bool: none, all, a few, half, or a crop of the events of a photograph."""
    length = st.integers(1, side)
    shape = (draw(st.integers(1, timesteps)), 2, draw(length), draw(length))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1), label="seed"))
    content = draw(st.sampled_from(["none", "all", "a few", "half", "photograph"]))
    if content == "photograph" and shape[0] <= 8:
        events = photograph_events(draw(st.sampled_from(PHOTOGRAPHS)))
        y, x = (int(torch.randint(0, n - m, (), generator=generator)) for n, m in zip(events.shape[2:], shape[2:]))
        return events[: shape[0], :, y : y + shape[2], x : x + shape[3]].contiguous()
    density = {"none": 0.0, "all": 1.0, "a few": 0.05}.get(content, 0.5)
    return torch.rand(shape, generator=generator) < density


@cache
def photograph_events(name: str, size: tuple[int, int] | None = None) -> Tensor:
    """Return the events of a photograph or of its centre crop, bool ``[8, 2, H, W]``, with default arguments."""
    image = photograph(name)
    if size is not None:
        top, left = (image.shape[1] - size[0]) // 2, (image.shape[2] - size[1]) // 2
        image = image[:, top : top + size[0], left : left + size[1]]
    return i2e_triton.convert(image, dtype=torch.bool)


def official_record(events: Tensor) -> np.ndarray:
    """Return the array of an official record: the shape, then the bits of the events."""
    shape = np.array(events.shape, dtype="<u2").view(np.uint8)
    return np.concatenate([shape, np.packbits(events.numpy().astype(bool).reshape(-1))])


def official_events(record: np.ndarray) -> Tensor:
    """Return the dense events of an official record, decoded as the official data sets document it."""
    shape = tuple(map(int, record[:8].view(np.uint16)))
    count = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(record[8:])[:count].reshape(shape).astype(bool))
