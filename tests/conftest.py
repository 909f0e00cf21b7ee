"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import hypothesis
import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """Return a generator with a new seed in each test. A failing test prints the seed; I2E_TEST_SEED sets it."""
    seed = int(os.environ.get("I2E_TEST_SEED") or secrets.randbits(32))
    print(f"I2E_TEST_SEED={seed}")  # noqa: T201
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run PyTorch on one CPU thread during a test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Without a deadline, because the duration of an example depends on the load of the machine.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")
