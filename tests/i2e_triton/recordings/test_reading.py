from __future__ import annotations

import sys
from pathlib import Path

import faery
import numpy as np
import pytest

from i2e_triton.formats import EVENT_DTYPE
from i2e_triton.recordings import RecordingError, open_recording
from tests.i2e_triton.recordings.files import FORMATS, HEIGHT, WIDTH, random_events, write_recording


def size_for(suffix: str) -> tuple[int, int] | None:
    return (HEIGHT, WIDTH) if suffix == ".bin" else None


def read(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    packets = list(open_recording(path, size).packets())
    events = np.empty(sum(map(len, packets)), EVENT_DTYPE)
    for name in "xytp":
        events[name] = np.concatenate([packet[name] for packet in packets])
    return events


@pytest.mark.parametrize("suffix", FORMATS)
def test_events_are_read(suffix: str, tmp_path: Path) -> None:
    events = random_events(5000, 1_000_000)
    path = write_recording(tmp_path / f"a{suffix}", events)
    recording = open_recording(path, size_for(suffix))
    assert recording.size == (HEIGHT, WIDTH)
    assert (read(path, size_for(suffix)) == events).all()


@pytest.mark.parametrize("version", ["evt2", "evt3"])
def test_other_versions_of_raw_files_are_read(version: str, tmp_path: Path) -> None:
    events = random_events(5000, 1_000_000)
    packet = np.zeros(len(events), faery.events_stream.EVENTS_DTYPE)
    for name in "xytp":
        packet[name] = events[name]
    stream = faery.events_stream_from_array(packet, (WIDTH, HEIGHT))
    stream.to_file(tmp_path / "a.raw", version=version, zero_t0=False)
    assert (read(tmp_path / "a.raw") == events).all()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b"not a recording" * 1000, bytes(4096)])
def test_empty_and_foreign_files_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"a\.\w+: (the file is empty|not a|truncated|event \d+: [xy] must)"):
        read(path, size_for(suffix))


def test_an_aedat4_file_that_is_truncated_in_a_packet_names_the_events_before_it(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.aedat4", random_events(20_000, 1_000_000))
    with faery.file_decoder.aedat.Decoder(path) as decoder:
        packets = decoder.file_data_definitions()
    third = packets[2].byte_offset - 8  # with its header
    events = sum(packet.elements_count for packet in packets[:2])
    for length in (third + 4, third + 20):
        short = tmp_path / "short.aedat4"
        short.write_bytes(path.read_bytes()[:length])
        with pytest.raises(RecordingError, match=rf"truncated after {events:,} events"):
            read(short)


@pytest.mark.parametrize("length", [5, 30, 100])
def test_an_aedat4_file_that_is_truncated_in_its_header_is_refused(length: int, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.aedat4", random_events(100, 1000))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecordingError, match=r"a\.aedat4: not a"):
        read(path)


@pytest.mark.parametrize(("suffix", "unit"), [(".raw", 4), (".dat", 8), (".bin", 5)])
def test_a_file_that_ends_within_an_event_names_its_offset(suffix: str, unit: int, tmp_path: Path) -> None:
    path = write_recording(tmp_path / f"a{suffix}", random_events(1000, 1_000_000))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    ends, begins = len(content) - 1, len(content) - unit
    message = rf"ends at byte {ends:,}, within the event at byte {begins:,}"
    with pytest.raises(RecordingError, match=message):
        open_recording(path, (HEIGHT, WIDTH))


@pytest.mark.parametrize("suffix", [".raw", ".dat"])
def test_a_file_with_a_header_only_has_no_events(suffix: str, tmp_path: Path) -> None:
    path = write_recording(tmp_path / f"a{suffix}", random_events(1, 1))
    unit = {".raw": 8, ".dat": 8}[suffix]  # EVT2 stores the time in a word of its own
    path.write_bytes(path.read_bytes()[:-unit])
    with pytest.raises(RecordingError, match="contains no events"):
        read(path)


def test_events_outside_of_the_sensor_are_refused(tmp_path: Path) -> None:
    events = random_events(1000, 1000)
    path = write_recording(tmp_path / "a.dat", events)
    first = int(np.flatnonzero(events["x"] >= 20)[0])
    with pytest.raises(RecordingError, match=rf"event {first}: x must be less than 20, got {events['x'][first]}"):
        read(path, (HEIGHT, 20))


def test_other_suffixes_and_unknown_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"suffix of a recording must be one of \.aedat4, \.raw, \.dat, \.bin, \.hdf5, \.h5, got"
    ):
        open_recording(tmp_path / "a.csv")
    path = write_recording(tmp_path / "a.bin", random_events(10, 1000))
    with pytest.raises(ValueError, match="does not state the size of the sensor"):
        open_recording(path)
    path = write_recording(tmp_path / "a.dat", random_events(10, 1000))
    path.write_bytes(b"\n".join(line for line in path.read_bytes().split(b"\n") if b"Height" not in line))
    with pytest.raises(ValueError, match="does not state the size of the sensor"):
        open_recording(path)


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recording(tmp_path / "a.dat", random_events(10, 1000))
    monkeypatch.setitem(sys.modules, "faery", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package faery: pip .*\[recordings\]'"):
        open_recording(path)
