from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import convert
from i2e_triton.visualize.gif import FRAME_MS, check_gif_size, write_gif
from tests.samples import PHOTOGRAPHS, assert_same_events, photograph

RED, BLUE, WHITE = (0xD7, 0x19, 0x1C), (0x21, 0x66, 0xAC), (255, 255, 255)


def gif_of(events: Tensor) -> bytes:
    buffer = io.BytesIO()
    write_gif(buffer, events)
    return buffer.getvalue()


def frames_of(gif: bytes) -> list[np.ndarray]:
    with PIL.Image.open(io.BytesIO(gif)) as film:
        frames = []
        for t in range(film.n_frames):
            film.seek(t)
            frames.append(np.array(film.convert("RGB")))
        return frames


def events_of(frames: list[np.ndarray]) -> Tensor:
    """Read the events back, and see that there is nothing but them."""
    red, blue, white = ((np.stack(frames) == color).all(-1) for color in (RED, BLUE, WHITE))
    assert (red | blue | white).all()
    return torch.from_numpy(np.stack([red, blue], axis=1))


@st.composite
def exclusive_events(draw: st.DrawFn) -> Tensor:
    """Events ``[T, 2, H, W]``, nowhere ON and OFF at once, of timesteps that are often alike."""
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
def test_frames_are_the_timesteps(events: Tensor) -> None:
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_frames_of_a_photograph(name: str) -> None:
    events = convert(photograph(name), dtype=torch.bool)
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("timesteps", [1, 8])
def test_it_plays_for_ever_at_a_steady_pace(timesteps: int) -> None:
    flat = torch.zeros(timesteps, 2, 20, 30, dtype=torch.bool)
    gif = gif_of(flat)
    with PIL.Image.open(io.BytesIO(gif)) as film:
        assert film.size == (30, 20)
        assert film.n_frames == timesteps
        assert film.info["loop"] == 0
        durations = []
        for t in range(timesteps):
            film.seek(t)
            durations.append(film.info["duration"])
    assert durations == [FRAME_MS] * timesteps
    assert 100 <= FRAME_MS <= 150


def test_the_file_is_a_gif_to_the_letter(generator: torch.Generator) -> None:
    events = torch.rand(8, 1, 37, 53, generator=generator) < 0.3
    gif = gif_of(torch.cat([events, ~events], dim=1))
    assert gif[:6] == b"GIF89a"
    width, height, packed = struct.unpack("<HHB", gif[6:11])
    assert (width, height) == (53, 37)
    assert packed & 0x80  # a colour table for all frames
    place, kinds = 13 + 3 * 2 ** ((packed & 7) + 1), []
    while gif[place] != 0x3B:
        kinds.append(gif[place : place + 2] if gif[place] == 0x21 else gif[place : place + 1])
        if gif[place] == 0x2C:
            left, top, width, height, packed = struct.unpack("<HHHHB", gif[place + 1 : place + 10])
            assert (left, top, width, height, packed) == (0, 0, 53, 37, 0)  # whole frames, no table of their own
            place += 11
        else:
            assert gif[place] == 0x21
            place += 2
        while gif[place]:
            place += 1 + gif[place]
        place += 1
    assert place == len(gif) - 1
    assert kinds == [b"\x21\xff", *[b"\x21\xf9", b"\x2c"] * 8]


@pytest.mark.parametrize("shape", [(1, 65536), (65536, 1)])
def test_the_largest_gif(shape: tuple[int, int]) -> None:
    height, width = shape
    check_gif_size(min(height, 65535), min(width, 65535))
    with pytest.raises(ValueError, match=f"at most 65535 pixels a side, this is {height} x {width}"):
        check_gif_size(height, width)
    buffer = io.BytesIO()
    with pytest.raises(ValueError, match="at most 65535"):
        write_gif(buffer, torch.zeros(2, 2, height, width, dtype=torch.bool))
    assert buffer.getvalue() == b""
    widest = torch.zeros(2, 2, min(height, 65535), min(width, 65535), dtype=torch.bool)
    widest[1, 0, -1, -1] = True
    assert_same_events(events_of(frames_of(gif_of(widest))), widest)
