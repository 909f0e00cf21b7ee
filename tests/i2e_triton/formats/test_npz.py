from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from i2e_triton.formats import RecordError, load_npz, save_npz
from i2e_triton.formats.npz import save_packed_npz
from i2e_triton.functional import pack
from tests.i2e_triton.formats.events import dense_events, photograph_events
from tests.samples import assert_same_events

EVENTS = photograph_events("chelsea", (13, 21))


def savez(*arrays: Any, compressed: bool = True, **named: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, *arrays, **named)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def load(content: bytes) -> Tensor:
    return load_npz(io.BytesIO(content))


def assert_rejected(file: Path | io.BytesIO, message: str) -> None:
    """Assert that reading raises an error, and that it allocates less than 2 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match=message):
            load_npz(file)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@given(events=dense_events(timesteps=12))
def test_npz_equals_the_official_format(events: Tensor) -> None:
    file = io.BytesIO()
    save_npz(file, events)
    assert file.getvalue() == savez(events.numpy().astype(bool))
    with np.load(io.BytesIO(file.getvalue()), allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]
        assert_same_events(torch.from_numpy(archive["arr_0"]), events)
    assert_same_events(load(file.getvalue()), events)


@given(events=dense_events(timesteps=8))
def test_packed_events_give_the_same_file(events: Tensor) -> None:
    dense, packed = io.BytesIO(), io.BytesIO()
    save_npz(dense, events)
    save_packed_npz(packed, pack(events), len(events))
    assert packed.getvalue() == dense.getvalue()


def test_round_trip_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "class" / "any name"
    save_npz(path, EVENTS)
    assert os.listdir(tmp_path / "class") == ["any name"]
    for name in (path, str(path)):
        assert_same_events(load_npz(name), EVENTS)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "i8", ">i4", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_dtype_are_read(dtype: str, order: Any) -> None:
    array = np.asarray(EVENTS.numpy().astype(dtype), order=order)
    assert_same_events(load(savez(array)), EVENTS)
    assert_same_events(load(savez(array, compressed=False)), EVENTS)
    loaded = load(savez(array))
    assert loaded.is_contiguous()
    loaded.zero_()  # raises if the memory is read-only


@pytest.mark.parametrize("wrong", [2, -1, 0.5, np.nan, np.inf])
def test_values_other_than_0_and_1_raise(wrong: float) -> None:
    array = EVENTS.double().numpy().copy()
    array[3, 1, 5, 7] = wrong
    with pytest.raises(RecordError, match="values of the array must be 0 and 1"):
        load(savez(array))
    with pytest.raises(ValueError, match="events must be 0 or 1"):
        save_npz(io.BytesIO(), torch.from_numpy(array).float())


def test_bool_other_than_0_and_1_raises() -> None:
    array = EVENTS.numpy().copy()
    array.view(np.uint8)[0, 0, 0, 0] = 255
    with pytest.raises(RecordError, match="values of the array must be 0 and 1"):
        load(savez(array))


def npy_of_shape(shape: tuple[int, ...]) -> bytes:
    """Return the npy header of a bool array of any shape, and 16 bytes of content."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|b1", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(16)


HOSTILE = {
    "empty": (b"", "not written by np.savez, or damaged"),
    "garbage": (b"PK\x03\x04 no archive", "not written by np.savez, or damaged"),
    "cut off": (savez(EVENTS.numpy())[:-30], "not written by np.savez, or damaged"),
    "an npy file": (npy(EVENTS.numpy()), "not written by np.savez, or damaged"),
    "no member": (zipped({}), "must contain only arr_0.npy, got no file"),
    "another name": (savez(events=EVENTS.numpy()), "got events.npy"),
    "two arrays": (savez(EVENTS.numpy(), EVENTS.numpy()), "got arr_0.npy, arr_1.npy"),
    "a pickle": (savez(np.array([{}], dtype=object)), "Python objects"),
    "a member that is not npy": (zipped({"arr_0.npy": b"text"}), "not written by np.save"),
    "LZMA compression": (zipped({"arr_0.npy": npy(EVENTS.numpy())}, zipfile.ZIP_LZMA), "got compression method 14"),
    "three dimensions": (savez(EVENTS.numpy()[0]), r"must be \[T, 2, H, W\], got \[2, 13, 21\]"),
    "one polarity": (savez(EVENTS.numpy()[:, :1]), r"got \[8, 1, 13, 21\]"),
    "no timestep": (savez(EVENTS.numpy()[:0]), r"got \[0, 2, 13, 21\]"),
    "text": (savez(np.full((8, 2, 1, 1), "1")), "must be bool or numbers"),
    "complex numbers": (savez(np.zeros((8, 2, 1, 1), complex)), "must be bool or numbers, got complex128"),
    "a structured array": (savez(np.zeros((8, 2, 1, 1), "u1,u1")), "must be bool or numbers"),
    "one byte too few": (
        zipped({"arr_0.npy": npy(EVENTS.numpy())[:-1]}),
        r"must have 4,496 bytes for \[8, 2, 13, 21\] of bool, got 4,495",
    ),
    "one byte too many": (zipped({"arr_0.npy": npy(EVENTS.numpy()) + b"\0"}), "must have 4,496 bytes .*, got 4,497"),
    "4 TB": (zipped({"arr_0.npy": npy_of_shape((8, 2, 500_000, 500_000))}), "more than 2,147,483,648 bytes"),
    "overflow": (zipped({"arr_0.npy": npy_of_shape((2**62, 2, 2**62, 8))}), "more than 2,147,483,648 bytes"),
    "a header of 1 GB without the data": (
        zipped({"arr_0.npy": npy_of_shape((8, 2, 8192, 8192))}),
        "must have 1,073,741,952 bytes .*, got 144",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_invalid_files_raise(case: str) -> None:
    content, message = HOSTILE[case]
    assert_rejected(io.BytesIO(content), message)


def forged(declared: int, content: bytes, flags: int = 0) -> bytes:
    """Return an archive whose only member, ``content``, is declared to have ``declared`` bytes."""
    packed = zlib.compress(content, 9)[2:-4]
    fields = (20, flags, 8, 0, 33, zlib.crc32(content), len(packed), declared, 9, 0)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + b"arr_0.npy" + packed
    entry = struct.pack("<4sH5H3L5H2L", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + b"arr_0.npy"
    return local + entry + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)


def test_zip_bomb_with_a_false_size_raises() -> None:
    honest = npy(EVENTS.numpy())
    assert_same_events(load(forged(len(honest), honest)), EVENTS)
    bomb = forged(len(honest), honest + bytes(100_000_000))
    assert_rejected(io.BytesIO(bomb), "damaged")


def test_size_that_deflate_cannot_reach_raises() -> None:
    """Without this check, 1 GB would be allocated before the content is read."""
    header = npy_of_shape((8, 2, 8192, 8192))[:128]
    with pytest.raises(RecordError, match=r"[0-9]+ compressed bytes cannot expand to 1,073,741,952"):
        load(forged(128 + 2**30, header + bytes(1000)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("side", [4, 300])
def test_wrong_checksum_raises(side: int, compressed: bool) -> None:
    events = np.zeros((8, 2, side, side), bool)
    content = savez(events, compressed=compressed)
    checksum = struct.pack("<L", zlib.crc32(npy(events)))
    assert content.count(checksum) == 2
    with pytest.raises(RecordError, match="Bad CRC-32"):
        load(content.replace(checksum, b"\1\2\3\4"))


def test_size_larger_than_the_content_raises() -> None:
    content = npy(np.zeros((8, 2, 64, 64), bool))
    with pytest.raises(RecordError, match=r"damaged \(ValueError: EOF: .*65536 bytes got 1000"):
        load(forged(len(content), content[:1128]))


def test_encrypted_file_raises() -> None:
    content = npy(EVENTS.numpy())
    with pytest.raises(RecordError, match=r"arr_0\.npy is encrypted"):
        load(forged(len(content), content, flags=1))


def test_too_large_file_raises(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        file.truncate(2**31 + 1)  # a sparse file takes no disk space
    assert_rejected(tmp_path / "a.npz", "has 2,147,483,649 bytes, more than the limit of 2,147,483,648")


def test_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(savez(EVENTS.numpy())[:-30])
    with pytest.raises(RecordError) as error:
        load_npz(path)
    assert str(error.value).startswith(f"{path}: not written by np.savez, or damaged")
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "missing.npz")
