"""What processes do to show that they have found each other; imported in each of them, and so kept light."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from i2e_triton.training.distributed import Place


def write_meeting(folder: Path, place: Place) -> None:
    """Sum the ranks over all processes, decide and fail together, and leave what was found in a file for each."""
    total = torch.tensor(place.rank + 1)
    distributed.all_reduce(total)
    try:
        place.decide(partial((folder / f"missing of {place.rank}").read_text))
    except FileNotFoundError as error:
        missing = Path(error.filename).name
    found = {
        "sum": f"{int(total)} of {place.processes} {place.device} {place.is_first}",
        "decided": place.decide(lambda: f"by {place.rank}"),
        "missing": missing,
    }
    (folder / f"{place.rank}").write_text(json.dumps(found))


class SlowErrors:
    """Standard error of a process that is held up."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> None:
        """Write, but not at once."""
        time.sleep(1)
        self._stream.write(text)

    def flush(self) -> None:
        """Leave nothing unwritten."""
        self._stream.flush()


def tell_slowly(place: Place) -> None:
    """Tell what all processes have to, and end."""
    sys.stderr = SlowErrors()  # type: ignore[assignment]
    place.tell_once("told")
    sys.exit(1)


def fail_alone(place: Place) -> None:
    """Let the second process end while the first one waits for it."""
    if place.rank == 1:
        sys.exit(3)
    distributed.barrier()
