from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton.formats import EVENT_DTYPE, RecordError, from_event_list, to_event_list
from tests.i2e_triton.formats.events import dense_events
from tests.samples import assert_same_events

DURATIONS = st.sampled_from([1, 7, 1000, 12_345, 10**9])


def size_of(events: Tensor) -> tuple[int, int]:
    return int(events.shape[2]), int(events.shape[3])


def rows(*events: tuple[int, int, int, int], dtype: Any = EVENT_DTYPE) -> np.ndarray:
    """Return an event list of tuples (x, y, t, p)."""
    return np.array(list(events), dtype=dtype)


def test_five_events_written_by_hand() -> None:
    events = torch.zeros(3, 2, 4, 5)
    for position in [(2, 1, 3, 4), (0, 0, 1, 2), (0, 1, 1, 2), (0, 0, 0, 4), (2, 0, 3, 0)]:  # t, channel, y, x
        events[position] = 1
    expected = rows((4, 0, 0, 1), (2, 1, 0, 0), (2, 1, 0, 1), (0, 3, 20, 1), (4, 3, 20, 0))
    listed = to_event_list(events, 10)
    assert listed.dtype == EVENT_DTYPE
    assert np.array_equal(listed, expected)
    assert np.array_equal(to_event_list(events)["t"], expected["t"] * 100)


@given(events=dense_events(timesteps=12), timestep_us=DURATIONS)
def test_round_trip_of_dense_events(events: Tensor, timestep_us: int) -> None:
    listed = to_event_list(events, timestep_us)
    assert len(listed) == int(events.sum())
    assert np.array_equal(listed, np.sort(listed, order=["t", "y", "x", "p"]))
    assert_same_events(from_event_list(listed, len(events), size_of(events), timestep_us), events)


@given(events=dense_events(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["u2", "i4", ">i8", "u8"]))
def test_unsorted_list_with_repeated_events_is_accepted(events: Tensor, seed: int, dtype: str) -> None:
    listed = to_event_list(events, 100)
    generator = np.random.default_rng(seed)
    repeated = np.concatenate([listed, listed[: len(listed) // 2]]).astype([(name, dtype) for name in "xytp"])
    repeated["t"] += generator.integers(0, 100, len(repeated)).astype(dtype)
    other = np.empty(len(repeated), [(name, dtype) for name in "ptyx"])
    for name in "xytp":
        other[name] = repeated[name]
    generator.shuffle(other)
    assert_same_events(from_event_list(other, len(events), size_of(events), 100), events)


def test_largest_image_of_an_event_list() -> None:
    events = torch.zeros(1, 2, 1, 32768, dtype=torch.bool)
    events[0, 1, 0, -1] = True
    listed = to_event_list(events)
    assert listed["x"].tolist() == [32767]
    assert_same_events(from_event_list(listed, 1, (1, 32768)), events)
    for shape in ((1, 2, 1, 32769), (1, 2, 32769, 1)):
        with pytest.raises(ValueError, match=r"at most 32768 x 32768 pixels, got .*32769"):
            to_event_list(torch.zeros(shape))


WRONG_LISTS = {
    "left of the image": (rows((0, 0, 0, 0), (-1, 0, 0, 0)), "event 1: x must be 0 to 32767, got -1"),
    "above the image": (rows((0, -5, 0, 0)), "event 0: y must be 0 to 32767, got -5"),
    "before the start": (rows((0, 0, -1, 0)), "event 0: t must be 0 to .*, got -1"),
    "right of the image": (rows((5, 0, 0, 0)), "event 0: x must be less than 5, got 5"),
    "below the image": (rows((4, 3, 0, 1), (0, 4, 0, 0)), "event 1: y must be less than 4, got 4"),
    "after the end": (rows((0, 0, 79, 0), (0, 0, 80, 0)), "event 1: timestep must be less than 8, got 8"),
    "polarity 2": (rows((0, 0, 0, 2), dtype="i8,i8,i8,i8"), "must have integer fields x, y, t, p"),
    "polarity -1": (
        rows((0, 0, 0, -1), dtype=[(name, "i8") for name in "xytp"]),
        "event 0: p must be 0 to 1, got -1",
    ),
    "x of 41 bits": (
        rows((2**40, 0, 0, 0), dtype=[(name, "i8") for name in "xytp"]),
        "event 0: x must be 0 to 32767, got 1099511627776",
    ),
    "t of 64 bits": (
        rows((0, 0, 2**63, 0), dtype=[(name, "u8") for name in "xytp"]),
        "event 0: t must be 0 to 9223372036854775807, got 9223372036854775808",
    ),
    "floats": (rows((0, 0, 0, 0), dtype=[(name, "f8") for name in "xytp"]), "must have integer fields"),
    "no fields": (np.zeros((3, 4), np.int64), "must have integer fields x, y, t, p, got int64"),
    "an extra field": (np.zeros(3, [(name, "i8") for name in "xytpq"]), "must have integer fields"),
    "two dimensions": (np.zeros((2, 3), EVENT_DTYPE), r"must have shape \[N\], got \[2, 3\]"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
def test_invalid_lists_raise(case: str) -> None:
    listed, message = WRONG_LISTS[case]
    with pytest.raises(RecordError, match=message):
        from_event_list(listed, 8, (4, 5), 10)


def test_bool_other_than_0_and_1_raises() -> None:
    listed = rows((0, 0, 0, 0), (1, 1, 0, 1))
    listed["p"].view(np.uint8)[1] = 2
    with pytest.raises(RecordError, match="event 1: p must be 0 to 1, got 2"):
        from_event_list(listed, 8, (4, 5))


NO_EVENTS = rows()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([(0, 0, 0, 0)], 8, (4, 5)), TypeError, "must be a NumPy array, got list"),
        ((NO_EVENTS, 0, (4, 5)), ValueError, "timesteps must be at least 1, got 0"),
        ((NO_EVENTS, 8.0, (4, 5)), TypeError, "timesteps must be an int, got float 8.0"),
        ((NO_EVENTS, 8, 5), TypeError, r"size must be \(height, width\), got 5"),
        ((NO_EVENTS, 8, (4, 5, 2)), TypeError, r"size must be \(height, width\), got \(4, 5, 2\)"),
        ((NO_EVENTS, 8, (2**14, 2**14)), ValueError, r"\[8, 2, 16384, 16384\] take more than 2,147,483,648 bytes"),
        ((NO_EVENTS, 8, (0, 5)), ValueError, "the height must be at least 1, got 0"),
        ((NO_EVENTS, 8, (4, -5)), ValueError, "the width must be at least 1, got -5"),
        ((NO_EVENTS, 8, (4, 5), 0), ValueError, "timestep_us must be at least 1, got 0"),
        ((NO_EVENTS, 8, (4, 5), True), TypeError, "timestep_us must be an int, got bool True"),
        ((NO_EVENTS, 8, (4, 5), 2**60), ValueError, "8 timesteps of 1152921504606846976 microseconds do not fit"),
    ],
)
def test_invalid_arguments_of_from_event_list_raise(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_event_list(*arguments)


def test_invalid_arguments_of_to_event_list_raise() -> None:
    events = torch.zeros(8, 2, 4, 5)
    for wrong in (0, -1, 2**60):
        with pytest.raises(ValueError, match=str(wrong)):
            to_event_list(events, wrong)
    with pytest.raises(TypeError, match="timestep_us must be an int, got float"):
        to_event_list(events, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="events must be 0 or 1"):
        to_event_list(events + 2)
    assert to_event_list(events.fill_(1), 2**60 - 1)["t"].max() == 7 * (2**60 - 1)
