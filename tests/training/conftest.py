"""What tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from i2e_triton.training import module, run
from tests.training.tiny import TinyNetwork


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every recipe build the tiny network."""
    monkeypatch.setattr(module, "build_network", TinyNetwork)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes longer than the runs that are drawn."""
    monkeypatch.setattr(run, "save", lambda figure, path: path.touch())
    monkeypatch.setattr(run, "draw_training", len)
