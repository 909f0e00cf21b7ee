"""EventDataset accepts folders, files and globs, and raises errors for ambiguous locations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from i2e_triton.datasets import EventDataset, RecordError
from tests.i2e_triton.datasets.builders import random_events, tar_members, write_npz, write_official, write_tar
from tests.samples import assert_same_events


def write_shards(folder: Path, split: str, counts: list[int], suffix: str = "") -> list[Path]:
    """Write one Parquet shard with each number of rows. The label of a row is its number in the split."""
    paths, first = [], 0
    for index, rows in enumerate(counts):
        path = folder / f"{split}-{index:05d}-of-{len(counts):05d}{suffix}.parquet"
        paths.append(write_official(path, random_events(rows, torch.Generator()), first))
        first += rows
    return paths


@pytest.mark.parametrize("inner", [".", "data", "I2E-CIFAR10"])
@pytest.mark.parametrize("suffix", ["", "-0123456789abcdef"])
def test_hub_folder_is_opened(inner: str, suffix: str, tmp_path: Path) -> None:
    write_shards(tmp_path / inner, "train", [3, 2, 4], suffix)
    write_shards(tmp_path / inner, "validation", [2], suffix)
    (tmp_path / "README.md").write_text("a card")
    # Hidden files of the hub's downloader.
    for hidden in (".cache/other.parquet", ".i2e-0123.part.parquet"):
        write_official(tmp_path / hidden, random_events(1, torch.Generator()))
    assert EventDataset(tmp_path, "train").targets == list(range(9))
    assert len(EventDataset(str(tmp_path), "validation")) == 2
    with pytest.raises(ValueError, match="has several splits; pass split, one of train, validation"):
        EventDataset(tmp_path)
    with pytest.raises(ValueError, match="has no split 'test'; pass one of train, validation"):
        EventDataset(tmp_path, "test")


def test_numbered_shards_are_opened(tmp_path: Path) -> None:
    generator = torch.Generator()
    for config in ("I2E-CIFAR10", "I2E-CIFAR100"):
        for split, first in (("train", 0), ("train", 3), ("test", 0)):
            write_official(tmp_path / config / split / f"{first:04d}.parquet", random_events(3, generator), first)
    assert EventDataset(tmp_path / "I2E-CIFAR10", "train").targets == list(range(6))
    assert EventDataset(tmp_path / "I2E-CIFAR10" / "test").targets == list(range(3))
    with pytest.raises(ValueError, match=r"found more than one data set; choose one of .*I2E-CIFAR10, .*I2E-CIFAR100"):
        EventDataset(tmp_path, "train")


def test_files_and_globs_are_opened(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, "train", [3, 2, 4])
    assert EventDataset(paths[1]).targets == [3, 4]
    assert EventDataset([paths[2], str(paths[0])]).targets == [5, 6, 7, 8, 0, 1, 2]
    assert EventDataset(f"{tmp_path}/train-*.parquet").targets == list(range(9))
    write_shards(tmp_path, "validation", [1])
    assert EventDataset(f"{tmp_path}/*.parquet", "validation").targets == [0]
    assert len(EventDataset(f"{tmp_path}/*.parquet")) == 10  # without a split, all named files are read
    with pytest.raises(FileNotFoundError, match=r"no file matches this pattern"):
        EventDataset(f"{tmp_path}/test-*.parquet")
    with pytest.raises(ValueError, match="at least one file"):
        EventDataset([])
    for wrong in ([paths[0], write_tar(tmp_path / "train.tar", [])], [tmp_path / "events.csv"]):
        with pytest.raises(ValueError, match=r"must all be Parquet \(\.parquet\) or all be uncompressed tars"):
            EventDataset(wrong)


def test_missing_shards_raise(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, "train", [3, 2, 4])
    paths[1].unlink()
    with pytest.raises(ValueError, match="found 2 of 3 shards"):
        EventDataset(tmp_path)
    assert len(EventDataset(paths[::2])) == 7
    write_shards(tmp_path, "train", [1, 1])
    with pytest.raises(ValueError, match="found 4 of 2 or 3 shards"):
        EventDataset(tmp_path)


def test_location_without_events_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        EventDataset(tmp_path / "missing")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "image.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no Parquet files, uncompressed tars or class folders"):
        EventDataset(tmp_path / "folder")
    (tmp_path / "folder" / "snapshots").mkdir()  # as in the cache of the Hugging Face hub
    with pytest.raises(FileNotFoundError, match="pass a folder in its snapshots"):
        EventDataset(tmp_path / "folder")


def test_splits_of_class_folders_are_opened(tmp_path: Path) -> None:
    events = random_events(1, torch.Generator())[0]
    for split, name in (("train", "a"), ("train", "b"), ("val", "a")):
        write_npz(tmp_path / split / name / "x.npz", events)
    assert len(EventDataset(tmp_path, "train")) == 2
    assert len(EventDataset(tmp_path, "val")) == 1
    with pytest.raises(ValueError, match="pass split, one of train, val"):
        EventDataset(tmp_path)
    assert len(EventDataset(tmp_path, "validation")) == 1  # another name of val
    with pytest.raises(ValueError, match="has no split 'test'; pass one of train, val"):
        EventDataset(tmp_path, "test")


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    """File names are bytes. Old archives contain Latin-1 names."""
    names = [os.fsdecode(name) for name in (b"caf\xc3\xa9", b"caf\xe9")]
    events = random_events(2, torch.Generator())
    for name, sample in zip(names, events):
        write_npz(tmp_path / name / f"{name}.npz", sample)
    assert EventDataset(tmp_path).classes == names
    write_official(tmp_path / "x.parquet", events).rename(tmp_path / f"{names[1]}.parquet")
    write_tar(tmp_path / f"{names[1]}.tar", tar_members(events))
    for location in (tmp_path, tmp_path / f"{names[1]}.parquet", tmp_path / f"{names[1]}.tar"):
        dataset = EventDataset(location, dtype=torch.bool)
        assert dataset.targets == [0, 1]
        for row, (found, label) in enumerate(dataset.__getitems__([0, 1])):
            assert label == row
            assert_same_events(found, events[row])


def test_cycle_of_links_raises(tmp_path: Path) -> None:
    write_npz(tmp_path / "events" / "a" / "x.npz", random_events(1, torch.Generator())[0])
    (tmp_path / "events" / "a" / "back").symlink_to(tmp_path / "events")
    with pytest.raises(ValueError, match=r"a/back is the same folder as .*/events, which contains it; remove"):
        EventDataset(tmp_path / "events")


def write_manifest(folder: Path, classes: list[str] | None, complete: bool = True) -> None:
    (folder / "manifest.json").write_text(json.dumps({"classes": classes, "complete": complete, "rows": {}}))


def test_labels_of_converted_class_folders_equal_the_source(tmp_path: Path) -> None:
    """The folders are numbered by label. One class has no rows, and some rows have no label."""
    for folder in ("unlabelled", "0", "2"):
        write_npz(tmp_path / "train" / folder / "x.npz", random_events(1, torch.Generator())[0])
    write_manifest(tmp_path, ["T-shirt/top", "Trouser", "Ankle boot"])
    for dataset in (EventDataset(tmp_path), EventDataset(tmp_path / "train")):
        assert dataset.classes == ["T-shirt/top", "Trouser", "Ankle boot"]
        assert dataset.targets == [0, 2, -1]
        assert dataset[1][1] == 2
    write_manifest(tmp_path, ["Trouser", "Ankle boot"])
    with pytest.raises(ValueError, match=r"folder '2' is not a class of manifest\.json"):
        EventDataset(tmp_path)


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        # The label of an integer is the integer. Sorted as text, 2 would have the label 4.
        ([str(label) for label in range(12)], [str(label) for label in range(12)]),
        ([f"{label:03d}" for label in range(12)], [f"{label:03d}" for label in range(12)]),
        (["0", "01", "2"], ["0", "01", "2"]),
        # Other names are sorted as torchvision sorts them.
        (["1", "2", "10"], ["1", "10", "2"]),
        (["0", "00", "1"], ["0", "00", "1"]),
        (["0", "1", "2", "owl"], ["0", "1", "2", "owl"]),
        (["1", "\N{ARABIC-INDIC DIGIT ZERO}"], ["1", "\N{ARABIC-INDIC DIGIT ZERO}"]),
        (["n02", "n1"], ["n02", "n1"]),
    ],
)
def test_labels_of_class_folders_without_manifest(tmp_path: Path, folders: list[str], classes: list[str]) -> None:
    events = random_events(len(folders), torch.Generator(), (1, 2, 3, 3))
    for name, sample in zip(folders, events):
        write_npz(tmp_path / "val" / name / "x.npz", sample)
    dataset = EventDataset(tmp_path, "val", dtype=torch.bool)
    assert dataset.classes == classes
    for row, (found, label) in enumerate(dataset[row] for row in range(len(folders))):
        assert label == row
        assert_same_events(found, events[folders.index(classes[label])])


def test_labels_of_converted_folders_without_class_names(tmp_path: Path) -> None:
    for folder in ("0", "2", "10"):
        write_npz(tmp_path / "train" / folder / "x.npz", random_events(1, torch.Generator())[0])
    write_manifest(tmp_path, None)
    dataset = EventDataset(tmp_path, "train")
    assert (dataset.classes, dataset.targets) == (None, [0, 10, 2])
    (tmp_path / "manifest.json").write_text('{"of": "something else"}')
    assert EventDataset(tmp_path, "train").targets == [0, 1, 2]


def test_class_names_of_tars_come_from_the_manifest(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-00000-of-00001.tar", tar_members(random_events(2, torch.Generator())))
    assert EventDataset(tmp_path).classes is None
    write_manifest(tmp_path, ["zebra", "ant"])
    assert EventDataset(tmp_path).class_to_idx == {"zebra": 0, "ant": 1}


def test_incomplete_conversion_raises(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, "train", [3])
    write_manifest(tmp_path, None, complete=False)
    with pytest.raises(ValueError, match="not complete; rerun i2e dataset"):
        EventDataset(tmp_path)
    assert len(EventDataset(paths)) == 3


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        '{"classes": "ab", "complete": true}',
        '{"classes": [1], "complete": true}',
    ],
)
def test_damaged_manifest_raises(content: str, tmp_path: Path) -> None:
    write_shards(tmp_path, "train", [3])
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RecordError, match=r"manifest\.json: "):
        EventDataset(tmp_path)
