"""Memory that runs out is told, however PyTorch says so, with what takes less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2e_triton.training import train
from tests.training.tiny import TinyNetwork, failure, run


def on_the_cpu() -> None:
    """Ask for more than any machine has; nothing is taken."""
    torch.empty(2**60, dtype=torch.uint8)


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")


def in_python() -> None:
    bytearray(2**60)


@pytest.mark.parametrize("fail", [on_the_cpu, on_a_gpu, in_python])
def test_what_takes_less_is_said(fail: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TooLarge(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            fail()
            return super().forward(x)

    monkeypatch.setattr(train, "build_network", TooLarge)
    with pytest.raises(SystemExit) as error:
        run("--dataset", "fake", "--size", 16, "-bz", 8, "--accumulate", 2, "-e", 1, "-sp", tmp_path)
    assert failure(error) == (
        "error: out of memory on cpu; compute the batch of 8 in more parts, with --accumulate 4, or lower --batch_size"
    )


def test_a_batch_in_parts_of_one_can_only_be_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TooLarge(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            raise MemoryError

    monkeypatch.setattr(train, "build_network", TooLarge)
    with pytest.raises(SystemExit) as error:
        run("--dataset", "fake", "--size", 16, "-bz", 2, "--accumulate", 2, "-e", 1, "-sp", tmp_path)
    assert failure(error) == "error: out of memory on cpu; lower --batch_size"
