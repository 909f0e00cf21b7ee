from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2e_triton import install_hints
from i2e_triton.install_hints import MissingExtraError, needs_extra, pip_command, triton_command

ROOT = Path(__file__).parents[2]


def test_from_a_clone_the_command_names_its_folder() -> None:
    assert pip_command("video") == f"pip install --editable '{ROOT}[video]'"


@pytest.mark.parametrize(
    ("direct_url", "expected"),
    [
        (None, "pip install 'i2e-triton[cli]'"),
        ({"url": "file:///home/me/clone", "dir_info": {}}, "pip install 'i2e-triton[cli] @ file:///home/me/clone'"),
        (
            {"url": "file:///tmp/i2e_triton-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'i2e-triton[cli] @ file:///tmp/i2e_triton-0.1.0-py3-none-any.whl'",
        ),
        (
            {"url": "https://example.org/i2e.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}},
            "pip install 'i2e-triton[cli] @ git+https://example.org/i2e.git@abc123'",
        ),
    ],
)
def test_the_command_installs_from_the_same_place(
    direct_url: dict[str, object] | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = None if direct_url is None else json.dumps(direct_url)
    monkeypatch.setattr(install_hints, "_CLONE", tmp_path)
    monkeypatch.setattr(install_hints, "distribution", lambda _: SimpleNamespace(read_text=lambda _: text))
    assert pip_command("cli") == expected


def test_missing_package_raises_error_with_the_command() -> None:
    expected = f"show needs the package no_such_package: {pip_command('video')}"
    with pytest.raises(MissingExtraError, match=f"^{re.escape(expected)}$") as raised, needs_extra("show", "video"):
        import_module("no_such_package")
    assert raised.value.name == "no_such_package"


def test_missing_module_of_the_package_is_a_bug_and_not_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as raised, needs_extra("show", "video"):
        import_module("i2e_triton.no_such_module")
    assert not isinstance(raised.value, MissingExtraError)


def test_triton_is_installed_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert triton_command() == "pip install triton"
    monkeypatch.setattr(sys, "platform", "win32")
    assert "Linux only" in triton_command()


#: ``pip install`` in a string or comment of the package: only the helper, names of other packages, and docstrings.
_ALLOWED = re.compile(r"install_hints|``pip install|pip install (triton|pillow-heif|--upgrade torch)|dataset_card")


def test_every_hint_uses_the_helper() -> None:
    files = [file for folder in ("i2e_triton", "training", "kernels") for file in (ROOT / folder).rglob("*.py")]
    lines = [f"{file}: {line}" for file in files for line in file.read_text().splitlines() if "pip install" in line]
    assert [line for line in lines if not _ALLOWED.search(line)] == []
