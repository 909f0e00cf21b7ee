"""Tars of other software, and invalid tars."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from i2e_triton.io.tar import visible_files


def listed(path: Path) -> list[tuple[str, bytes]]:
    """Return names and contents. Contents are read while the members are listed."""
    found = []
    with path.open("rb") as file:
        for name, member in visible_files(file):
            file.seek(member.offset_data)
            found.append((name, file.read(member.size)))
    return found


def written(path: Path, members: list[tuple[str, bytes]], headers: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), headers or {}
            tar.addfile(member, io.BytesIO(content))
    return path


def test_files_of_the_tar_command_are_listed(tmp_path: Path) -> None:
    files = {"a.jpg": b"1", "b/c.jpg": b"22", "b/" + "long" * 40 + ".jpg": b"333", "b/.hidden.jpg": b"", "._a.jpg": b""}
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    subprocess.run(["tar", "-C", tmp_path / "in", "-cf", tmp_path / "a.tar", "."], check=True)
    assert sorted(listed(tmp_path / "a.tar")) == sorted(list(files.items())[:3])


@pytest.mark.parametrize(
    ("written_name", "name"),
    [("./a", "a"), ("/a", "a"), ("//b//a", "b/a"), ("b/./a", "b/a"), ("b/../a", "a"), ("../a", "../a")],
)
def test_names_are_normalized(written_name: str, name: str, tmp_path: Path) -> None:
    assert listed(written(tmp_path / "a.tar", [(written_name, b"x")])) == [(name, b"x")]


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "many"},
        {"GNU.sparse.map": "0,x", "GNU.sparse.size": "1"},
        {"size": "9" * 300},
        {"size": "-5000"},  # the next header would precede this one
        {"size": "-1"},
    ],
)
def test_invalid_headers_raise(headers: dict[str, str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [("a", b"not a map\n" * 60)], headers)
    with pytest.raises(tarfile.TarError):
        listed(path)
