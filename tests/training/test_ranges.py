"""Numbers of settings: what is taken, and what an error says."""

from __future__ import annotations

import argparse

import pytest

from i2e_triton.training.ranges import Range

WHOLE = Range(int, 1)
SHARE = Range(float, 0, most=1)
DECAY = Range(float, 0, below=1)


def test_numbers_within_are_taken() -> None:
    assert [WHOLE.parse("1"), WHOLE.parse("12"), SHARE.parse("1"), SHARE.parse("2e-4"), DECAY.parse("0")] == [
        1,
        12,
        1.0,
        2e-4,
        0.0,
    ]
    assert isinstance(WHOLE.parse("1"), int)
    assert isinstance(SHARE.parse("1"), float)
    SHARE.check("share", 1)


@pytest.mark.parametrize(
    ("allowed", "text", "message"),
    [
        (WHOLE, "0", "must be a whole number, 1 or more, got 0"),
        (WHOLE, "1.5", "must be a whole number, 1 or more, got 1.5"),
        (WHOLE, "many", "must be a whole number, 1 or more, got many"),
        (SHARE, "1.01", "must be a number from 0 to 1, got 1.01"),
        (SHARE, "nan", "must be a number from 0 to 1, got nan"),
        (DECAY, "1", "must be a number of at least 0 and less than 1, got 1"),
        (Range(float, 0), "inf", "must be a number, 0 or more, got inf"),
        (Range(int, 0, most=9), "10", "must be a whole number from 0 to 9, got 10"),
    ],
    ids=str,
)
def test_others_are_refused(allowed: Range, text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{message}$"):
        allowed.parse(text)


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_what_is_no_whole_number_is_refused(value: float) -> None:
    with pytest.raises(TypeError, match="steps must be a whole number, 1 or more, got"):
        WHOLE.check("steps", value)
