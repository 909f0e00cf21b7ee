from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.datasets import EventDataset
from i2e_triton.recordings import WindowRule, importing, windows
from tests.i2e_triton.cli.conftest import I2E, files_in, i2e, plain
from tests.i2e_triton.recordings.files import FORMATS, HEIGHT, WIDTH, random_events, write_recording

__all__ = ["i2e"]


def rows_of(folder: Path, split: str = "train") -> torch.Tensor:
    dataset = EventDataset(folder, split, packed=True)
    return torch.stack([dataset[row][0] for row in range(len(dataset))])


def times_of(folder: Path) -> list[int]:
    return [time for path in sorted(folder.glob("*.parquet")) for time in pq.read_table(path)["time_us"].to_pylist()]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_recording_becomes_a_data_set(suffix: str, i2e: I2E, tmp_path: Path) -> None:
    events = random_events(5000, 1_000_000)
    path = write_recording(tmp_path / f"a{suffix}", events)
    done = i2e("import", path, "-o", tmp_path / "out", "--window-us", 50_000, "--size", HEIGHT, WIDTH)
    assert (done.status, done.err) == (0, "")
    expected = list(windows([events], (HEIGHT, WIDTH), WindowRule(window_us=50_000)))
    assert torch.equal(rows_of(tmp_path / "out"), torch.stack([window.packed for window in expected]))
    assert times_of(tmp_path / "out") == [window.time_us for window in expected]
    assert i2e("dataset", "verify", tmp_path / "out").status == 0
    assert "20 images, 30 x 40, 8 timesteps" in i2e("stats", tmp_path / "out").out


def test_windows_of_equal_count_and_fewer_timesteps(i2e: I2E, tmp_path: Path) -> None:
    events = random_events(1000, 1_000_000)
    path = write_recording(tmp_path / "a.raw", events)
    i2e("import", path, "-o", tmp_path / "out", "--count", 300, "--timesteps", 3, "--split", "test")
    expected = list(windows([events], (HEIGHT, WIDTH), WindowRule(count=300, timesteps=3)))
    assert torch.equal(rows_of(tmp_path / "out", "test"), torch.stack([window.packed for window in expected]))
    assert EventDataset(tmp_path / "out").timesteps == 3


def test_class_folders_become_labels_and_a_fixed_test_split(i2e: I2E, tmp_path: Path) -> None:
    recordings = {
        f"{name}/{number}": random_events(200, 10_000 * (number + 1), seed=number)
        for name in ("cat", "dog")
        for number in range(10)
    }
    for name, events in recordings.items():
        write_recording(tmp_path / "in" / f"{name}.aedat4", events)
    done = i2e("import", tmp_path / "in", "-o", tmp_path / "out", "--whole", "--test-fraction", 0.2)
    assert done.status == 0
    train, test = (EventDataset(tmp_path / "out", split) for split in ("train", "test"))
    assert train.classes == ["cat", "dog"]
    assert (train.targets, test.targets) == ([0] * 8 + [1] * 8, [0] * 2 + [1] * 2)
    expected = []
    for events in recordings.values():
        rule = WindowRule(window_us=int(events["t"][-1] - events["t"][0]) + 1)
        (window,) = windows([events], (HEIGHT, WIDTH), rule)
        expected.append(window.packed.numpy().tobytes())
    found = [*rows_of(tmp_path / "out", "train"), *rows_of(tmp_path / "out", "test")]
    assert sorted(row.numpy().tobytes() for row in found) == sorted(expected)


def test_an_interrupted_import_resumes_with_the_same_bytes(
    i2e: I2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_PER_SHARD", 4)
    path = write_recording(tmp_path / "a.aedat4", random_events(5000, 100_000))
    command = ("import", path, "--window-us", 5_000, "-o")
    i2e(*command, tmp_path / "whole")
    record_files = importing.record_files

    def interrupted(out: Path, shard: Any, *rest: Any) -> Any:
        if shard.index == 2:
            signal.raise_signal(signal.SIGINT)
        return record_files(out, shard, *rest)

    monkeypatch.setattr(importing, "record_files", interrupted)
    done = i2e(*command, tmp_path / "parts")
    assert done.status == 130
    assert "rerun the same command to resume" in done.err
    assert len(list((tmp_path / "parts").glob("*.parquet"))) == 3
    monkeypatch.setattr(importing, "record_files", record_files)
    resumed = i2e(*command, tmp_path / "parts")
    assert resumed.status == 0
    assert "resuming: 3 of 5 shards are finished" in resumed.err
    whole, parts = files_in(tmp_path / "whole"), files_in(tmp_path / "parts")
    assert len(whole) == 6
    assert whole == parts
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes() for name in whole)


def test_other_options_do_not_resume(i2e: I2E, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.dat", random_events(100, 100_000))
    assert i2e("import", path, "-o", tmp_path / "out", "--window-us", 5_000).status == 0
    done = i2e("import", path, "-o", tmp_path / "out", "--window-us", 6_000)
    assert done.status == 1
    assert "window_us was 5000 and is 6000" in done.err


def test_nothing_is_written_if_one_recording_is_truncated(i2e: I2E, tmp_path: Path) -> None:
    write_recording(tmp_path / "in" / "a" / "1.aedat4", random_events(100, 1000))
    broken = write_recording(tmp_path / "in" / "b" / "1.aedat4", random_events(9000, 1000))
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    done = i2e("import", tmp_path / "in", "-o", tmp_path / "out", "--whole")
    assert done.status == 1
    assert "b/1.aedat4: damaged or truncated after" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "one of --window-us N, --count N and --whole"),
        (("--window-us", 1, "--count", 1), "one of --window-us N, --count N and --whole"),
        (("--count", 0), "must be at least 1, got 0"),
        (("--whole", "--size", 0, 4), "height and width must be at least 1 pixel, got 0 4"),
        (("--whole", "--test-fraction", 2), "must be in 0, 1"),
        (("--whole", "--timesteps", 9), "must be 1 to 8, got 9"),
    ],
)
def test_invalid_options(options: tuple[object, ...], message: str, i2e: I2E, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.dat", random_events(100, 100_000))
    done = i2e("import", path, "-o", tmp_path / "out", *options)
    assert done.status == 2
    assert message in plain(done.err).replace("[", "").replace("]", "")
    assert not (tmp_path / "out").exists()


def test_recordings_are_not_pushed_with_the_card_of_images(i2e: I2E, tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.dat", random_events(100, 100_000))
    i2e("import", path, "-o", tmp_path / "out", "--whole")
    done = i2e("push", tmp_path / "out", "someone/recordings", "--license", "mit")
    assert done.status == 1
    assert "contains recordings, which the card cannot describe" in done.err


def test_a_folder_without_recordings_is_refused(i2e: I2E, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = i2e("import", tmp_path / "in", "-o", tmp_path / "out", "--whole")
    assert done.status == 1
    assert "contains no recordings: no files that end in .aedat4, .raw, .dat, .bin, .hdf5, .h5" in done.err


@pytest.mark.slow
def test_i2e_train_reads_an_imported_data_set(i2e: I2E, tmp_path: Path) -> None:
    for name, side in (("left", 0), ("right", 16)):
        for number in range(10):
            events = random_events(800, 50_000, seed=number)
            events["x"] = events["x"] % 16 + side
            write_recording(tmp_path / "in" / name / f"{number}.raw", events)
    options = ("--whole", "--test-fraction", 0.2, "--size", 32, 32)
    assert i2e("import", tmp_path / "in", "-o", tmp_path / "out", *options).status == 0
    training = ("--epochs", 1, "--batch-size", 8, "--workers", 0, "--out", tmp_path / "run")
    assert i2e("train", "--data", tmp_path / "out", *training).status == 0
    assert (tmp_path / "run" / "best.pt").is_file()
