from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import torch

from i2e_triton.sources.source import ImageRow, SourceError
from i2e_triton.sources.tar import TarSource
from tests.i2e_triton.sources.builders import assert_holds, png


def written(path: Path, members: list[tuple[str, bytes]], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_rows_of_several_tars(form: int, tmp_path: Path, generator: torch.Generator) -> None:
    images = [png(generator) for _ in range(6)]
    folder = "a-long-folder-name/" * 6
    one = written(
        tmp_path / "train-000.tar",
        [
            ("0001.jpg", images[0]),
            ("0001.cls", b"7"),
            ("0001.json", b'{"width": 7}'),
            ("0002.cls", b"3\n"),
            ("0002.seg.png", b"a mask"),
            ("0002.PNG", images[1]),
            ("no-image.cls", b"1"),
            (f"{folder}0003.webp", images[2]),
            (f"{folder}0003.json", b'{"label": 12, "caption": "a dog"}'),
        ],
        form=form,
    )
    empty = written(tmp_path / "train-001.tar", [("readme.txt", b"none here")], form=form)
    two = written(
        tmp_path / "train-002.tar",
        [("0001.jpeg", images[3]), ("._0001.jpg", b"of macOS"), ("0004.bmp", b""), ("0005.png", images[5])],
        form=form,
    )
    rows = [
        ImageRow("train-000/0001", images[0], 7),
        ImageRow("train-000/0002", images[1], 3),
        ImageRow(f"train-000/{folder}0003", images[2], 12),
        ImageRow("train-002/0001", images[3], -1),
        ImageRow("train-002/0004", b"", -1),
        ImageRow("train-002/0005", images[5], -1),
    ]
    source = TarSource([one, empty, two])
    assert source.classes is None
    assert_holds(source, rows)
    assert source.nbytes() == sum(len(row.image) for row in rows if isinstance(row.image, bytes))


def test_keys_are_relative_to_the_packed_folder(tmp_path: Path, generator: torch.Generator) -> None:
    image = png(generator)
    path = written(tmp_path / "a.tar", [("./cat/0.png", image), ("./cat/0.cls", b"2")])
    assert_holds(TarSource([path]), [ImageRow("a/cat/0", image, 2)])


def test_folders_and_links_are_ignored(tmp_path: Path, generator: torch.Generator) -> None:
    image = png(generator)
    path = written(tmp_path / "a.tar", [("x/1.png", image)])
    with tarfile.open(path, "a") as tar:
        for name, kind in (("x.png", tarfile.DIRTYPE), ("2.png", tarfile.SYMTYPE), ("3.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "x/1.png"
            tar.addfile(member)
    assert_holds(TarSource([path]), [ImageRow("a/x/1", image, -1)])


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("1.txt", b"")], r"contains no images"),
        ([("1.png", b""), ("1.jpg", b"")], r"the sample '1' has two images; the second is '1\.jpg'"),
        ([("1.png", b""), ("2.png", b""), ("1.cls", b"1")], r"files of the sample '1' must be adjacent"),
        ([("1.cls", b"dog")], r"'1\.cls' contains no valid label"),
        ([("1.json", b"{")], r"'1\.json' contains no valid label"),
        ([("1.json", b"[" * 100_000)], r"'1\.json' contains no valid label"),
        ([("1.cls", b"-1")], r"the label in '1\.cls' must be 0 to 2147483647, got -1"),
        ([("1.cls", b"9" * 30)], r"the label in '1\.cls' must be 0 to 2147483647, got 9+$"),
        ([("1.json", b'{"label": 1.5}')], r"the label in '1\.json' must be .*, got 1\.5"),
        ([("1.json", b'{"label": true}')], r"the label in '1\.json' must be .*, got True"),
        ([("1.json", b" " * 2**20 + b"1")], r"'1\.json' is too large for a label \(1,048,577 bytes\)"),
    ],
)
def test_ambiguous_samples_raise(members: list[tuple[str, bytes]], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"a\.tar.* {reason}"):
        TarSource([written(tmp_path / "a.tar", members)])


def test_compressed_tar_raises(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tar", [("1.png", b"")], "w:gz")
    with pytest.raises(SourceError, match=r"a\.tar is not an uncompressed tar, or is damaged"):
        TarSource([path])


@pytest.mark.parametrize("kept", [0, 100, 512, 800, 1024, 1100, 2048])
def test_truncated_tar_raises(kept: int, tmp_path: Path, generator: torch.Generator) -> None:
    path = written(tmp_path / "a.tar", [("1.png", png(generator)), ("2.png", png(generator))])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SourceError, match=r"a\.tar is not an uncompressed tar, or is damaged \("):
        TarSource([path])


def test_damaged_header_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = written(tmp_path / "a.tar", [(f"{n}.png", png(generator)) for n in range(3)])
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        position = tar.getmembers()[1].offset
    content[position + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"is damaged \(the header at byte {position} is damaged"):
        TarSource([path])


def test_member_larger_than_the_file_raises(tmp_path: Path) -> None:
    member = tarfile.TarInfo("1.png")
    member.size = 10**15
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(2048))
    with pytest.raises(
        SourceError, match=r"a\.tar is not .* \(the file '1\.png' has [0-9,]+ bytes, but the tar ends before its end\)"
    ):
        TarSource([tmp_path / "a.tar"])


def test_tar_that_shrank_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = written(tmp_path / "a.tar", [("1.png", png(generator)), ("2.png", png(generator))])
    source = TarSource([path])
    path.write_bytes(path.read_bytes()[:1600])
    assert [row.key for row in source.read(0, 1)] == ["a/1"]
    with pytest.raises(SourceError, match=r"a\.tar has changed: it ends inside the sample '2'"):
        list(source.read(0, 2))


def test_files_of_the_tar_command_are_read(tmp_path: Path, generator: torch.Generator) -> None:
    image = png(generator)
    assert_holds(
        TarSource([written(tmp_path / "a.tar", [("./b/1.png", image), ("./b/1.cls", b"3")])]),
        [ImageRow("a/b/1", image, 3)],
    )


def test_fingerprint_changes_with_the_samples(tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    members = [("1.png", b"one"), ("1.cls", b"1"), ("2.png", b"two")]
    before = TarSource([written(tmp_path / "a.tar", members)]).fingerprint()
    # A conversion is resumed only if the fingerprint in its manifest is equal, so it must not change between versions.
    assert before == "02b9f57fce23c5d52ba7631672ce30c6f5ec8eb5e8139a8bc4420df903f650f0"
    assert TarSource([written(tmp_path / "moved/a.tar", members)]).fingerprint() == before
    for changed in (
        [("1.png", b"one"), ("1.cls", b"2"), ("2.png", b"two")],
        [("1.png", b"one"), ("1.cls", b"1"), ("3.png", b"two")],
        [("1.png", b"one"), ("1.cls", b"1"), ("2.png", b"three")],
        members[:2],
    ):
        assert TarSource([written(tmp_path / "moved/a.tar", changed)]).fingerprint() != before
    assert TarSource([written(tmp_path / "b.tar", members)]).fingerprint() != before
