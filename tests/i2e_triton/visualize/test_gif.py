from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import convert
from i2e_triton.visualize.gif import check_gif_size, write_gif
from tests.samples import PHOTOGRAPHS, assert_same_events, photograph

RED, BLUE, WHITE = (0xD7, 0x19, 0x1C), (0x21, 0x66, 0xAC), (255, 255, 255)


def gif_of(events: Tensor) -> bytes:
    buffer = io.BytesIO()
    write_gif(buffer, events)
    return buffer.getvalue()


def frames_of(gif: bytes) -> list[np.ndarray]:
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        frames = []
        for t in range(opened.n_frames):
            opened.seek(t)
            frames.append(np.array(opened.convert("RGB")))
        return frames


def durations_of(gif: bytes) -> list[int]:
    """Return the milliseconds of each frame."""
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        durations = []
        for t in range(opened.n_frames):
            opened.seek(t)
            durations.append(opened.info["duration"])
        return durations


def events_of(frames: list[np.ndarray]) -> Tensor:
    """Return the events that the colors represent; check that there are no other colors."""
    red, blue, white = ((np.stack(frames) == color).all(-1) for color in (RED, BLUE, WHITE))
    assert (red | blue | white).all()
    return torch.from_numpy(np.stack([red, blue], axis=1))


@st.composite
def exclusive_events(draw: st.DrawFn) -> Tensor:
    """Draw events ``[T, 2, H, W]``. No pixel is both ON and OFF; often all timesteps are equal."""
    seed = draw(st.integers(0, 2**32))
    timesteps, height, width = draw(st.tuples(st.integers(1, 8), st.integers(1, 80), st.integers(1, 80)))
    kinds = draw(st.sampled_from([1, 2, 3]))
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(kinds, (timesteps, height, width), generator=generator)
    if draw(st.booleans()):
        kind[1:] = kind[0].clone()
    return torch.stack([kind == 1, kind == 2], dim=1)


@settings(deadline=None)
@given(events=exclusive_events())
def test_frames_contain_the_events_of_the_timesteps(events: Tensor) -> None:
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_frames_of_a_photograph_contain_its_events(name: str) -> None:
    events = convert(photograph(name), dtype=torch.bool)
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("timesteps", [1, 8])
def test_gif_repeats_forever_with_120_ms_per_frame(timesteps: int) -> None:
    flat = torch.zeros(timesteps, 2, 20, 30, dtype=torch.bool)
    gif = gif_of(flat)
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        assert opened.size == (30, 20)
        assert opened.n_frames == timesteps
        assert opened.info["loop"] == 0
    assert durations_of(gif) == [120] * timesteps


@pytest.mark.parametrize("kind", ["none", "on", "off"])
def test_eight_equal_timesteps_are_eight_frames(kind: str) -> None:
    events = torch.zeros(8, 2, 5, 7, dtype=torch.bool)
    if kind != "none":
        events[:, 0 if kind == "on" else 1] = True
    gif = gif_of(events)
    assert_same_events(events_of(frames_of(gif)), events)
    assert durations_of(gif) == [120] * 8


@pytest.mark.parametrize("shape", [(1, 65536), (65536, 1)])
def test_largest_gif_is_written_and_larger_ones_are_rejected(shape: tuple[int, int]) -> None:
    height, width = shape
    check_gif_size(min(height, 65535), min(width, 65535))
    with pytest.raises(ValueError, match=f"at most 65535 x 65535 pixels, got {height} x {width}"):
        check_gif_size(height, width)
    buffer = io.BytesIO()
    with pytest.raises(ValueError, match="at most 65535"):
        write_gif(buffer, torch.zeros(2, 2, height, width, dtype=torch.bool))
    assert buffer.getvalue() == b""
    widest = torch.zeros(2, 2, min(height, 65535), min(width, 65535), dtype=torch.bool)
    widest[1, 0, -1, -1] = True
    assert_same_events(events_of(frames_of(gif_of(widest))), widest)
