"""ImageEventDataset converts images when they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader

from i2e_triton import canonical_shifts, convert, random_shifts, unpack
from i2e_triton.datasets import ImageEventDataset
from i2e_triton.sources import prepare
from tests.i2e_triton.sources.builders import noise_image
from tests.samples import assert_same_events

SIZE = (12, 10)


@pytest.fixture
def folder(tmp_path: Path, generator: torch.Generator) -> Path:
    """Return a folder with 5 images of two sizes in two classes."""
    for number in range(5):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        noise_image(generator, 9 + number % 2, 11).save(path)
    return tmp_path


def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_events_equal_those_of_convert(folder: Path, packed: bool, cache: bool) -> None:
    dataset = ImageEventDataset(
        folder, size=SIZE, ratio=0.2, order="beta-alpha-gamma", timesteps=5, packed=packed, cache=cache
    )
    shifts = canonical_shifts("beta-alpha-gamma", 5)
    rows = [3, 0, 4, -4, 3]
    for row, (events, label) in zip(rows, dataset.__getitems__(rows)):
        image = prepare(paths(folder)[row].read_bytes(), SIZE)
        assert_same_events(events, convert(image, 0.2, shifts=shifts, packed=packed))
        assert label == dataset.targets[row] == [0, 0, 0, 1, 1][row]
    assert dataset.class_to_idx == {"a": 0, "b": 1}


def test_images_keep_their_size_by_default(folder: Path) -> None:
    dataset = ImageEventDataset(folder, dtype=torch.bool)
    assert [tuple(events.shape) for events, _ in dataset.__getitems__([3, 0])] == [(8, 2, 10, 11), (8, 2, 9, 11)]


@pytest.mark.parametrize("cache", [False, True])
def test_random_vectors_are_drawn_for_each_image(folder: Path, cache: bool) -> None:
    dataset = ImageEventDataset(folder, size=SIZE, random=True, cache=cache)
    torch.manual_seed(5)
    found = dataset.__getitems__([1, 2])
    torch.manual_seed(5)
    shifts = random_shifts(2)
    images = torch.stack([prepare(paths(folder)[row].read_bytes(), SIZE) for row in (1, 2)])
    assert_same_events(torch.stack([events for events, _ in found], 1), convert(images, shifts=shifts))
    assert not torch.equal(dataset[1][0], dataset[1][0])


def test_loader_with_workers(folder: Path) -> None:
    dataset = ImageEventDataset(folder, size=SIZE, packed=True, cache=True)
    ((packed, labels),) = DataLoader(dataset, batch_size=5, num_workers=1)
    assert labels.tolist() == dataset.targets
    expected = torch.stack([convert(prepare(path.read_bytes(), SIZE), dtype=torch.bool) for path in paths(folder)], 1)
    assert_same_events(unpack(packed, dataset.timesteps, torch.bool), expected)


def test_layout_and_transforms(folder: Path) -> None:
    dataset = ImageEventDataset(folder, size=SIZE, layout="CTHW", transform=lambda x: x.shape, target_transform=str)
    assert dataset[4] == ((2, 8, *SIZE), "1")


def test_images_of_more_than_8_bits_are_not_cached(folder: Path) -> None:
    PIL.Image.fromarray(np.arange(99, dtype=np.uint16).reshape(9, 11) * 600).save(folder / "b" / "0.png")
    dataset = ImageEventDataset(folder, size=SIZE)
    image = prepare((folder / "b" / "0.png").read_bytes(), SIZE)
    assert_same_events(dataset.__getitems__([0, 3])[1][0], convert(image))
    with pytest.raises(ValueError, match="row 3 has more than 8 bits per channel; use cache=False"):
        ImageEventDataset(folder, size=SIZE, cache=True)


@pytest.mark.parametrize("cache", [False, True])
def test_damaged_image_is_named(folder: Path, cache: bool) -> None:
    (folder / "a" / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"row 1 \(a/2\): "):
        ImageEventDataset(folder, size=SIZE, cache=cache).__getitems__([4, 1])


def test_invalid_arguments_raise(folder: Path) -> None:
    with pytest.raises(ValueError, match="cache=True needs the size"):
        ImageEventDataset(folder, cache=True)
    with pytest.raises(ValueError, match="layout must be"):
        ImageEventDataset(folder, layout="HWC")
    with pytest.raises(ValueError, match="has no split 'test'"):
        ImageEventDataset(folder, "test")
    with pytest.raises(IndexError, match="row 5 is out of range for a data set of 5 rows"):
        ImageEventDataset(folder)[5]
    for split in ("train", "val"):
        (folder / "splits" / split / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="has several splits; pass split, one of train, validation"):
        ImageEventDataset(folder / "splits")
