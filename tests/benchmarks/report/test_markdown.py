"""Numbers as a report writes them."""

from __future__ import annotations

import pytest

from benchmarks.report.markdown import duration, significant, size, table


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.28512, "0.285"),
        (1, "1.00"),
        (3.14159, "3.14"),
        (12.345, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (0, "0.00"),
        (0.67, "0.670"),
    ],
)
def test_significant(number: float, expected: str) -> None:
    assert significant(number) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2.5, "2.50 s"), (0.0125, "12.5 ms"), (142e-6, "142 µs"), (0.32e-6, "0.320 µs"), (999.9e-6, "1,000 µs")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(999, "999 B"), (802816, "803 kB"), (3.2e6, "3.20 MB"), (5e9, "5.00 GB")]
)
def test_size(count: float, expected: str) -> None:
    assert size(count) == expected


def test_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
