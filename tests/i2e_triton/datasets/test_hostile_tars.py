"""Damaged and malicious tars raise an error that names file and sample."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch

from i2e_triton.datasets import EventDataset, RecordError
from tests.i2e_triton.datasets.builders import official_record, packed_record, random_events, tar_members, write_tar


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 2048])
def test_truncated_tar_raises(kept: int, tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RecordError, match=rf"^{path}: "):
        EventDataset(path)


@pytest.mark.parametrize("zero_blocks", [0, 1])  # a complete tar ends in two blocks of zeros
def test_tar_without_end_of_archive_mark_raises(zero_blocks: int, tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    path.write_bytes(path.read_bytes()[: end + zero_blocks * tarfile.BLOCKSIZE])
    with pytest.raises(RecordError, match=rf"^{path}: .*the end-of-archive mark at byte {end} is missing"):
        EventDataset(path)


def test_damaged_tar_header_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)))
    with tarfile.open(path) as tar:
        start = tar.getmembers()[3].offset
    content = bytearray(path.read_bytes())
    content[start + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        RecordError, match=rf"^{path}: not an uncompressed tar, or damaged: the header at byte {start} is damaged"
    ):
        EventDataset(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tar_raises(mode: str, tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)), mode)
    with pytest.raises(
        RecordError, match="the tar is compressed, so files cannot be read by offset; decompress it first"
    ):
        EventDataset(path)
    with pytest.raises(ValueError, match=r"uncompressed tars \(\.tar\)"):
        EventDataset(path.rename(tmp_path / "a.tar.gz"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("1.cls", b"cat", "label must be an integer .* got 'cat'"),
        ("1.cls", "²".encode(), "label must be an integer"),
        ("1.cls", b"9" * 30, "label must be an integer"),
        ("1.cls", b" " * 70000, "the .cls file has 70,000 bytes, more than the limit of 65,536"),
        ("1.json", b"{", "the .json file is damaged"),
        ("1.json", b"[" * 60000, "the .json file is damaged"),
        ("1.json", b"[1]", "the .json file must be an object"),
        ("1.json", b'{"label": 1.5}', "label must be an integer"),
        ("1.json", b'{"label": true}', "label must be an integer"),
        ("1.json", b'{"timesteps": 9}', "timesteps 1 to 8"),
        ("1.json", b'{"timesteps": 2}', "but 2 timesteps"),
    ],
)
def test_invalid_label_files_raise(
    name: str, content: bytes, reason: str, tmp_path: Path, generator: torch.Generator
) -> None:
    events = torch.ones_like(random_events(2, generator))
    members = [("0.npy", packed_record(events[0])), ("0.cls", b" 7\n"), ("1.npy", packed_record(events[1]))]
    path = write_tar(tmp_path / "a.tar", [*members, (name, content)])
    dataset = EventDataset(path)
    assert dataset[0][1] == 7
    with pytest.raises(RecordError, match=rf"^{path}: sample 1: .*{reason}"):
        dataset[1]


def test_duplicate_files_of_a_sample_raise(tmp_path: Path, generator: torch.Generator) -> None:
    members = tar_members(random_events(2, generator))
    for wrong, reason in (
        ([*members, members[1]], r"sample '000000000' has cls twice; the second is '000000000\.cls'"),
        ([*members, ("000000001.npz", b"")], r"sample '000000001' has events twice; the second is '000000001\.npz'"),
    ):
        with pytest.raises(RecordError, match=reason):
            EventDataset(write_tar(tmp_path / "a.tar", wrong))
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(RecordError, match="not an uncompressed tar, or damaged"):
        EventDataset(tmp_path / "a.tar")


def test_links_and_folders_in_a_tar_are_ignored(tmp_path: Path, generator: torch.Generator) -> None:
    (record,) = [official_record(sample) for sample in random_events(1, generator)]
    path = write_tar(tmp_path / "a.tar", [("0.npy", record), ("0.cls", b"3")])
    with tarfile.open(path, "a") as tar:
        for name, kind in (("1.npy", tarfile.SYMTYPE), ("2.npy", tarfile.LNKTYPE), ("3.npy", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert EventDataset(path).targets == [3]


def test_tar_that_shrank_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)))
    dataset = EventDataset(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(RecordError, match=r"a\.tar: sample 2: .* the tar has changed"):
        dataset[2]
