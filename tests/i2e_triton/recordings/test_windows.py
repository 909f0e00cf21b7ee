from __future__ import annotations

import numpy as np
import pytest
import torch

from i2e_triton import unpack
from i2e_triton.formats import EVENT_DTYPE, from_event_list
from i2e_triton.recordings import WindowRule, windows
from i2e_triton.recordings.windows import measure
from tests.i2e_triton.recordings.files import HEIGHT, WIDTH, random_events

SIZE = HEIGHT, WIDTH


@pytest.mark.parametrize("packets", [1, 7, 500])
@pytest.mark.parametrize("timesteps", [1, 5, 8])
def test_windows_of_equal_duration(packets: int, timesteps: int) -> None:
    events = random_events(600, 20_000)
    rule = WindowRule(window_us=4_000, timesteps=timesteps)
    found = list(windows(np.array_split(events, packets), SIZE, rule))
    assert [window.time_us for window in found] == [500 + 4_000 * n for n in range(5)]
    for window in found:
        members = events[(events["t"] >= window.time_us) & (events["t"] < window.time_us + 4_000)].copy()
        members["t"] -= window.time_us
        expected = from_event_list(members, timesteps, SIZE, 4_000 // timesteps)
        assert torch.equal(unpack(window.packed, timesteps, torch.bool), expected)
    assert measure(np.array_split(events, packets), rule) == (5, 500, int(events["t"][-1]))


@pytest.mark.parametrize("packets", [1, 7])
def test_windows_of_equal_count(packets: int) -> None:
    events = random_events(250, 20_000)
    found = list(windows(np.array_split(events, packets), SIZE, WindowRule(count=80, timesteps=4)))
    assert [window.time_us for window in found] == events["t"][::80].tolist()
    for start, window in zip(range(0, 250, 80), found):
        members = events[start : start + 80].copy()
        members["t"] = np.arange(len(members))
        expected = from_event_list(members, 4, SIZE, 20)
        assert torch.equal(unpack(window.packed, 4, torch.bool), expected)
    assert len(found) == 4


def test_a_window_that_does_not_divide_into_timesteps_keeps_all_events() -> None:
    events = np.zeros(10, EVENT_DTYPE)
    events["t"] = events["x"] = np.arange(10)
    (window,) = windows([events], SIZE, WindowRule(window_us=10, timesteps=4))
    steps = unpack(window.packed, 4, torch.bool)[:, 1, 0].nonzero()  # channel 1 is OFF
    assert steps.tolist() == [[0, 0], [0, 1], [0, 2], [1, 3], [1, 4], [2, 5], [2, 6], [2, 7], [3, 8], [3, 9]]


def test_windows_without_events_are_left_out() -> None:
    events = random_events(3, 1)
    events["t"] = [100, 150, 10**15]
    found = list(windows([events], SIZE, WindowRule(window_us=100)))
    assert [window.time_us for window in found] == [100, 10**15]
    assert measure([events], WindowRule(window_us=100))[0] == 2


def test_an_event_that_is_too_early_gets_the_time_of_the_one_before() -> None:
    events = random_events(4, 1)
    events["t"] = [100, 250, 120, 260]
    found = list(windows([events[:2], events[2:]], SIZE, WindowRule(window_us=100)))
    assert [window.time_us for window in found] == [100, 200]
    assert [int(unpack(window.packed, 8).sum()) for window in found] == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass either window_us or count"),
        ({"window_us": 1, "count": 1}, "pass either window_us or count"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 1, "timesteps": 9}, "timesteps must be 1 to 8, got 9"),
    ],
)
def test_wrong_rules_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowRule(**options)
