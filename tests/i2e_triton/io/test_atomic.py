from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from i2e_triton.io.atomic import sync_files, write_whole


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "events.npz"
    with write_whole(path) as file:
        file.write(b"first half, ")
        file.flush()
        assert not path.exists()
        assert len(names_in(path.parent)) == 1
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert names_in(path.parent) == ["events.npz"]


def test_file_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    path.write_bytes(b"old and longer than the new one")
    with path.open("rb") as reader:
        with write_whole(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_bytes() == b"old and longer than the new one"
        assert path.read_bytes() == b"new"
        assert reader.read() == b"old and longer than the new one"  # an open file keeps its content


def test_text_wrapper_that_closes_the_file_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    with write_whole(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as table:
        table.write("step,loss\n")
    assert path.read_text() == "step,loss\n"


@pytest.mark.parametrize("interruption", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_interrupted_write_leaves_no_file(tmp_path: Path, interruption: type[BaseException], old: bytes | None) -> None:
    path = tmp_path / "events.npz"
    if old is not None:
        path.write_bytes(old)

    def write_half() -> None:
        with write_whole(path) as file:
            file.write(b"half")
            file.flush()
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if old is None else {"events.npz": old})


def test_path_of_an_existing_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "events.npz").mkdir()
    with pytest.raises(OSError), write_whole(tmp_path / "events.npz") as file:
        file.write(b"whole")
    assert names_in(tmp_path) == ["events.npz"]


def test_permissions_equal_those_of_open(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with write_whole(tmp_path / "events.npz") as file:
            file.write(b"whole")
    finally:
        os.umask(mask)
    assert (tmp_path / "events.npz").stat().st_mode & 0o777 == 0o640


def test_longest_file_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with write_whole(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_full_disk_error_names_the_file(tmp_path: Path) -> None:
    def fill() -> None:
        with write_whole(tmp_path / "events.npz"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*events\.npz"):
        fill()
    assert not names_in(tmp_path)


@pytest.mark.parametrize("failing_call", [1, 2])  # the file, the folder
def test_sync_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int) -> None:
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "events.npz"
    with pytest.raises(OSError, match=r"Input/output error: .*/events\.npz'$"), write_whole(path) as file:
        file.write(b"whole")
    calls = 0
    path.touch()
    with pytest.raises(OSError, match=rf"error: '{path if failing_call == 1 else tmp_path}'$"):
        sync_files([path])
