"""Mutate valid files, and check that every reader accepts or refuses them with a documented error.

The files are read in a child process with limited memory and processor time. A file that ends the child (a crash, a
hang) is a failure as well. A file depends only on the seed and its number, which a failure names. To read it again::

    python -m tests.torture.fuzz_readers SEED parquet_events 1234
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_MEMORY = 3 * 2**30  # bytes that the child may allocate
_SECONDS_A_FILE = 5.0
_SIZE = 100_000  # bytes; files are cut there


@dataclass(frozen=True)
class Reader:
    """A reader, valid files for it, and the errors that its documentation names."""

    suffix: str
    files: list[bytes]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]


def mutated(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Return a file with up to four changes: bits, bytes, numbers, parts removed, repeated, or of another file."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        # Half of the changes are at the start or the end, where headers are.
        place = int(rng.integers(len(data)))
        if rng.random() < 0.5:
            near = int(rng.integers(min(len(data), 600)))
            place = near if rng.random() < 0.5 else len(data) - 1 - near
        length = int(2 ** rng.uniform(0, 10))
        change = rng.integers(8)
        if change == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif change == 1:
            data[place] = int(rng.integers(256))
        elif change == 2:
            width = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice([0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62]))
            order = "little" if rng.random() < 0.5 else "big"
            data[place : place + width] = (number % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
        elif change == 3:
            del data[place : place + length]
        elif change == 4:
            data[place:place] = data[place : place + length] * int(rng.integers(1, 4))
        elif change == 5:
            data[place : place + length] = bytes([int(rng.choice([0, 48, 57, 255]))]) * length
        elif change == 6:
            other = others[rng.integers(len(others))]
            start = int(rng.integers(len(other)))
            data[place : place + length] = other[start : start + length]
        else:
            del data[place:]
    return bytes(data[:_SIZE])


def file_of(reader: Reader, seed: int, number: int) -> bytes:
    """Return the file with this number."""
    rng = np.random.default_rng([seed, number])
    return mutated(reader.files[rng.integers(len(reader.files))], reader.files, rng)


def try_file(reader: Reader, content: bytes, path: Path) -> str:
    """Read a file, and return ``"accepted"``, ``"refused"``, or the traceback of an error that is not documented."""
    path.write_bytes(content)
    started = time.process_time()
    try:
        reader.read(path)
    except reader.errors:
        result = "refused"
    except Exception:
        return traceback.format_exc()
    else:
        result = "accepted"
    taken = time.process_time() - started
    return result if taken < _SECONDS_A_FILE else f"it took {taken:.1f} seconds"


def try_readers(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Read mutated files with every reader."""
    counts = fuzz(seed, seconds, folder)
    failed = [f"seed {seed}: {name}: {reader['failures']}" for name, reader in counts.items() if reader["failures"]]
    return sum(reader["tried"] for reader in counts.values()), failed


def fuzz(seed: int, seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Try mutated files in a child process, and return the counts of each reader.

    Args:
        seed: seed of the mutations.
        seconds: time for all readers together, without the start of the child.
        folder: for temporary files.

    Returns:
        For each reader ``tried``, ``accepted``, ``refused`` and ``failures``, a list of ``{"number", "error"}``. If a
        file ends the child, the readers after it are missing.
    """
    child = multiprocessing.get_context("spawn").Process(target=_try_all, args=(seed, seconds, folder))
    child.start()
    child.join(2 * seconds + 120)
    child.kill()
    child.join()
    counts: dict[str, dict[str, Any]] = json.loads((folder / "counts.json").read_text())
    if child.exitcode != 0:
        reader = list(counts.values())[-1]
        reader["failures"].append({"number": reader["tried"], "error": f"it ended the process: {child.exitcode}"})
        reader["tried"] += 1
    return counts


def _try_all(seed: int, seconds: float, folder: Path) -> None:
    """Try files of all readers in turn. The counts are written before each file, because it may end the process."""
    from tests.torture.readers import readers

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY + _address_space(), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    counts: dict[str, dict[str, Any]] = {}
    end, remaining = time.monotonic() + seconds, readers()
    for left, (name, reader) in zip(range(len(remaining), 0, -1), remaining.items()):
        count: dict[str, Any] = {"tried": 0, "accepted": 0, "refused": 0, "failures": []}
        counts[name] = count
        until = time.monotonic() + (end - time.monotonic()) / left
        while time.monotonic() < until:
            (folder / "counts.json").write_text(json.dumps(counts))
            cpu = int(time.process_time() + 2 * _SECONDS_A_FILE) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
            number = count["tried"]
            result = try_file(reader, file_of(reader, seed, number), folder / f"a{reader.suffix}")
            if result in ("accepted", "refused"):
                count[result] += 1
            else:
                count["failures"].append({"number": number, "error": result[-2000:]})
            count["tried"] += 1
    (folder / "counts.json").write_text(json.dumps(counts))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def main(seed: str, name: str, number: str) -> None:
    """Read one file in this process, so that a debugger can follow."""
    from tests.torture.readers import readers

    reader = readers()[name]
    with tempfile.TemporaryDirectory() as folder:
        result = try_file(reader, file_of(reader, int(seed), int(number)), Path(folder, f"a{reader.suffix}"))
        sys.stdout.write(result + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
