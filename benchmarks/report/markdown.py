"""Numbers and tables as a report writes them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report.rows import Row, rate_share, seconds_an_image, speed_up

NOT_MEASURED = "not measured"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is aligned to the right. Without a body there is none."""
    if not body:
        return NOT_MEASURED[0].upper() + NOT_MEASURED[1:] + "."
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def significant(number: float, digits: int = 3) -> str:
    """A number with so many significant digits at least, and no exponent."""
    whole = len(str(int(abs(number))))
    if abs(number) < 1:
        return f"{number:#.{digits}g}" if number == 0 or abs(number) >= 1e-4 else f"{number:.1e}"
    return f"{number:,.{max(0, digits - whole)}f}"


def duration(seconds: float) -> str:
    """A time in a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-6)} µs"


def size(count: float) -> str:
    """Bytes in a unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{significant(count)} B"


def image_time(row: Row | None) -> str:
    """Median time an image of a row, with its interquartile range and its key."""
    if row is None:
        return NOT_MEASURED
    return f"{duration(seconds_an_image(row))} ± {duration(row['iqr_s'] / row['images'])} `{row['key']}`"


def ratio(slow: Row | None, fast: Row | None) -> str:
    """How many times as long an image takes in one row as in another, and both their keys."""
    if slow is None or fast is None:
        return NOT_MEASURED
    return f"{significant(speed_up(slow, fast))}× `{slow['key']}`/`{fast['key']}`"


def part_of(part: Row | None, whole: Row | None) -> str:
    """The time an image of one row as a part of that of another, and both their keys."""
    if part is None or whole is None:
        return NOT_MEASURED
    return f"{speed_up(part, whole):.1%} `{part['key']}`/`{whole['key']}`"


def share(row: Row | None, limit: Row | None) -> str:
    """The rate of a row as a share of that of a limit, and both their keys."""
    if row is None or limit is None:
        return NOT_MEASURED
    return f"{rate_share(row, limit):.0%} `{row['key']}`/`{limit['key']}`"
