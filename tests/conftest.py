"""What every test may ask for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import hypothesis
import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """Fresh random numbers in every run. A failing test prints the seed; I2E_TEST_SEED repeats it."""
    seed = int(os.environ.get("I2E_TEST_SEED") or secrets.randbits(32))
    print(f"I2E_TEST_SEED={seed}")  # noqa: T201
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
