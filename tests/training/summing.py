"""What a process does to show that it has found the others; imported in each of them, and so kept light."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed

from i2e_triton.training.distributed import Place


def write_sum(folder: Path, place: Place) -> None:
    """Sum the ranks over all processes, and leave the result in a file for each."""
    total = torch.tensor(place.rank + 1)
    distributed.all_reduce(total)
    (folder / f"{place.rank}").write_text(f"{int(total)} of {place.processes} {place.device} {place.is_first}")
