"""Tests of the numbers and tables of the report."""

from __future__ import annotations

import pytest

from benchmarks.report.tables import (
    duration,
    image_time,
    percent_of_bandwidth,
    percent_of_time,
    pivot,
    significant,
    size,
    speed_up_text,
    table,
)
from tests.benchmarks.builders import comparison, row


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
def test_significant_returns_at_least_three_digits(number: float, expected: str) -> None:
    assert significant(number) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2.5, "2.50 s"), (0.0125, "12.5 ms"), (142e-6, "142 µs"), (0.32e-6, "0.320 µs"), (999.9e-6, "1,000 µs")],
)
def test_duration_has_a_suitable_unit(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(999, "999 B"), (802816, "803 kB"), (3.2e6, "3.20 MB"), (5e9, "5.00 GB")]
)
def test_size_has_a_suitable_unit(count: float, expected: str) -> None:
    assert size(count) == expected


def test_table_aligns_numbers_to_the_right() -> None:
    assert (
        table(["a", "b"], [["x", "1"], ["y[1]", "10"]]) == "| a    |  b |\n|------|---:|\n| x    |  1 |\n| y[1] | 10 |"
    )


def test_empty_table_is_replaced_by_not_measured() -> None:
    assert table(["a", "b"], []) == "Not measured."


def test_pivot_marks_cells_without_a_row() -> None:
    rows = [row("s", {"a": a, "b": b}, seconds) for a, b, seconds in (("x", 1, 1.0), ("x", 2, 2.0), ("y", 1, 3.0))]
    text = pivot("", rows, lambda r: r["case"]["a"], lambda r: r["case"]["b"], lambda r: duration(r["median_s"]))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[0] == ["", "1", "2"]
    assert cells[2:] == [["x", "1.00 s", "2.00 s"], ["y", "3.00 s", "not measured"]]


def test_image_time_is_per_image_with_its_interquartile_range() -> None:
    assert image_time(comparison("ODG", "uint8", None, 0.05)) == "1.56 ms ± 156 µs"
    assert image_time(comparison("ODG", "uint8", None, 0.05, rounds=1)) == "1.56 ms"


def test_ratios_of_missing_rows_are_not_measured() -> None:
    measured = row("s", {}, 1.0)
    for ratio in (speed_up_text, percent_of_time, percent_of_bandwidth):
        assert ratio(None, measured) == ratio(measured, None) == "not measured"
    assert image_time(None) == "not measured"
