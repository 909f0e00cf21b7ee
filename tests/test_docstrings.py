"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

import i2e_triton

#: Modules whose examples run with ``torch``, ``nn``, ``i2e_triton`` and an ``image``.
MODULES = (
    "augmentation",
    "draws",
    "formats.event_list",
    "functional",
    "integrations.snntorch",
    "layout",
    "module",
    "shifts",
    "transforms",
    "visualize.animation",
    "visualize.sheet",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"i2e_triton.{name}")
    names = {"torch": torch, "nn": nn, "i2e_triton": i2e_triton, "image": torch.rand(3, 32, 32)}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0
