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


def test_invalid_tars_raise(tmp_path: Path) -> None:
    for members, reason in (
        ([("1.txt", b"")], "contains no images"),
        ([("1.png", b""), ("1.jpg", b"")], r"the sample '1' has two data files; the second is '1\.jpg'"),
    ):
        with pytest.raises(SourceError, match=rf"a\.tar:? {reason}"):
            TarSource([written(tmp_path / "a.tar", members)])


def test_tar_that_shrank_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = written(tmp_path / "a.tar", [("1.png", png(generator)), ("2.png", png(generator))])
    source = TarSource([path])
    path.write_bytes(path.read_bytes()[:1600])
    assert [row.key for row in source.read(0, 1)] == ["a/1"]
    with pytest.raises(SourceError, match=r"a\.tar has changed: it ends inside the sample '2'"):
        list(source.read(0, 2))


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
