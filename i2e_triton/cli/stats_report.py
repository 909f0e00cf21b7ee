"""What ``i2e stats`` prints, on 80 columns."""

from __future__ import annotations

from dataclasses import dataclass

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2e_triton.analysis import EventStatistics, ImageStatistics, Spread
from i2e_triton.analysis.events import ClassRate
from i2e_triton.cli.printable import printable

#: More classes than this are shown by the ends of their order.
_MOST_CLASSES = 20
_SHOWN_AT_EACH_END = 5


@dataclass(frozen=True)
class Origin:
    """What is known besides the events: how they are stored, and the images that they come from."""

    stored: float | None  #: bytes of an image's events in the files, where a manifest says so
    source: float | None  #: bytes of an image on disk
    images: ImageStatistics | None


def bytes_per_image(statistics: EventStatistics, origin: Origin) -> dict[str, float]:
    """Return the mean bytes of an image by representation, largest first in memory, then on disk."""
    on_disk = {"files": origin.stored, "source images": origin.source}
    return {**statistics.bytes, **{name: size for name, size in on_disk.items() if size is not None}}


def shown_name(label: int, found: ClassRate) -> str:
    """Return the name of a class, or its number where it has none, as tables and plots can show it."""
    return printable(found.name or str(label))


def print_statistics(console: Console, statistics: EventStatistics, origin: Origin) -> None:
    """Print all figures."""
    sizes = [f"{height} x {width}" for height, width in statistics.sizes]
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    console.print(f"{statistics.images:,} images, {size}, {statistics.timesteps} timesteps", highlight=False)
    console.print(_rates(statistics))
    if len(statistics.classes) > 1:
        console.print(_classes(statistics))
    console.print(_entropies(statistics, origin.images))
    console.print(_bytes(bytes_per_image(statistics, origin)))


def _rates(statistics: EventStatistics) -> Table:
    table = _table("event rate", "ON", "OFF", "mean", "std over images")
    for t, ((on, off), both) in enumerate(zip(statistics.polarity_rates, statistics.timestep_rates)):
        table.add_row(f"t={t}", _percent(on.mean), _percent(off.mean), _percent(both.mean), _percent(both.std))
    means = [sum(spread.mean for spread in spreads) / len(spreads) for spreads in zip(*statistics.polarity_rates)]
    whole = statistics.event_rate
    table.add_section()
    table.add_row("all", *map(_percent, means), _percent(whole.mean), _percent(whole.std), style="bold")
    return table


def _classes(statistics: EventStatistics) -> Table:
    table = _table("class", "images", "event rate", "std over images")
    ordered = sorted(statistics.classes.items(), key=lambda item: item[1].event_rate.mean, reverse=True)
    left_out = 0 if len(ordered) <= _MOST_CLASSES else len(ordered) - 2 * _SHOWN_AT_EACH_END
    for place, (label, found) in enumerate(ordered):
        if left_out and place == _SHOWN_AT_EACH_END:
            table.add_row(f"… {left_out} more", "", "", "")
        if not left_out or not _SHOWN_AT_EACH_END <= place < _SHOWN_AT_EACH_END + left_out:
            name = Text(shown_name(label, found), overflow="ellipsis", no_wrap=True)
            rate = found.event_rate
            table.add_row(name, f"{found.images:,}", _percent(rate.mean), _percent(rate.std))
    return table


def _entropies(statistics: EventStatistics, images: ImageStatistics | None) -> Table:
    table = _table("entropy, mean over images", "bits", "std", "of at most")
    steps = statistics.timesteps
    rows: list[tuple[str, Spread, int]] = [
        ("an event, yes or no, all alike", statistics.event_entropy, 1),
        ("the timesteps of a pixel in one polarity", statistics.polarity_entropy, steps),
        ("all events of a pixel", statistics.pixel_entropy, 2 * steps),
    ]
    for name, spread, most in rows:
        table.add_row(name, f"{spread.mean:.3f}", f"{spread.std:.3f}", str(most))
    if images is not None:
        table.add_section()
        value = images.value_entropy
        table.add_row(f"V of a pixel ({images.images:,} images)", f"{value.mean:.3f}", f"{value.std:.3f}", "8")
        grey = images.grey_entropy
        table.add_row("grey level of a pixel", f"{grey.mean:.3f}", f"{grey.std:.3f}", "8")
        table.add_section()
        for name, spread in (("one polarity", statistics.polarity_entropy), ("both", statistics.pixel_entropy)):
            share = spread.mean / value.mean if value.mean else float("nan")
            table.add_row(f"kept of V: {name}", f"{share:.1%}", "", "")
    return table


def _bytes(sizes: dict[str, float]) -> Table:
    source = sizes.get("source images")
    table = _table("an image takes", "bytes", *(("times the source",) if source else ()))
    for name, size in sizes.items():
        table.add_row(name, f"{size:,.0f}", *((f"{size / source:,.2f}",) if source else ()))
    return table


def _table(*headings: str) -> Table:
    """Start a table: text left, numbers right."""
    table = Table(box=rich.box.SIMPLE, pad_edge=False)
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column else "left", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return f"{share:.2%}"
