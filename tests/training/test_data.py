"""Data sets of every kind: found, described, split, and refused with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.datasets import load_digits
from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS
from torch import Tensor
from torchvision import datasets

from i2e_triton import convert
from i2e_triton.formats import save_npz
from i2e_triton.training.data import DataModule, training_transform, validation_transform
from i2e_triton.training.recipes import Recipe, find_recipe
from tests.samples import noise, photograph, resized_photograph
from tests.training.files import write_events, write_folders, write_parquet

CIFAR10 = find_recipe("cifar10")
OWN = find_recipe("own")


def counts(data: DataModule) -> tuple[int, int, int]:
    train, validation, test = data.splits[:3]
    return len(train), len(validation), len(test)


def test_own_folders_are_described_and_split(tmp_path: Path) -> None:
    data = DataModule(OWN, write_folders(tmp_path, count=10))
    assert data.recipe == OWN.changed(classes=2, size=64, ratio=0.07)
    assert (data.splits.classes, counts(data)) == (("cat", "dog"), (16, 2, 2))
    assert str(data.splits) == "images of 3 channels, 48 x 48, 2 classes: 16 to train, 2 to validate, 2 to test"
    images, labels = next(iter(data.train_dataloader()))
    assert (images.dtype, images.shape, len(labels)) == (torch.uint8, (16, 3, 64, 64), 16)
    assert DataModule(OWN, tmp_path).splits.test.indices == data.splits.test.indices  # type: ignore[attr-defined]
    given = {"size": 32}
    assert DataModule(OWN.changed(**given), tmp_path, given=given).recipe.size == 32


def test_splits_that_exist_are_used(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        write_folders(tmp_path, count=count, split=split)
    assert counts(DataModule(OWN, tmp_path)) == (12, 6, 4)
    two = tmp_path / "two"
    for split, count in (("train", 10), ("val", 3)):
        write_folders(two, count=count, split=split)
    data = DataModule(OWN, two)
    assert counts(data) == (18, 2, 6)  # a part of the training split chooses, val reports
    paper = DataModule(CIFAR10.changed(classes=2), two, given={"classes": 2})
    assert counts(paper) == (20, 6, 6)
    assert paper.splits.test is paper.splits.validation


def test_images_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "named", 3, ["a", "b", "c"])
    data = DataModule(CIFAR10.changed(classes=3), tmp_path / "named")
    image, label = data.splits.test[2]
    assert (data.splits.classes, label) == (("a", "b", "c"), 2)
    assert torch.equal(image, resized_photograph("chelsea", 32).roll(2, 2))
    write_parquet(tmp_path / "nameless", 3)
    assert DataModule(OWN, tmp_path / "nameless").splits.classes == ("0", "1", "2")
    with pytest.raises(
        ValueError, match="named has 3 classes, the network 10; set --classes 3, or choose another --data"
    ):
        DataModule(CIFAR10, tmp_path / "named")


def test_converted_events(tmp_path: Path) -> None:
    write_events(tmp_path / "events", 40)
    data = DataModule(OWN, tmp_path / "events")
    assert (data.recipe.timesteps, data.recipe.size, data.recipe.classes) == (8, 32, 10)
    assert str(data.splits).startswith("events of 8 timesteps, 16 x 16, 10 classes: 32 to train, 4 to validate, 4 to")
    events, _ = next(iter(data.train_dataloader()))
    assert (events.dtype, events.shape) == (torch.uint8, (32, 2, 16, 16))
    for given in ({"ratio": 0.1}, {"augmentation": "crop"}, {"input": "rgb"}):
        name = next(iter(given))
        with pytest.raises(ValueError, match=f"contains events; {name} applies to images only, so leave it out"):
            DataModule(OWN.changed(**given), tmp_path / "events", given=given)


@pytest.mark.parametrize(
    ("shard", "content", "message"),
    [
        ("test-00000-of-00002.parquet", None, r"found 1 of 2 shards like test-00000-of-00002\.parquet"),
        ("test-00000-of-00001.parquet", b"PAR1", r"test-00000-of-00001\.parquet: not a Parquet file, or damaged"),
        ("train-00000-of-00001.parquet", b"PAR1", r"train-00000-of-00001\.parquet: not a Parquet file, or damaged"),
    ],
)
def test_a_damaged_split_of_events_is_not_replaced(
    shard: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    """Without an error, a part of the training split would be held out in place of the test split."""
    write_events(tmp_path / "events", 40)
    train = tmp_path / "events" / "train-00000-of-00001.parquet"
    (tmp_path / "events" / shard).write_bytes(train.read_bytes() if content is None else content)
    with pytest.raises(ValueError, match=message):
        DataModule(OWN, tmp_path / "events")


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"train\.tar: not an uncompressed tar, or damaged"):
        DataModule(OWN, tmp_path)


def test_npz_files_of_few_timesteps(tmp_path: Path, generator: torch.Generator) -> None:
    events = convert(noise((3, 8, 8), torch.uint8, generator), 0.07, timesteps=3, dtype=torch.bool)
    for split in ("train", "test"):
        (tmp_path / split / "0").mkdir(parents=True)
        for number in range(2):
            save_npz(tmp_path / split / "0" / f"{number}.npz", events)
    assert DataModule(OWN, tmp_path).recipe.timesteps == 3
    with pytest.raises(ValueError, match="has events of 3 timesteps; set --timesteps 3"):
        DataModule(find_recipe("cifar10").changed(classes=1), tmp_path)


def write_dvs(root: Path, count: int = 20) -> None:
    """Write frames as SpikingJelly does."""
    for name in ("events_np", "extract", "download"):
        (root / name).mkdir(parents=True)
    for label, name in enumerate(("airplane", "bird")):
        folder = root / "frames_number_8_split_by_number" / name
        folder.mkdir(parents=True)
        for number in range(count):
            np.savez(folder / f"{number}.npz", frames=np.full((8, 2, 128, 128), label, np.float32))


def test_cifar10_dvs_is_split_as_by_spikingjelly(tmp_path: Path) -> None:
    write_dvs(tmp_path)
    recipe = find_recipe("dvscifar10", "transfer2").changed(classes=2)
    data = DataModule(recipe, tmp_path)
    assert counts(data) == (36, 4, 4)
    events, labels = next(iter(data.test_dataloader()))
    assert events.shape == (8, 4, 2, 128, 128)
    assert labels.tolist() == [0, 0, 1, 1]
    assert issubclass(CIFAR10DVS, torch.utils.data.Dataset)


@pytest.mark.parametrize(
    ("recipe", "path", "settings", "message"),
    [
        (CIFAR10, None, {}, "cifar10 needs --data PATH, where it is; digits and fake"),
        (CIFAR10, "none", {}, "none does not exist; set --data to where cifar10 is, or add --download"),
        (OWN, "none", {}, "none does not exist; set --data to where own is$"),
        (OWN, "none", {"download": True}, "own cannot be downloaded; only cifar10, .* and cifar10-dvs can"),
        (find_recipe("cifar10-dvs"), ".", {}, "does not contain CIFAR10-DVS as SpikingJelly stores it; add --download"),
        (OWN, ".", {}, "contains no images"),
    ],
)
def test_missing_data(recipe: Recipe, path: str | None, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(recipe, None if path is None else tmp_path / path, **settings)


def test_unfit_data_is_refused(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="the samples have no labels; put those of each class into a folder"):
        DataModule(OWN, tmp_path)
    write_folders(tmp_path / "b", ("cat", "dog"), split="train")
    write_folders(tmp_path / "b", ("cat", "cow"), split="val")
    with pytest.raises(ValueError, match="the splits train, validation do not have the same class folders"):
        DataModule(OWN, tmp_path / "b")
    with pytest.raises(ValueError, match="1 training samples are too few to hold out 10% of them"):
        DataModule(OWN, write_folders(tmp_path / "c", ("cat",), count=1))
    write_events(tmp_path / "d", 4)
    (tmp_path / "d" / "train-00000-of-00001.parquet").rename(tmp_path / "d" / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="there is no training split, only test; name a folder or file train"):
        DataModule(OWN, tmp_path / "d")


def test_torchvision_sets_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []

    class MNIST(datasets.FakeData):
        classes = tuple(map(str, range(10)))  # type: ignore[assignment]

        def __init__(self, root: Path, train: bool, download: bool):
            super().__init__(20)
            asked.append((train, download))
            self.data, self.targets = torch.zeros(20, 28, 28, dtype=torch.uint8), torch.arange(20) % 10

    monkeypatch.setattr(datasets, "MNIST", MNIST)
    data = DataModule(find_recipe("mnist"), tmp_path / "new", download=True)
    assert counts(data) == (18, 2, 20)
    assert asked == [(True, True), (False, True)]
    assert next(iter(data.train_dataloader()))[0].shape == (18, 3, 32, 32)


def test_digits_and_fake_images_need_no_files() -> None:
    digits = DataModule(find_recipe("digits"))
    assert counts(digits) == (1293, 144, 360)
    image, label = digits.splits.test[1]
    assert torch.equal(image, torch.from_numpy((load_digits().images[[5]] * 255 / 16).round().astype(np.uint8)))
    assert int(label) == load_digits().target[5]
    data = DataModule(find_recipe("imagenet").changed(size=16), fake=True)
    assert counts(data) == (4096, 1024, 1024)
    assert len(data.splits.classes) == 1000
    images, _ = next(iter(data.val_dataloader()))
    assert images.shape == (128, 3, 16, 16)


def test_augmentation_is_torchvisions(generator: torch.Generator) -> None:
    image = photograph("chelsea")
    seen = {
        training_transform(CIFAR10.changed(augmentation=name))(small(image, name)).shape
        for name in ("none", "flip", "crop", "resized-crop")
    }
    assert seen == {(3, 128, 128)}
    validation = validation_transform(CIFAR10.changed(val_crop=True, size=56))(image)
    assert validation.shape == (3, 56, 56)


@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_events_are_flipped_at_most(tmp_path: Path, augmentation: str) -> None:
    write_events(tmp_path / "events", 40)
    data = DataModule(OWN.changed(augmentation=augmentation), tmp_path / "events")
    stored = [data.splits.train[row][0] for row in range(len(data.splits.train))]
    flipped = 0
    for events in next(iter(data.train_dataloader()))[0]:
        is_stored = any(torch.equal(events, each) for each in stored)
        assert is_stored or any(torch.equal(events, each.flip(-1)) for each in stored)
        flipped += not is_stored
    assert (flipped > 0) == (augmentation == "flip")


@pytest.mark.parametrize("augmentation", ["none", "flip", "resized-crop"])
def test_images_in_memory_are_converted_by_the_loader(augmentation: str) -> None:
    recipe = find_recipe("digits").changed(augmentation=augmentation, size=16)
    data = DataModule(recipe, in_memory=True)
    packed, _ = next(iter(data.train_dataloader()))
    assert (packed.dtype, packed.shape) == (torch.uint8, (32, 2, 16, 16))
    assert len(next(iter(data.test_dataloader()))[1]) == 32
    with pytest.raises(ValueError, match="--in-memory needs images, without mixup and val_crop"):
        DataModule(recipe.changed(mixup=True), in_memory=True)


def small(image: Tensor, name: str) -> Tensor:
    return image[:, :32, :32] if name == "crop" else image
