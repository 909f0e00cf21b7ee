from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton.formats import (
    EVENT_DTYPE,
    RecordError,
    from_event_list,
    load_event_list,
    save_event_list,
    to_event_list,
)
from tests.i2e_triton.formats.events import dense_events, photograph_events
from tests.samples import assert_same_events

SUFFIXES = (".csv", ".npy", ".h5")
EVENTS = photograph_events("coffee", (23, 37))
LISTED = to_event_list(EVENTS)

# All examples share tmp_path: each overwrites the file of the previous one.
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@SHARED_FOLDER
@given(events=dense_events(timesteps=12), timestep_us=st.integers(1, 10**6), suffix=st.sampled_from(SUFFIXES))
def test_round_trip_of_every_format(events: Tensor, timestep_us: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"events{suffix}"
    save_event_list(path, events, timestep_us)
    listed = load_event_list(path)
    assert listed.dtype == EVENT_DTYPE
    assert np.array_equal(listed, to_event_list(events, timestep_us))
    assert_same_events(from_event_list(listed, len(events), (events.shape[2], events.shape[3]), timestep_us), events)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_events_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    paths = [f"{tmp_path}/new folder/{name}{suffix.upper()}" for name in ("a", "b")]
    for path in paths:
        save_event_list(path, EVENTS)
    assert sorted(os.listdir(tmp_path / "new folder")) == [f"{name}{suffix.upper()}" for name in ("a", "b")]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
    assert_same_events(from_event_list(load_event_list(paths[0]), 8, (23, 37)), EVENTS)


def test_csv_content(tmp_path: Path) -> None:
    events = torch.zeros(2, 2, 3, 4)
    events[0, 0, 1, 3] = events[1, 1, 2, 0] = 1
    save_event_list(tmp_path / "a.csv", events, 250)
    assert (tmp_path / "a.csv").read_bytes() == b"x,y,t,p\n3,1,0,1\n0,2,250,0\n"


def test_npy_is_read_by_numpy(tmp_path: Path) -> None:
    save_event_list(tmp_path / "a.npy", EVENTS)
    loaded = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert loaded.dtype == EVENT_DTYPE
    assert np.array_equal(loaded, LISTED)


def test_hdf5_attributes_restore_dense_events(tmp_path: Path) -> None:
    save_event_list(tmp_path / "a.h5", EVENTS, 125)
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = dict(file.attrs)
        assert {name: file["events"][name].dtype for name in file["events"]} == {
            "x": np.int16,
            "y": np.int16,
            "t": np.int64,
            "p": np.uint8,
        }
        assert np.array_equal(file["events/t"][:], LISTED["t"] // 8)
        assert np.array_equal(file["events/p"][:], LISTED["p"])
    assert attributes == {"timesteps": 8, "height": 23, "width": 37, "timestep_us": 125}
    timesteps, height, width, timestep_us = (
        attributes[name] for name in ("timesteps", "height", "width", "timestep_us")
    )
    dense = from_event_list(load_event_list(tmp_path / "a.h5"), timesteps, (height, width), timestep_us)
    assert_same_events(dense, EVENTS)


@pytest.mark.parametrize("text", ["x,y,t,p\r\n3,1,0,0\r\n0,2,250,1\r\n", "x,y,t,p\n3,1,0,0\n0,2,250,1"])
def test_csv_of_other_software_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert load_event_list(tmp_path / "a.csv").tolist() == [(3, 1, 0, False), (0, 2, 250, True)]


def test_npy_of_other_software_is_read(tmp_path: Path) -> None:
    other = LISTED[["p", "t", "x", "y"]].astype([("p", "u1"), ("t", ">u8"), ("x", "<i4"), ("y", "i8")])
    np.save(tmp_path / "a.npy", other)
    assert np.array_equal(load_event_list(tmp_path / "a.npy"), LISTED)


def test_hdf5_of_other_software_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file[f"events/{name}"] = LISTED[name].astype(bool if name == "p" else np.uint32)
    assert np.array_equal(load_event_list(tmp_path / "a.h5"), LISTED)


def test_long_csv_is_read_in_chunks(tmp_path: Path) -> None:
    events = torch.ones(8, 2, 75, 75)
    save_event_list(tmp_path / "a.csv", events)
    listed = load_event_list(tmp_path / "a.csv")
    assert len(listed) == 90_000
    assert np.array_equal(listed, to_event_list(events))
    whole = (tmp_path / "a.csv").read_text()
    for row, message in (
        ("1,2,3\n", "line 90002 must be x,y,t,p"),
        ("1,32768,3,1\n", "line 90002: y must be 0 to 32767, got 32768"),
    ):
        (tmp_path / "a.csv").write_text(whole + row)
        with pytest.raises(RecordError, match=message):
            load_event_list(tmp_path / "a.csv")


CSV = {
    "empty": ("", "line 1 must be x,y,t,p, got b''"),
    "no heading": ("1,2,3,1\n", "line 1 must be x,y,t,p, got b'1,2,3,1"),
    "another heading": ("t,x,y,p\n", "line 1 must be x,y,t,p, got b't,x,y,p"),
    "a long heading": ("x" * 10_000, "line 1 must be x,y,t,p, got b'xxxxxxxxx'"),
    "a missing column": ("x,y,t,p\n1,2,3,1\n1,2,3\n", "line 3 must be x,y,t,p with p 0 or 1, got b'1,2,3.n'"),
    "an extra column": ("x,y,t,p\n1,2,3,1,5\n", "line 2 must be"),
    "a fraction": ("x,y,t,p\n1,2,3.5,1\n", "line 2 must be"),
    "a word": ("x,y,t,p\n1,2,3,1\n1,two,3,1\n", "line 3 must be .* got b'1,two,3,1"),
    "an empty line": ("x,y,t,p\n1,2,3,1\n\n1,2,3,1\n", "line 3 must be"),
    "a negative x": ("x,y,t,p\n-1,2,3,1\n", "line 2 must be"),
    "polarity 2": ("x,y,t,p\n1,2,3,2\n", "line 2 must be x,y,t,p with p 0 or 1"),
    "y above the limit": ("x,y,t,p\n1,2,3,1\n1,2,3,1\n1,32768,3,1\n", "line 4: y must be 0 to 32767, got 32768"),
    "t of 19 digits": ("x,y,t,p\n1,2,9999999999999999999,1\n", "line 2 must be"),
    "a digit that is not ASCII": ("x,y,t,p\n１,2,3,1\n", "line 2 must be"),
    "a line of 3 MB": ("x,y,t,p\n1,2,3,1\n" + "1" * 3_000_000, "line 3 must be x,y,t,p .* b'1{64}'"),
}


def assert_rejected(path: Path, message: str) -> None:
    """Assert that reading raises an error that names the file, and that it allocates less than 2 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match=message) as error:
            load_event_list(path)
        assert str(error.value).startswith(f"{path}: ")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", CSV)
def test_invalid_csv_raises(case: str, tmp_path: Path) -> None:
    text, message = CSV[case]
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    assert_rejected(tmp_path / "a.csv", message)


def test_invalid_npy_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for array, message in (
        (np.zeros((8, 2, 3, 3), bool), "must have integer fields x, y, t, p, got bool"),
        (np.zeros((2, 2), EVENT_DTYPE), r"must have shape \[N\], got \[2, 2\]"),
        (np.array([(-1, 0, 0, 0)], EVENT_DTYPE), "event 0: x must be 0 to 32767, got -1"),
    ):
        np.save(path, array)
        assert_rejected(path, message)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert_rejected(path, "Python objects")
    np.save(path, LISTED)
    whole = path.read_bytes()
    huge = io.BytesIO()
    header = {"descr": EVENT_DTYPE.descr, "fortran_order": False, "shape": (900_000_000,)}
    np.lib.format.write_array_header_1_0(huge, header)
    for content, message in (
        (b"", "not written by np.save"),
        (whole[:-1], "events take .* bytes, but .* follow the header"),
        (whole + b"\0", "events take .* bytes, but .* follow the header"),
        (huge.getvalue() + whole[-13:], "900,000,000 events take more than"),
    ):
        path.write_bytes(content)
        assert_rejected(path, message)


def h5(path: Path, **columns: Any) -> Path:
    """Write an HDF5 file with the given datasets in the group ``events``."""
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"events/{name}"] = values
    return path


def write_virtual(path: Path) -> None:
    h5(path.with_name("other.h5"), **{name: LISTED[name].astype(np.int64) for name in "xytp"})
    with h5py.File(path, "w") as file:
        for name in "xytp":
            layout = h5py.VirtualLayout((len(LISTED),), np.int64)
            layout[:] = h5py.VirtualSource(path.with_name("other.h5"), f"events/{name}", (len(LISTED),))
            file.create_virtual_dataset(f"events/{name}", layout)


def write_external_link(path: Path) -> None:
    h5(path.with_name("other.h5"), **{name: LISTED[name].astype(np.int64) for name in "xytp"})
    with h5py.File(path, "w") as file:
        file["events"] = h5py.ExternalLink("other.h5", "events")


def write_external_storage(path: Path) -> None:
    path.with_name("secret").write_bytes(bytes(800))
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (100,), np.int64, external=[("secret", 0, 800)])


def write_unallocated(path: Path, length: int, **options: Any) -> None:
    """Create datasets but write no values. HDF5 reads them as zeros."""
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", (length,), np.uint8, **options)


def write_without_one_chunk(path: Path) -> None:
    write_unallocated(path, 30, chunks=(10,))
    with h5py.File(path, "a") as file:
        for name in "xyt":
            file[f"events/{name}"][:] = 0
        file["events/p"][:10] = file["events/p"][20:] = 0


H5: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not an HDF5 file, or damaged"),
    "garbage": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "not an HDF5 file, or damaged"),
    "no events": (lambda path: h5(path), "must contain a dataset events/x"),
    "no polarity": (lambda path: h5(path, x=[1], y=[1], t=[1]), "must contain a dataset events/p"),
    "different lengths": (lambda path: h5(path, x=[1, 2], y=[1], t=[1], p=[1]), r"different lengths: \[1, 2\]"),
    "floats": (
        lambda path: h5(path, x=[0.5], y=[1], t=[1], p=[1]),
        r"events/x must be integers \[N\], got float",
    ),
    "two dimensions": (
        lambda path: h5(path, x=[1], y=[[1]], t=[1], p=[1]),
        r"events/y must be integers \[N\], .* \[1, 1\]",
    ),
    "a scalar": (lambda path: h5(path, x=[1], y=[1], t=1, p=[1]), r"events/t must be integers \[N\]"),
    "text": (lambda path: h5(path, x=["one"], y=[1], t=[1], p=[1]), r"events/x must be integers"),
    "a group": (lambda path: h5(path, **{"x/z": [1]}), "must contain a dataset events/x"),
    "polarity 2": (lambda path: h5(path, x=[1, 1], y=[1, 1], t=[1, 1], p=[1, 2]), "event 1: p must be 0 to 1, got 2"),
    "virtual dataset": (write_virtual, "must contain a dataset events/x that is not a link, virtual or external"),
    "link to another file": (
        write_external_link,
        "must contain a dataset events/x that is not a link, virtual or external",
    ),
    "external storage": (
        write_external_storage,
        "must contain a dataset events/x that is not a link, virtual or external",
    ),
    "10^12 events": (
        lambda path: write_unallocated(path, 10**12, chunks=(1000,)),
        "1,000,000,000,000 events take more than",
    ),
    "no values": (lambda path: write_unallocated(path, 1000), "but the file does not store all of them"),
    "no chunks": (
        lambda path: write_unallocated(path, 160_000_000, chunks=(2**20,)),
        "events/x has 160,000,000 elements, but the file does not store all of them",
    ),
    "no chunks of one event": (
        lambda path: write_unallocated(path, 1_000_000, chunks=(1,)),
        "events/x has 1,000,000 elements, but the file does not store all of them",
    ),
    "a chunk is missing": (
        write_without_one_chunk,
        "events/p has 30 elements, but the file does not store all of them",
    ),
    "a chunk of 1 GB": (
        lambda path: write_unallocated(path, 10, chunks=(2**30,), maxshape=(None,), compression="gzip"),
        "chunks of events/x must have at most 1,048,576 elements, got 1,073,741,824",
    ),
}


@pytest.mark.parametrize("case", H5)
def test_invalid_hdf5_raises(case: str, tmp_path: Path) -> None:
    write, message = H5[case]
    write(tmp_path / "a.h5")
    assert_rejected(tmp_path / "a.h5", message)


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (1,)}, {"chunks": (64,), "compression": "lzf"}, {"fletcher32": True}]
)
def test_every_hdf5_layout_is_read(options: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", data=LISTED[name][:3000].astype(np.int64), **options)
    np.testing.assert_array_equal(load_event_list(tmp_path / "a.h5"), LISTED[:3000])
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", data=LISTED[name][:0].astype(np.int64), maxshape=(None,))
    assert len(load_event_list(tmp_path / "empty.h5")) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_or_missing_file_raises(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileNotFoundError):
        load_event_list(path)
    save_event_list(path, EVENTS)
    path.write_bytes(path.read_bytes()[:-2])
    if suffix == ".csv":  # the truncated last line is still a valid event
        assert_rejected(path, "line [0-9]+ must be x,y,t,p")
    else:
        assert_rejected(path, "follow the header|damaged")


def test_too_large_file_raises(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with (tmp_path / f"a{suffix}").open("wb") as file:
            file.truncate(2**31 + 1)  # a sparse file takes no disk space
        assert_rejected(tmp_path / f"a{suffix}", "has 2,147,483,649 bytes, more than the limit of 2,147,483,648")


@pytest.mark.parametrize("name", ["a", "a.txt", "a.npz", ".csv"])
def test_unknown_suffix_raises(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"the suffix of an event list must be .csv, .npy, .h5, got '{name}'"):
        save_event_list(tmp_path / name, EVENTS)
    with pytest.raises(ValueError, match=r"the suffix of an event list must be \.csv, \.npy, \.h5"):
        load_event_list(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_invalid_events_leave_an_existing_file_unchanged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    for events, timestep_us in ((EVENTS + 2.0, 1000), (EVENTS[0], 1000), (EVENTS, 0)):
        with pytest.raises(ValueError):
            save_event_list(path, events, timestep_us)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]
