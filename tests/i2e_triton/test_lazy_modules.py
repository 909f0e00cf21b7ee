"""Modules of the package that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import i2e_triton
from i2e_triton.install_hints import pip_command

LAZY = ("analysis", "datasets", "formats", "pipeline", "sources", "training", "transforms", "visualize")
EXTRAS = {"formats": ("h5py", "data"), "sources": ("pyarrow", "data"), "transforms": ("torchvision", "vision")}


def run(code: str) -> list[str]:
    """Run code in a new Python process and return the lines that it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.slow
def test_modules_are_available_after_importing_the_package() -> None:
    code = f"""
import i2e_triton, sys
print(*dir(i2e_triton))
print(*(name for name in {LAZY} if f"i2e_triton.{{name}}" in sys.modules))
print(*(getattr(i2e_triton, name).__name__ for name in {LAZY}))
"""
    listed, imported, named = run(code)
    assert {*LAZY, "augmentation", "convert", "I2E"} <= set(listed.split())
    assert imported == ""
    assert named.split() == [f"i2e_triton.{name}" for name in LAZY]


def test_unknown_attribute_raises_error() -> None:
    with pytest.raises(AttributeError, match="module 'i2e_triton' has no attribute 'convrt'"):
        _ = i2e_triton.convrt  # type: ignore[attr-defined]


def test_missing_package_raises_error_with_the_pip_command() -> None:
    code = f"""
import i2e_triton, sys
for name, (package, _) in {EXTRAS}.items():
    sys.modules[package] = None  # as if it were not installed
    try:
        getattr(i2e_triton, name)
    except ModuleNotFoundError as error:
        print(error)
"""
    for line, (name, (package, extra)) in zip(run(code), EXTRAS.items(), strict=True):
        assert line.startswith(f"i2e_triton.{name} needs the package {package}")
        assert line.endswith(f": {pip_command(extra)}")
