"""Files of event cameras are read back by the libraries that other people read them with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import aedat
import expelliarmus
import numpy as np
import pytest
import tonic.io
import torch

from i2e_triton import convert
from i2e_triton.formats import EVENT_DTYPE, to_event_list
from i2e_triton.formats.camera_files import CAMERA_FORMATS, write_camera_file
from tests.samples import photograph

HEIGHT, WIDTH = 120, 200


@pytest.fixture(scope="module")
def listed() -> np.ndarray:
    """Return the event list of a photograph of 120 x 200 pixels, with times up to 7 s."""
    return to_event_list(convert(photograph("astronaut")[:, :HEIGHT, :WIDTH], dtype=torch.bool), 1_000_000)


def read_with_aedat(path: Path) -> np.ndarray:
    (stream,) = aedat.Decoder(path).id_to_stream().values()
    assert (stream["type"], stream["width"], stream["height"]) == ("events", WIDTH, HEIGHT)
    return np.concatenate([packet["events"] for packet in aedat.Decoder(path)])


def read_with_evlib(path: Path) -> np.ndarray:
    evlib = pytest.importorskip("evlib")
    table = evlib.formats.load_events(str(path)).collect()
    events = np.empty(len(table), EVENT_DTYPE)
    events["x"], events["y"] = table["x"].to_numpy(), table["y"].to_numpy()
    events["t"], events["p"] = table["t"].dt.total_microseconds().to_numpy(), table["polarity"].to_numpy() > 0
    return events


def read_with_expelliarmus(encoding: str) -> Callable[[Path], np.ndarray]:
    return lambda path: expelliarmus.Wizard(encoding=encoding).read(path)


READERS = [
    ("aedat4", read_with_aedat),
    ("aedat4", lambda path: tonic.io.read_aedat4(str(path))),
    ("evt2", read_with_evlib),
    ("evt2", read_with_expelliarmus("evt2")),
    ("dat", read_with_expelliarmus("dat")),
    ("nmnist", lambda path: tonic.io.read_mnist_file(str(path), EVENT_DTYPE)),
]
NAMES = ["aedat4-aedat", "aedat4-tonic", "evt2-evlib", "evt2-expelliarmus", "dat-expelliarmus", "nmnist-tonic"]


@pytest.mark.parametrize(("format", "read"), READERS, ids=NAMES)
def test_round_trip(format: str, read: Callable[[Path], np.ndarray], listed: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a{CAMERA_FORMATS[format].suffix}"
    write_camera_file(path, format, np.array_split(listed, 3), (HEIGHT, WIDTH))
    found = read(path)
    assert len(found) == len(listed) > 9_000
    for name in "xytp":
        assert (found[name] == listed[name]).all()


@pytest.mark.parametrize("format", CAMERA_FORMATS)
def test_limits(format: str, tmp_path: Path) -> None:
    limits = CAMERA_FORMATS[format]
    event = np.array([(0, 0, (1 << limits.time_bits) - 1, True)], EVENT_DTYPE)
    write_camera_file(tmp_path / "a", format, [event, event[:0]], (limits.height, limits.width))
    with pytest.raises(ValueError, match=rf"at most {limits.height} x {limits.width} pixels, got {limits.height + 1}"):
        write_camera_file(tmp_path / "b", format, [event], (limits.height + 1, limits.width))
    if format != "aedat4":
        event["t"] += 1
        with pytest.raises(ValueError, match="stores times below"):
            write_camera_file(tmp_path / "b", format, [event], (4, 4))


@pytest.mark.parametrize("format", CAMERA_FORMATS)
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full exists on Linux only")
def test_a_full_disk_is_an_os_error(format: str, listed: np.ndarray) -> None:
    with pytest.raises(OSError):
        write_camera_file(Path("/dev/full"), format, [listed], (HEIGHT, WIDTH))


def test_missing_faery_names_the_extra(monkeypatch: pytest.MonkeyPatch, listed: np.ndarray, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "faery.events_stream", None)
    with pytest.raises(ModuleNotFoundError, match=r"^aedat4 needs the package faery.*: pip .*\[recordings\]'$"):
        write_camera_file(tmp_path / "a", "aedat4", [listed], (HEIGHT, WIDTH))
