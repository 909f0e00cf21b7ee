"""Data sets of npz files keep every row and label, whatever the names of classes and images are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.datasets import DatasetFolder

from i2e_triton.datasets import EventDataset
from i2e_triton.formats import load_npz
from i2e_triton.pipeline.verify import verify_dataset
from i2e_triton.sources import ImageRow
from tests.i2e_triton.pipeline.builders import CONFIG, MemorySource, expected_events, png, run, some_images
from tests.samples import assert_same_events

NPZ = replace(CONFIG, format="npz")


class NamedSource(MemorySource):
    """Images of given keys and labels."""

    def __init__(
        self, images: list[bytes], keys: Sequence[str], labels: Sequence[int], classes: tuple[str, ...] | None
    ) -> None:
        super().__init__(images, classes)
        self._keys, self._labels = keys, labels

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        for row in range(start, stop):
            yield ImageRow(self._keys[row], self.images[row], self._labels[row])


@pytest.mark.parametrize(
    "classes",
    [
        (".net", "unlabelled", "..", "", "a/b", "a/c", "A"),
        ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041"),
        ("0", "1", "10", "2", "3", "4", "5"),
        None,
    ],
)
def test_every_row_and_label_is_read_back(
    tmp_path: Path, generator: torch.Generator, classes: tuple[str, ...] | None
) -> None:
    keys = ["5.tar: 6/x", "6.tar: x", "a", "a", ".hidden", "../../escape", "nul\0", "", "a//b", "long" * 100]
    labels = [5, 6, 0, 0, 1, -1, 2, 3, 4, -1]
    images = some_images(len(keys), generator)
    run(NamedSource([png(image) for image in images], keys, labels, classes), tmp_path / "out", NPZ)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for dataset in (EventDataset(tmp_path / "out", "train"), EventDataset(tmp_path / "out" / "train")):
        assert dataset.classes == (None if classes is None else list(classes))
        order = sorted(range(len(keys)), key=lambda row: (labels[row] < 0, labels[row], row))
        assert dataset.targets == [labels[row] for row in order]
        for row, (events, label) in zip(order, (dataset[number] for number in range(len(keys)))):
            assert label == labels[row]
            assert_same_events(events.bool(), expected_events(images[row], CONFIG))
    assert verify_dataset(tmp_path / "out", lambda *_: None).problems == ()


def test_torchvision_finds_the_labels_of_the_source(tmp_path: Path, generator: torch.Generator) -> None:
    classes = tuple(f"class {number}" for number in range(12))
    labels = [11, 2, *range(12), -1]
    images = [png(image) for image in some_images(len(labels), generator)]
    run(NamedSource(images, list(map(str, labels)), labels, classes), tmp_path, NPZ)
    found = DatasetFolder(str(tmp_path / "train"), load_npz, extensions=(".npz",))
    assert found.classes == [*(f"{label:02d}" for label in range(12)), "unlabelled"]
    for path, label in found.samples:
        source_label = labels[int(Path(path).stem)]
        assert label == (12 if source_label < 0 else source_label)
