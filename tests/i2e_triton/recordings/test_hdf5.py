from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from i2e_triton.formats import save_event_list
from i2e_triton.recordings import RecordingError, WindowRule, hdf5, open_recording, windows
from tests.i2e_triton.cli.conftest import I2E, i2e
from tests.i2e_triton.recordings.files import HEIGHT, METAVISION_DTYPE, WIDTH, random_events, write_recording
from tests.i2e_triton.recordings.test_reading import read

__all__ = ["i2e"]

EVENTS = random_events(5000, 1_000_000)
LISTED = EVENTS[["x", "y", "p", "t"]].astype(METAVISION_DTYPE)


def write(path: Path, events: np.ndarray = LISTED, geometry: Any = f"{WIDTH}x{HEIGHT}", **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = geometry
        file.create_dataset("CD/events", data=events, **options)
    return path


def write_with_filter(path: Path, number: int) -> Path:
    """Write a file whose chunks are compressed by a filter that is not installed."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((len(LISTED),))
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        kind, space = h5py.h5t.py_create(METAVISION_DTYPE), h5py.h5s.create_simple((len(LISTED),))
        dataset = h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, properties)
        dataset.write_direct_chunk((0,), b"compressed events")
    return path


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (4096,)}, {"chunks": (8192,), "maxshape": (None,)}, {"chunks": (512,), "shuffle": True}]
)
@pytest.mark.parametrize("geometry", [f"{WIDTH}x{HEIGHT}", np.bytes_(f"{WIDTH}x{HEIGHT}")])
def test_events_are_read_in_each_layout(options: dict[str, Any], geometry: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", geometry=geometry, **options)
    assert open_recording(path).size == (HEIGHT, WIDTH)
    assert (read(path) == EVENTS).all()


def test_a_packet_has_whole_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_EVENTS_PER_PACKET", 1000)
    sizes = {
        chunk: [len(packet) for packet in hdf5.packets(write(tmp_path / "a.hdf5", chunks=(chunk,)))]
        for chunk in (300, 2000)
    }
    assert sizes == {300: [900] * 5 + [500], 2000: [2000, 2000, 1000]}


def test_windows_of_equal_count_are_imported(i2e: I2E, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", chunks=(512,))
    assert i2e("import", path, "-o", tmp_path / "out", "--count", 300).status == 0
    expected = list(windows([EVENTS], (HEIGHT, WIDTH), WindowRule(count=300)))
    assert f"{len(expected)} images, 30 x 40, 8 timesteps" in i2e("stats", tmp_path / "out").out


@pytest.mark.parametrize("length", [100, 5000, -1])
def test_a_truncated_file_writes_nothing(length: int, i2e: I2E, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.hdf5", EVENTS)
    path.write_bytes(path.read_bytes()[:length])
    done = i2e("import", path, "-o", tmp_path / "out", "--count", 300)
    assert done.status == 1
    message = " ".join(done.err.split())
    assert "a.hdf5: not an HDF5 file, or damaged: " in message
    assert f"truncated file: eof = {path.stat().st_size}" in message or length == 100
    assert not (tmp_path / "out").exists()


def test_a_file_without_some_of_its_chunks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", chunks=(512,), maxshape=(None,))
    with h5py.File(path, "a") as file:
        file["CD/events"].resize(6000, axis=0)
    with pytest.raises(RecordingError, match=r"a\.hdf5: truncated: it does not store all of its 6,000 events"):
        open_recording(path)


def test_a_damaged_chunk_names_the_events_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_EVENTS_PER_PACKET", 2048)
    path = write(tmp_path / "a.hdf5", chunks=(2048,), compression="gzip")
    with h5py.File(path) as file:
        offset = file["CD/events"].id.get_chunk_info(1).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(bytes(64))
    with pytest.raises(RecordingError, match=r"a\.hdf5: damaged after 2,048 events: "):
        read(path)


def test_events_outside_of_the_stated_geometry_are_refused(tmp_path: Path) -> None:
    first = int(np.flatnonzero(EVENTS["x"] >= 20)[0])
    with pytest.raises(RecordingError, match=rf"event {first}: x must be less than 20, got {EVENTS['x'][first]}"):
        read(write(tmp_path / "a.hdf5", geometry=f"20x{HEIGHT}"))


@pytest.mark.parametrize(("field", "value", "limit"), [("p", -1, 1), ("p", 2, 1), ("t", -5, 2**63 - 1)])
def test_invalid_values_are_refused(
    field: str, value: int, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_EVENTS_PER_PACKET", 1000)
    events = LISTED.copy()
    events[field][3000] = value
    with pytest.raises(RecordingError, match=rf"a\.hdf5: event 3000: {field} must be 0 to {limit}, got {value}"):
        read(write(tmp_path / "a.hdf5", events, chunks=(512,)))


@pytest.mark.parametrize("geometry", ["", "large", 40, np.bytes_(b"\xff")])
def test_a_file_without_geometry_needs_a_size(geometry: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", geometry=geometry)
    with pytest.raises(ValueError, match="does not state the size of the sensor"):
        open_recording(path)
    assert (read(path, (HEIGHT, WIDTH)) == EVENTS).all()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (36559, r"36559 \(ECF of Prophesee\), .* set HDF5_PLUGIN_PATH .*, or convert it with metavision_file_to_dat"),
        (40000, "40000, which is not installed. .* set HDF5_PLUGIN_PATH to the folder of the plugin$"),
    ],
)
def test_a_filter_that_is_not_installed_is_named_with_a_remedy(number: int, message: str, tmp_path: Path) -> None:
    path = write_with_filter(tmp_path / "a.hdf5", number)
    with pytest.raises(RecordingError, match=rf"a\.hdf5: the events are compressed with HDF5 filter {message}"):
        open_recording(path)


def test_event_lists_of_this_package_are_refused_with_their_reader(tmp_path: Path) -> None:
    save_event_list(tmp_path / "a.h5", torch.ones(8, 2, HEIGHT, WIDTH))
    with pytest.raises(RecordingError, match=r"a dataset /CD/events .*load_event_list reads event lists"):
        open_recording(tmp_path / "a.h5")


@pytest.mark.parametrize("layout", ["no events", "a group", "matrix", "other fields", "soft link", "external link"])
def test_other_layouts_are_refused(layout: str, tmp_path: Path) -> None:
    write(tmp_path / "other.hdf5")
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"
        if layout == "a group":
            file.create_group("CD/events")
        elif layout == "matrix":
            file["CD/events"] = LISTED.reshape(50, 100)
        elif layout == "other fields":
            file["CD/events"] = LISTED[["x", "y", "t"]]
        elif layout == "soft link":
            file["events"] = LISTED
            file["CD/events"] = h5py.SoftLink("/events")
        elif layout == "external link":
            file["CD/events"] = h5py.ExternalLink("other.hdf5", "/CD/events")
    with pytest.raises(
        RecordingError, match=r"a\.hdf5: (not a recording of Prophesee|events must have integer fields)"
    ):
        open_recording(path)


def test_chunks_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_LARGEST_CHUNK", 1000)
    with pytest.raises(RecordingError, match="chunks must have at most 1,000 events, got 2,000"):
        open_recording(write(tmp_path / "a.hdf5", chunks=(2000,)))
