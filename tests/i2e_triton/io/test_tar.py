"""Tars that other programs write are read; invalid tars raise an error."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from i2e_triton.io.tar import visible_files


def listed(path: Path) -> list[tuple[str, bytes]]:
    """Return names and contents. Each content is read before the next file is listed."""
    found = []
    with path.open("rb") as file:
        for name, offset, size in visible_files(file):
            file.seek(offset)
            found.append((name, file.read(size)))
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
        {"size": "9" * 300},
        {"size": "-5000"},  # the next header would be before this one: an endless loop
        {"size": "-1"},
        {"size": "many"},
    ],
)
def test_invalid_headers_raise(headers: dict[str, str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [("a", b"not a map\n" * 60)], headers)
    with pytest.raises(tarfile.TarError):
        listed(path)


@pytest.mark.parametrize("headers", [{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.map": "0,x"}])
def test_sparse_files_are_left_out(headers: dict[str, str], tmp_path: Path) -> None:
    assert listed(written(tmp_path / "a.tar", [("a", b"not a map\n" * 60)], headers)) == []


def test_sparse_files_of_the_tar_command_are_left_out(tmp_path: Path) -> None:
    """The map of a file with 40 pieces takes two blocks after the header."""
    with (tmp_path / "sparse").open("wb") as file:
        for piece in range(40):
            file.seek(piece * 2**20)
            file.write(bytes([piece + 1]) * 4096)
    (tmp_path / "b").write_bytes(b"content")
    for kind in ("gnu", "posix"):
        options = ["--sparse", f"--format={kind}", "-C", str(tmp_path)]
        subprocess.run(["tar", *options, "-cf", tmp_path / f"{kind}.tar", "sparse", "b"], check=True)
        assert (tmp_path / f"{kind}.tar").stat().st_size < 2**20
        assert listed(tmp_path / f"{kind}.tar") == [("b", b"content")]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_names_that_are_not_utf8_are_read(format: int, tmp_path: Path) -> None:
    names = [
        "x" * 300 + "/" + "y" * 200,
        os.fsdecode(b"\xff" * 150),
        "\N{GRINNING FACE}" * 30,
        "z" * 100,
        "z" * 99 + "/a",
    ]
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
        for name in names:
            link = tarfile.TarInfo(name + "link")
            link.type, link.linkname = tarfile.SYMTYPE, "t" * 400
            tar.addfile(link)
            tar.addfile(tarfile.TarInfo(name))
    assert [name for name, _ in listed(tmp_path / "a.tar")] == names


def header(kind: bytes, size: int, name: str = "a") -> bytes:
    """Return a tar header with any type and size."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


REGULAR = header(tarfile.REGTYPE, 0)
HOSTILE = {
    "sparse file of negative size": header(tarfile.GNUTYPE_SPARSE, -512),
    "sparse map without end": header(tarfile.GNUTYPE_SPARSE, 0)[:482] + b"\1" * 100_000,
    "file of negative size": header(tarfile.REGTYPE, -512),
    "pax header of zeros": header(tarfile.XHDTYPE, 80_000) + b"0" * 80_384 + REGULAR,
    "pax header of digits": header(tarfile.XHDTYPE, 80_000) + b"9" * 80_384 + REGULAR,
    "pax records of length 0": header(tarfile.XHDTYPE, 80_000) + b"0 a=b\n" * 13_397 + bytes(2) + REGULAR,
    "pax records of one byte": header(tarfile.XHDTYPE, 80_000) + b"1 " * 40_192 + REGULAR,
    "pax header of 2**60 bytes": header(tarfile.XHDTYPE, 2**60) + REGULAR,
    "long name of 2**60 bytes": header(tarfile.GNUTYPE_LONGNAME, 2**60) + REGULAR,
    "long link of 2**60 bytes": header(tarfile.GNUTYPE_LONGLINK, 2**60) + REGULAR,
    "long names only": header(tarfile.GNUTYPE_LONGNAME, 0) * 195,
    "unknown type of 2**60 bytes": header(b"?", 2**60),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("reader", ["i2e_triton.sources.tar.TarSource", "i2e_triton.datasets.EventDataset"])
def test_hostile_tars_raise_within_two_seconds(case: str, reader: str, tmp_path: Path) -> None:
    """For these files, ``tarfile`` loops forever, takes a minute, or allocates any amount of memory."""
    (tmp_path / "a.tar").write_bytes(HOSTILE[case] + bytes(1024))
    module, _, name = reader.rpartition(".")
    open_tars = getattr(importlib.import_module(module), name)
    started = time.process_time()
    with pytest.raises(ValueError, match=r"a\.tar"):
        open_tars([tmp_path / "a.tar"])
    assert time.process_time() - started < 2
