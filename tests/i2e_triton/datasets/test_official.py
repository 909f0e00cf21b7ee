"""The official data sets: from event files, and from the original images."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision.datasets
from torch.utils.data import DataLoader

from i2e_triton import convert, datasets, unpack
from i2e_triton.datasets import I2ECIFAR10, EventStream, I2ECaltech101, I2EImageNet, RecordError, official
from i2e_triton.datasets.official import OfficialSet
from i2e_triton.sources import PRESETS, prepare
from tests.i2e_triton.datasets.builders import official_record, random_events, write_npz, write_parquet
from tests.i2e_triton.datasets.small_set import CLASSES, Small, write_small
from tests.i2e_triton.sources.builders import noise_image, png
from tests.i2e_triton.sources.test_torchvision_sets import Cifar
from tests.samples import assert_same_events


def test_names_and_presets_are_official() -> None:
    found = {name: getattr(datasets, name).info for name in datasets.__all__ if name.startswith("I2E")}
    assert {name: info.name for name, info in found.items()} == {
        "I2ECIFAR10": "I2E-CIFAR10",
        "I2ECIFAR100": "I2E-CIFAR100",
        "I2EImageNet": "I2E-ImageNet",
        "I2EMNIST": "I2E-MNIST",
        "I2EFashionMNIST": "I2E-FashionMNIST",
        "I2ECaltech101": "I2E-Caltech101",
        "I2ECaltech256": "I2E-Caltech256",
        "I2EMiniImageNet": "I2E-Mini-ImageNet",
    }
    assert {info.preset for info in found.values()} == set(PRESETS)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_class_names_are_those_of_torchvision(name: str) -> None:
    assert list(getattr(datasets, f"I2E{name}").info.classes) == getattr(torchvision.datasets, name).classes


def test_files_below_the_root_are_read_without_network(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "cached_folder", None)  # calling it would fail
    events = write_small(tmp_path, generator)
    dataset = Small(tmp_path, train=False)
    for copy in (dataset, pickle.loads(pickle.dumps(dataset))):
        found = [copy[row] for row in range(len(copy))]
        assert_same_events(torch.stack([one for one, _ in found]), events.float())
        assert [label for _, label in found] == copy.targets == [0, 1, 2, 0]
    assert dataset.classes == list(CLASSES)
    assert dataset.class_to_idx == {"ant": 0, "bee": 1, "cat": 2}
    assert (dataset.timesteps, dataset.sensor_size) == (8, (32, 32, 2))


def test_packed_batches(tmp_path: Path, generator: torch.Generator) -> None:
    events = write_small(tmp_path, generator, "train")
    ((packed, labels),) = DataLoader(Small(tmp_path, packed=True, target_transform=lambda label: -label), batch_size=7)
    assert_same_events(unpack(packed, 8, torch.bool).transpose(0, 1), events)
    assert labels.tolist() == [0, -1, -2, 0, -1, -2, 0]


def test_layout_transform_and_split(tmp_path: Path, generator: torch.Generator) -> None:
    events = write_small(tmp_path, generator)
    dataset = Small(tmp_path, split="validation", layout="CHWT", dtype=torch.bool, transform=lambda x: (x.shape, x))
    shape, found = dataset[1][0]
    assert shape == (2, 32, 32, 8)
    assert_same_events(found, events[1].permute(1, 2, 3, 0))


def test_result_of_i2e_dataset_and_official_npz_files_are_read(tmp_path: Path, generator: torch.Generator) -> None:
    events = random_events(4, generator, (8, 2, 32, 32))
    for row, sample in enumerate(events):
        write_npz(tmp_path / "I2E-Small" / "validation" / str(row % 3) / f"{row}.npz", sample)
    found, label = Small(tmp_path, train=False)[3]
    assert label == 2
    assert_same_events(found, events[2].float())


def test_stream_reads_the_same_files(tmp_path: Path, generator: torch.Generator) -> None:
    write_small(tmp_path, generator, "train")
    dataset = Small(tmp_path)
    assert [label for _, label in EventStream(dataset.location, dataset.split, shuffle=False)] == dataset.targets


def test_repr_states_what_is_read(tmp_path: Path, generator: torch.Generator) -> None:
    write_small(tmp_path, generator)
    assert repr(Small(tmp_path, False)).splitlines() == [
        "Small",
        "    rows: 4 (validation)",
        "    classes: 3",
        "    events: 8 timesteps, 32 x 32 pixels",
        f"    source: events in {tmp_path / 'I2E-Small'}",
    ]


def test_labels_of_classes_that_are_sorted_as_text_become_their_numbers(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Official files name classes by number. Sorted as text, class 10 has the label 2."""
    known = [f"class {number}" for number in range(11)]
    monkeypatch.setattr(Small, "info", OfficialSet("I2E-Small", "mnist", known, 4))
    names = sorted(map(str, range(11)))
    events = random_events(3, generator, (8, 2, 32, 32))
    path = tmp_path / "I2E-Small" / "train-00000-of-00001.parquet"
    write_parquet(path, list(map(official_record, events)), [0, 2, 10], names=names)
    dataset = Small(tmp_path, target_transform=lambda label: dataset.classes[label])
    assert [label for _, label in map(dataset.__getitem__, range(3))] == ["class 0", "class 10", "class 9"]
    assert dataset.targets == [0, 10, 9]


@pytest.mark.parametrize(("names", "expected"), [(None, CLASSES), (("x", "y", "z"), ("x", "y", "z"))])
def test_class_names_of_the_files_are_used_unless_they_are_numbers(
    names: tuple[str, ...] | None, expected: tuple[str, ...], tmp_path: Path, generator: torch.Generator
) -> None:
    write_small(tmp_path, generator, names=names)
    assert Small(tmp_path, False).classes == list(expected)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (OfficialSet("I2E-Small", "mnist", 3, {"validation": 5}), "has 5 rows, but the files have 4"),
        (OfficialSet("I2E-Small", "mnist", 3, 3), "has at most 3 rows, but the files have 4"),
        (OfficialSet("I2E-Small", "mnist", 4, 4), "has 4 classes, but the files have 3"),
    ],
)
def test_files_that_do_not_have_the_official_counts_raise(
    info: OfficialSet, message: str, tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path, generator)
    monkeypatch.setattr(Small, "info", info)
    with pytest.raises(RecordError, match=message):
        Small(tmp_path, False)


def test_invalid_arguments_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source must be 'events' or 'images', got 'files'"):
        Small(tmp_path, source="files")  # type: ignore[arg-type]
    for option in ("random", "cache"):
        with pytest.raises(ValueError, match="apply to source='images'"):
            Small(tmp_path, **{option: True})  # type: ignore[arg-type]


def test_images_of_torchvision(tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    Cifar("cifar10", tmp_path, generator, monkeypatch)
    for train in (True, False):
        images = torchvision.datasets.CIFAR10(tmp_path, train=train)
        for cache in (False, True):
            dataset = I2ECIFAR10(tmp_path, train, source="images", cache=cache)
            assert dataset.targets == images.targets
            assert dataset.classes == images.classes
            batch = dataset.__getitems__([2, 0, -1])
            for row, (events, label) in zip((2, 0, len(images) - 1), batch):
                image, expected_label = images[row]
                assert_same_events(events, convert(prepare(image, (128, 128)), 0.07))
                assert label == expected_label


def test_images_in_class_folders_have_the_labels_of_image_folder(tmp_path: Path, generator: torch.Generator) -> None:
    for split in ("train", "val"):
        for name in ("n02", "n10", "n1"):
            (tmp_path / split / name).mkdir(parents=True)
            noise_image(generator, 30, 40).save(tmp_path / split / name / f"{split}.png")
    dataset = I2EImageNet(tmp_path, train=False, source="images", packed=True)
    folder = torchvision.datasets.ImageFolder(tmp_path / "val")
    assert dataset.classes == folder.classes
    assert dataset.targets == folder.targets
    events, label = dataset[1]
    assert_same_events(events, convert(prepare(folder[1][0], (224, 224)), 0.12, packed=True))
    assert label == folder[1][1]


def test_images_in_parquet_files_of_the_hub(tmp_path: Path, generator: torch.Generator) -> None:
    """The hub's CIFAR-10 and MNIST have a split test. It is the official split validation."""
    for split, labels in (("train", [0, 1]), ("test", [9])):
        images = [{"bytes": png(generator), "path": None} for _ in labels]
        column = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        table = pa.table({"img": column, "label": labels})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    assert I2ECIFAR10(tmp_path, source="images").targets == [0, 1]
    dataset = I2ECIFAR10(tmp_path, train=False, source="images")
    assert dataset.targets == [9]
    assert dataset.classes[9] == "truck"


def test_images_of_caltech_have_one_split(tmp_path: Path, generator: torch.Generator) -> None:
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    for name in ("BACKGROUND_Google", "Faces", "ant"):
        (root / name).mkdir(parents=True)
        noise_image(generator).save(root / name / "1.jpg")
    assert I2ECaltech101(tmp_path, source="images").classes == ["Faces", "ant"]
    with pytest.raises(ValueError, match="has no split 'validation'; it has train"):
        I2ECaltech101(tmp_path, train=False, source="images")


def test_images_of_another_data_set_raise(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(ValueError, match="contains the images of cifar100 instead of cifar10"):
        I2ECIFAR10(tmp_path, source="images")
    with pytest.raises(ValueError, match=r"cannot be downloaded automatically; put them into class folders .*train"):
        I2EImageNet(tmp_path, source="images", download=True)
