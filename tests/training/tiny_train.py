"""The training command with the tiny network, for other processes: ``-m tests.training.tiny_train``."""

from __future__ import annotations

from functools import partial

from i2e_triton.training import train
from tests.training.tiny import TinyNetwork

if __name__ == "__main__":
    # Statistics of a batch are another thing where each process has a part of it.
    train.build_network = partial(TinyNetwork, normalised=False)
    train.main()
