"""Mutate valid files, and check that every reader accepts or refuses them with a documented error.

``python -m tests.torture.fuzz_readers --seconds 5 --seed 0`` prints one line of JSON: for each reader the number of
files that were tried, accepted and refused, and its failures. The files are read in one child process with limited
memory and processor time. A file that ends the child (a crash, a hang) is a failure as well. The exit status is 1 if
there are failures. A file depends only on the seed and its number, which a failure names::

    python -m tests.torture.fuzz_readers --seed 0 --reader parquet_events --number 1234
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
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


def fuzz(seconds: float, seed: int, names: list[str] | None = None, files: int | None = None) -> dict[str, Any]:
    """Try mutated files in child processes, and return the counts of each reader.

    Args:
        seconds: time for all readers together, without the start of a child.
        seed: seed of the mutations.
        names: readers to try. Default: None, all.
        files: files to try for each reader, whatever time it takes. Default: None, as many as the time allows.

    Returns:
        For each reader ``tried``, ``accepted``, ``refused`` and ``failures``, a list of ``{"number", "error"}``.
    """
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        first: dict[str, int] = {}
        end = time.monotonic() + seconds + 60
        while True:
            request = {"seconds": seconds, "seed": seed, "names": names, "files": files, "first": first}
            child = subprocess.run(
                [sys.executable, "-m", "tests.torture.fuzz_readers", "--child", json.dumps(request), "--in", folder],
                capture_output=True,
                text=True,
                timeout=seconds * 2 + 120,
            )
            lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
            for line in lines:
                counts = results.setdefault(line["reader"], {"tried": 0, "accepted": 0, "refused": 0, "failures": []})
                counts["tried"] += line["tried"]
                counts["accepted"] += line["accepted"]
                counts["refused"] += line["refused"]
                counts["failures"] += line["failures"]
            if child.returncode == 0:
                return results
            # The child notes each file before it reads it.
            note = Path(folder, "current")
            if not note.is_file() or time.monotonic() > end:
                raise RuntimeError(f"the child ended with status {child.returncode}: {child.stderr[-2000:]}")
            current = json.loads(note.read_text())
            counts = results.setdefault(current["reader"], {"tried": 0, "accepted": 0, "refused": 0, "failures": []})
            counts["tried"] += 1
            error = f"the process ended with status {child.returncode}: {child.stderr[-1000:]}"
            counts["failures"].append({"number": current["number"], "error": error})
            seconds = max(seconds - current["spent"], 0.0)
            first = {**first, **dict.fromkeys(current["done"], -1), current["reader"]: current["number"] + 1}
            note.unlink()


def _child(request: dict[str, Any], folder: Path) -> None:
    """Try files of all readers in turn, and print the counts of each reader."""
    from tests.torture.readers import readers

    known = readers()
    names = [name for name in request["names"] or known if request["first"].get(name, 0) >= 0]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY + _address_space(), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    started = time.monotonic()
    done: list[str] = []
    for index, name in enumerate(names):
        reader, first = known[name], request["first"].get(name, 0)
        share = (request["seconds"] - (time.monotonic() - started)) / (len(names) - index)
        counts: dict[str, Any] = {"reader": name, "tried": 0, "accepted": 0, "refused": 0, "failures": []}
        end, number = time.monotonic() + share, first
        while number < request["files"] if request["files"] is not None else time.monotonic() < end:
            spent = time.monotonic() - started
            note = {"reader": name, "number": number, "done": done, "spent": spent}
            (folder / "current").write_text(json.dumps(note))
            cpu = int(time.process_time() + 2 * _SECONDS_A_FILE) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
            result = try_file(reader, file_of(reader, request["seed"], number), folder / f"a{reader.suffix}")
            counts["tried"] += 1
            if result in ("accepted", "refused"):
                counts[result] += 1
            else:
                counts["failures"].append({"number": number, "error": result[-2000:]})
            number += 1
        done.append(name)
        sys.stdout.write(json.dumps(counts) + "\n")
        sys.stdout.flush()


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _repeat(name: str, seed: int, number: int) -> None:
    """Read one file in this process, so that a debugger can follow."""
    from tests.torture.readers import readers

    reader = readers()[name]
    with tempfile.TemporaryDirectory() as folder:
        result = try_file(reader, file_of(reader, seed, number), Path(folder, f"a{reader.suffix}"))
        sys.stdout.write(result + "\n")


def main() -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="only this reader")
    parser.add_argument("--number", type=int, help="read this file only, in this process")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(json.loads(options.child), Path(options.folder))
        return 0
    if options.number is not None:
        _repeat(options.reader, options.seed, options.number)
        return 0
    results = fuzz(options.seconds, options.seed, [options.reader] if options.reader else None)
    sys.stdout.write(json.dumps(results) + "\n")
    return 1 if any(counts["failures"] for counts in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
