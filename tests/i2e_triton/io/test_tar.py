"""Tars that other programs write are read; invalid tars raise an error."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from i2e_triton.datasets import EventDataset, RecordError
from i2e_triton.io.tar import read_samples, visible_files
from i2e_triton.sources import SourceError
from i2e_triton.sources.tar import TarSource


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


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_files_raise(format: str, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**20)
    options = ["--sparse", f"--format={format}", "-C", str(tmp_path)]
    subprocess.run(["tar", *options, "-cf", tmp_path / "a.tar", "sparse"], check=True)
    with pytest.raises(tarfile.TarError, match="sparse files cannot be read; write the tar without --sparse"):
        listed(tmp_path / "a.tar")


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


#: The classes that read tars, and the error that each one raises.
READERS: list[Any] = [(TarSource, SourceError), (EventDataset, RecordError)]


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize(("reader", "error"), READERS)
def test_hostile_tars_raise_within_two_seconds(case: str, reader: Any, error: type[Exception], tmp_path: Path) -> None:
    """For these files, ``tarfile`` loops forever, takes a minute, or allocates any amount of memory."""
    (tmp_path / "a.tar").write_bytes(HOSTILE[case] + bytes(1024))
    started = time.process_time()
    with pytest.raises(error, match=r"a\.tar: not an uncompressed tar, or damaged: "):
        reader([tmp_path / "a.tar"])
    assert time.process_time() - started < 2


def is_png(extension: str) -> bool:
    return extension == "png"


def test_samples_have_the_files_of_one_name(tmp_path: Path) -> None:
    """The first dot ends the name of a sample, and its files need not be adjacent."""
    members = [
        ("a/1.json", b'{"label": 5, "caption": "a dog"}'),
        ("readme.txt", b"not a sample"),
        ("a/2.cls", b" 07\n"),
        ("a/1.PNG", b"one"),
        ("a/1.seg.png", b"a mask"),
        ("a/._1.png", b"of macOS"),
        ("a/2.png", b"two"),
        ("3.cls", b"1"),
        ("a.b/4.json", b"[1, 2]"),
        ("a.b/4.png", b"four"),
        ("5.cls", b"-1"),
        ("5.json", b'{"label": 2}'),
        ("5.png", b""),
    ]
    path = written(tmp_path / "a.tar", members)
    content = path.read_bytes()
    found = [(key, content[offset : offset + size], *rest) for key, offset, size, *rest in read_samples(path, is_png)]
    assert found == [
        ("a/1", b"one", 5, {"label": 5, "caption": "a dog"}),
        ("a/2", b"two", 7, {}),
        ("a.b/4", b"four", -1, {}),
        ("5", b"", -1, {"label": 2}),
    ]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("1.png", b""), ("1.png", b"")], r"the sample '1' has two data files; the second is '1\.png'"),
        ([("1.cls", b"1"), ("1.png", b""), ("1.cls", b"1")], r"the sample '1' has two cls files"),
        ([("1.cls", b"dog")], r"'1\.cls' contains no valid label \(.* b'dog'\)"),
        ([("1.cls", "²".encode())], r"'1\.cls' contains no valid label"),
        ([("1.json", b"{")], r"'1\.json' contains no valid label"),
        ([("1.json", b"[" * 100_000)], r"'1\.json' contains no valid label"),
        ([("1.cls", b"-2")], r"the label of the sample '1' must be 0 to 2147483647, or -1 .*, got -2$"),
        ([("1.cls", b"9" * 30)], r"the label of the sample '1' must be .*, got 9+$"),
        ([("1.json", b'{"label": 1.5}')], r"the label of the sample '1' must be .*, got 1\.5"),
        ([("1.json", b'{"label": true}')], r"the label of the sample '1' must be .*, got True"),
        ([("1.json", b" " * 2**20 + b"1")], r"'1\.json' is too large for a label \(1,048,577 bytes\)"),
    ],
)
def test_invalid_samples_raise(members: list[tuple[str, bytes]], reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [*members, ("1.png", b"")] if len(members) == 1 else members)
    with pytest.raises(ValueError, match=rf"^{path}: {reason}"):
        list(read_samples(path, is_png))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tar_raises(mode: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", mode):  # type: ignore[call-overload]
        pass
    with pytest.raises(ValueError, match=r"a\.tar: not an uncompressed tar, or damaged: the tar is compressed"):
        list(read_samples(tmp_path / "a.tar", is_png))


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1100, 2048, 2560])  # the archive ends in 1024 zeros
def test_truncated_tar_raises(kept: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [("1.png", b"one"), ("2.png", b"two")])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.tar: not an uncompressed tar, or damaged: "):
        list(read_samples(path, is_png))


def test_damaged_header_raises(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [(f"{n}.png", b"content") for n in range(3)])
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged: the header at byte 1024 is damaged"):
        list(read_samples(path, is_png))


def test_links_and_folders_are_ignored(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [("x/1.png", b"content")])
    with tarfile.open(path, "a") as tar:
        for name, kind in (("x.png", tarfile.DIRTYPE), ("2.png", tarfile.SYMTYPE), ("3.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = 5000  # some programs store it, but no content
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("y.png"))
    assert listed(path) == [("x/1.png", b"content"), ("y.png", b"")]
