"""The emulator of an event camera, compared with a float32 computation of one pixel at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.baselines import emulator
from tests.samples import noise, resized_photograph


def pixel_counts(responses: list[np.float32], on_threshold: float, off_threshold: float) -> list[tuple[int, int]]:
    """Return the numbers of ON and OFF events of one pixel between consecutive frames, from its responses."""
    on_step, off_step = np.float32(on_threshold), np.float32(off_threshold)
    reference = responses[0]
    counts = []
    for response in responses[1:]:
        change = np.float32(response - reference)
        on = max(int(np.floor(change / on_step)), 0)
        off = max(int(np.floor(-change / off_step)), 0)
        counts.append((on, off))
        reference = np.float32(reference + np.float32(on) * on_step - np.float32(off) * off_step)
    return counts


def count_events(events: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the numbers of ON and OFF events of each pixel between consecutive frames: int64 ``[T - 1, 2, H, W]``."""
    frames, height, width = shape
    counts = torch.zeros(frames - 1, 2, height, width, dtype=torch.int64)
    time, x, y, polarity = events.unbind(1)
    interval = (time.ceil() - 1).long()  # an event at the time of a frame belongs to the interval before it
    one = torch.ones_like(interval)
    counts.index_put_((interval, (polarity < 0).long(), y.long(), x.long()), one, accumulate=True)
    return counts


def expected_counts(frames: Tensor, on_threshold: float, off_threshold: float) -> Tensor:
    responses = emulator.log_response(frames).numpy()
    counts = torch.zeros(len(frames) - 1, 2, *frames.shape[1:], dtype=torch.int64)
    for y in range(frames.shape[1]):
        for x in range(frames.shape[2]):
            pairs = pixel_counts(list(responses[:, y, x]), on_threshold, off_threshold)
            counts[:, :, y, x] = torch.tensor(pairs)
    return counts


@pytest.mark.parametrize(("on_threshold", "off_threshold"), [(0.2, 0.2), (0.31, 0.17), (2.5, 0.05)])
def test_events_equal_a_computation_per_pixel(
    on_threshold: float, off_threshold: float, generator: torch.Generator
) -> None:
    frames = noise((6, 15, 18), torch.uint8, generator).float()
    events = emulator.emulate(frames, on_threshold, off_threshold)
    expected = expected_counts(frames, on_threshold, off_threshold)
    assert int(expected.max()) > 1, "some pixels should have several events between two frames"
    assert torch.equal(count_events(events, frames.shape), expected)


def test_events_of_a_photograph_equal_a_computation_per_pixel() -> None:
    image = resized_photograph("coffee", 40)
    frames = emulator.shifted_frames(image)
    expected = expected_counts(frames, emulator.ON_THRESHOLD, emulator.OFF_THRESHOLD)
    assert bool((expected.sum(dim=(2, 3)) > 0).all())
    assert torch.equal(count_events(emulator.convert(image), frames.shape), expected)


def test_events_of_one_pixel_equal_a_calculation_by_hand() -> None:
    # Log responses 3.0, 3.5, 3.39, 2.95: first 2 ON events (the reference becomes 3.4), then none, then 2 OFF events
    # (the reference becomes 3.0).
    frames = torch.tensor([3.0, 3.5, 3.39, 2.95]).exp()[:, None, None]
    events = emulator.emulate(frames)
    assert events.tolist() == [[0.5, 0, 0, 1], [1, 0, 0, 1], [2.5, 0, 0, -1], [3, 0, 0, -1]]


def test_events_are_sorted_by_time_and_lie_between_frames(generator: torch.Generator) -> None:
    frames = noise((3, 8, 8), torch.uint8, generator).float()
    time = emulator.emulate(frames)[:, 0]
    assert bool((time.diff() >= 0).all())
    assert 0 < float(time[0]) < 1
    assert float(time[-1]) == 2


def test_response_is_linear_near_zero_and_logarithmic_above() -> None:
    levels = torch.linspace(0, 255, 511)
    expected = [v * math.log(20) / 20 if v < 20 else math.log(v) for v in levels.tolist()]
    assert torch.allclose(emulator.log_response(levels), torch.tensor(expected), rtol=0, atol=1e-6)


def test_frames_are_the_luma_along_the_path_with_replicated_borders() -> None:
    image = torch.zeros(3, 5, 6, dtype=torch.uint8)
    image[:, 2, 3] = torch.tensor([100, 255, 200])
    image[:, 0, 0] = 100
    frames = emulator.shifted_frames(image)
    path = [(0, 1), (2, 0), (1, 2), (0, 1), (1, 0), (2, 2), (0, 1), (1, 1), (1, 2)]  # (y, x)
    assert frames.shape == (9, 5, 6)
    for frame, (y, x) in zip(frames, path):
        assert frame[2 + y, 3 + x] == pytest.approx(0.299 * 100 + 0.587 * 255 + 0.114 * 200)
        assert torch.allclose(frame[: y + 1, : x + 1], torch.tensor(100.0))
        assert int((frame > 150).sum()) == 1


def test_constant_frames_have_no_events() -> None:
    assert emulator.emulate(torch.full((9, 4, 4), 77.0)).shape == (0, 4)
    assert emulator.emulate(torch.full((1, 4, 4), 77.0)).shape == (0, 4)
