"""What tests of training may ask for, and what all of them do without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from i2e_triton.training import log, train
from tests.training.tiny import TinyNetwork


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every recipe build the tiny network."""
    monkeypatch.setattr(train, "build_network", TinyNetwork)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def _no_curves() -> Iterator[None]:
    """Drawing takes longer than the runs that are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "draw_curves", lambda rows, path: path.touch())
        yield
