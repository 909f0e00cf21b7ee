"""Damaged and malicious tars raise an error that names file and sample.

``tests/i2e_triton/io/test_tar.py`` tests what is common with tars of images.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from i2e_triton.datasets import EventDataset, RecordError
from tests.i2e_triton.datasets.builders import packed_record, random_events, tar_members, write_tar


@pytest.mark.parametrize("timesteps", ["9", "0", "true", '"5"'])
def test_invalid_number_of_timesteps_raises(timesteps: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("0.npy", b""), ("0.json", b'{"timesteps": %s}' % timesteps.encode())])
    with pytest.raises(RecordError, match=rf"^{path}: the sample '0' must have 1 to 8 timesteps, got"):
        EventDataset(path)


def test_events_after_the_last_timestep_raise(tmp_path: Path) -> None:
    record = packed_record(torch.ones(5, 2, 7, 9, dtype=torch.bool))
    path = write_tar(tmp_path / "a.tar", [("0.npy", record), ("1.npy", record), ("1.json", b'{"timesteps": 2}')])
    dataset = EventDataset(path)
    assert dataset[0][0].sum() == 5 * 2 * 7 * 9
    with pytest.raises(RecordError, match=rf"^{path}: sample 1: .*but 2 timesteps"):
        dataset[1]


def test_duplicate_events_of_a_sample_raise(tmp_path: Path, generator: torch.Generator) -> None:
    members = [*tar_members(random_events(2, generator)), ("000000001.npz", b"")]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(RecordError, match=r"sample '000000001' has two data files; the second is '000000001\.npz'"):
        EventDataset(path)
    with pytest.raises(ValueError, match=r"uncompressed tars \(\.tar\)"):
        EventDataset(path.rename(tmp_path / "a.tar.gz"))


def test_tar_that_shrank_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(random_events(3, generator)))
    dataset = EventDataset(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(RecordError, match=r"a\.tar: sample 2: .* the tar has changed"):
        dataset[2]
