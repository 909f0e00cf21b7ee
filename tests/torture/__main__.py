"""``python -m tests.torture --minutes 30``: try to break the conversion, the readers and ``i2e dataset``.

Each section tries random cases for its share of the time: case i of a section has the seed ``--seed`` + i. A failure
names its seed; ``--only SECTION --seed N`` repeats it at once. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.torture.conversions import try_conversions, try_threads
from tests.torture.faults import try_faults
from tests.torture.fuzz_readers import try_readers
from tests.torture.runs import try_runs

#: What each section tries, its function, and its share of the time.
SECTIONS = {
    "faults": ("file operations x SIGKILL, ENOSPC, EIO", try_faults, 0.3),
    "runs": ("interrupted and concurrent runs", try_runs, 0.3),
    "readers": ("mutated files, every reader", try_readers, 0.2),
    "conversions": ("25 random conversions, bit for bit", try_conversions, 0.1),
    "threads": ("the same in 8 threads", try_threads, 0.1),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30, help="time of all sections together (default: 30)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first case (default: a new one)")
    parser.add_argument("--only", choices=SECTIONS, help="run one section")
    options = parser.parse_args(arguments)
    seed = secrets.randbits(31) if options.seed is None else options.seed
    torch.set_num_threads(1)  # forks that use several threads of the parent hang
    sections = {options.only: SECTIONS[options.only]} if options.only else SECTIONS
    shares = sum(share for _, _, share in sections.values())
    table = Table("section", "what", title=f"seed {seed}")
    for heading in ("tried", "survived", "failed", "seconds"):
        table.add_column(heading, justify="right")
    console, failures = Console(), []
    for name, (what, section, share) in sections.items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"i2e-torture-{name}-") as folder:
            tried, failed = section(seed, 60 * options.minutes * share / shares, Path(folder))
        failures += [f"{name}: {line}" for line in failed]
        row = (tried, tried - len(failed), len(failed), f"{time.monotonic() - start:.0f}")
        table.add_row(name, what, *map(str, row))
    console.print(table)
    for failure in failures:
        console.print(f"[bold]{escape(failure)}[/bold]")
    if failures:
        console.print("To repeat a failure: python -m tests.torture --only SECTION --seed SEED --minutes 0.1")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
