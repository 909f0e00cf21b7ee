"""The adapters without their libraries."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize("library", ["spikingjelly", "tonic"])
def test_missing_library_raises_error_with_the_pip_command(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"i2e_triton.integrations.{library}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    with pytest.raises(
        ModuleNotFoundError,
        match=rf"^i2e_triton\.integrations\.{library} needs .*{library}.*: pip .*\[{library}\]'$",
    ):
        import_module(f"i2e_triton.integrations.{library}")
