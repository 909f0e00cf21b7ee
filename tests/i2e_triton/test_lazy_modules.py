"""Modules of the package that are imported at their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import i2e_triton

LAZY = ("analysis", "datasets", "formats", "pipeline", "sources", "training", "transforms", "visualize")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", [*LAZY, "augmentation"])
def test_module_is_available_after_importing_the_package(name: str) -> None:
    assert run(f"import i2e_triton; print(i2e_triton.{name}.__name__)") == f"i2e_triton.{name}\n"


def test_dir_lists_the_modules_without_importing_them() -> None:
    code = "import i2e_triton, sys; print(*dir(i2e_triton)); print('i2e_triton.formats' in sys.modules)"
    names, imported = run(code).splitlines()
    assert {*LAZY, "convert", "I2E"} <= set(names.split())
    assert imported == "False"


def test_unknown_attribute_raises_error() -> None:
    with pytest.raises(AttributeError, match="module 'i2e_triton' has no attribute 'convrt'"):
        _ = i2e_triton.convrt  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("formats", "h5py", "data"), ("transforms", "torchvision", "vision"), ("sources", "pyarrow", "data")],
)
def test_missing_package_raises_error_with_the_pip_command(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.startswith((f"i2e_triton.{name}", f"{package}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(i2e_triton, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"i2e_triton\.{name} needs the package {package}.*: pip install 'i2e-triton\[{extra}\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        getattr(i2e_triton, name)
