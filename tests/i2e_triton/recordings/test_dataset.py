"""Public data sets of recordings, in their usual files, are read through Tonic and SpikingJelly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tonic.datasets
import torch
from spikingjelly.datasets.base import NeuromorphicDatasetFolder
from torch.utils.data import DataLoader

from i2e_triton import unpack
from i2e_triton.formats import from_event_list
from i2e_triton.recordings import RecordedEvents
from tests.i2e_triton.recordings.files import HEIGHT, WIDTH, random_events, write_recording

SIZE = HEIGHT, WIDTH
#: The file of a recording of class 3 in each of Tonic's data sets.
FILES = {
    tonic.datasets.CIFAR10DVS: "CIFAR10DVS/cat/cifar10_cat_0.aedat4",
    tonic.datasets.NMNIST: "NMNIST/Train/3/00001.bin",
    tonic.datasets.NCALTECH101: "NCALTECH101/Caltech101/3/image_0001.bin",
    tonic.datasets.DVSGesture: "DVSGesture/ibmGestureTrain/user01_fluorescent/3.npy",
}


def expected_of(events: np.ndarray, timesteps: int = 8) -> torch.Tensor:
    """Return the dense events of a recording whose duration is a multiple of the timesteps."""
    moved = events.copy()
    moved["t"] -= events["t"][0]
    return from_event_list(moved, timesteps, SIZE, (int(moved["t"][-1]) + 1) // timesteps)


def recording(seed: int = 0) -> np.ndarray:
    """Return random events of 8 ms, in whole milliseconds as in the files of DVS128 Gesture, with all coordinates."""
    events = random_events(2000, 1, seed)
    events["t"] = np.arange(2000) // 250 * 1000
    events["t"][-1] = 7999
    events["x"][:2], events["y"][:2] = (0, WIDTH - 1), (0, HEIGHT - 1)
    return events


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_tonic(kind: type[tonic.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, path = recording(), tmp_path / FILES[kind]
    if path.suffix == ".npy":
        path.parent.mkdir(parents=True)
        columns = [events["x"], events["y"], events["p"], events["t"] // 1000]
        np.save(path, np.stack(columns, axis=1).astype(np.int64))
    else:
        write_recording(path, events)
    monkeypatch.setattr(kind, "_check_exists", lambda self: True)
    dataset = RecordedEvents(kind(save_to=str(tmp_path)), SIZE, dtype=torch.bool)
    assert len(dataset) == 1
    found, label = dataset[0]
    assert int(label) == 3
    assert found.shape == (8, 2, *SIZE)
    assert found.any(0).equal(expected_of(recording()).any(0))
    if path.suffix != ".npy":  # whose times are rounded to milliseconds
        assert torch.equal(found, expected_of(events))
        packed = RecordedEvents(dataset.dataset, SIZE, packed=True)[0][0]
        assert torch.equal(unpack(packed, 8, torch.bool), found)


def test_spikingjelly(tmp_path: Path) -> None:
    for label, name in enumerate(("a", "b")):
        events = recording(seed=label)
        folder = tmp_path / "events_np" / "train" / name
        folder.mkdir(parents=True)
        np.savez(folder / "0.npz", t=events["t"], x=events["x"], y=events["y"], p=events["p"])
    rows = NeuromorphicDatasetFolder(str(tmp_path), train=True, data_type="event")
    found, labels = next(iter(DataLoader(RecordedEvents(rows, SIZE, dtype=torch.bool), batch_size=2)))
    assert labels.tolist() == [0, 1]
    assert torch.equal(found, torch.stack([expected_of(recording(seed=label)) for label in (0, 1)]))


def test_a_wrong_sensor_is_refused() -> None:
    rows = [(recording(), 0), (recording()[:0], 0)]
    with pytest.raises(ValueError, match=r"recording 0 has events up to y 29, x 39, outside of the sensor \(30, 39\)"):
        RecordedEvents(rows, (30, 39))[0]
    with pytest.raises(ValueError, match="recording 1 has no events"):
        RecordedEvents(rows, SIZE)[1]
