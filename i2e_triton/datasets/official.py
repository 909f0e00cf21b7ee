"""The official I2E data sets, one class each, with the signature of torchvision's data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.datasets.class_names import CIFAR10, CIFAR100, FASHION_MNIST, MNIST
from i2e_triton.datasets.download import cached_folder, download_split, put_files
from i2e_triton.datasets.event_dataset import EventDataset
from i2e_triton.datasets.image_dataset import ImageEventDataset
from i2e_triton.formats import RecordError
from i2e_triton.sources import PRESETS, find_kind, splits
from i2e_triton.sources.torchvision_sets import FOLDERS


@dataclass(frozen=True)
class OfficialSet:
    """What is known about an official data set before its files are read."""

    name: str  #: name of its configuration and its folder in the repository
    preset: str  #: key of :data:`i2e_triton.sources.PRESETS`: size, ratio, and the kind of its images
    classes: int | Sequence[str]  #: class names in the order of the labels, or only their number
    rows: Mapping[str, int] | int  #: rows of each split, or of all splits together


class OfficialDataset(Dataset[tuple[Any, Any]]):
    """The base class of the official data sets. ``dataset[i]`` is ``(events, label)``.

    Events are dense ``[T, 2, H, W]``, or packed ``[2, H, W]``, as for :class:`EventDataset`. Labels and class names are
    those of torchvision's data set of the same name.

    Files are looked up in ``root/<name>``, for example ``root/I2E-CIFAR10/train-00000-of-00002.parquet``, then in the
    Hugging Face cache. If they are found, the network is not used. The folder may also contain the result of
    ``i2e dataset``.

    Args:
        root: folder of the files. With ``source="images"``: the root of torchvision's data set, a folder of images with
            class folders, or Parquet files of images from the Hugging Face hub.
        train: use the split ``"train"``, or ``"validation"`` if False. Default: True.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.
        download: download the files to ``root`` if they are not found. Needs ``pip install 'i2e-triton[hub]'``. With
            ``source="images"``, torchvision downloads its data set. Default: False.
        packed: return packed events and ignore ``dtype``. Default: False.
        source: ``"events"`` to read the official events, or ``"images"`` to read the original images and convert them
            when they are read, with the official size and ratio. Default: ``"events"``.
        split: name of the split, which replaces ``train``. Default: None.
        dtype: type of dense events: float32, float16, bfloat16, uint8 or bool. Default: float32.
        layout: order of the dimensions of dense events: ``"TCHW"``, ``"CTHW"`` or ``"CHWT"``. Default: ``"TCHW"``.
        random: with ``source="images"``: draw motion vectors for each image each time it is read. Default: False.
        cache: with ``source="images"``: keep all resized images in memory; see :class:`ImageEventDataset`.
            Default: False.

    Raises:
        FileNotFoundError: if the files are not found and ``download`` is False. The message says which files to put
            where.
        OSError: if the download fails.
        ValueError: if an argument is not valid, files are missing or damaged, or they do not have the official number
            of rows and classes.
    """

    info: ClassVar[OfficialSet]
    classes: list[str]  #: class names in the order of the labels
    location: Path  #: folder of the files that are read; pass it to :class:`EventStream` to read large files in order

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
        packed: bool = False,
        source: Literal["events", "images"] = "events",
        *,
        split: str | None = None,
        dtype: torch.dtype = torch.float32,
        layout: str = "TCHW",
        random: bool = False,
        cache: bool = False,
    ) -> None:
        if source not in ("events", "images"):
            raise ValueError(f"source must be 'events' or 'images', got {source!r}")
        if source == "events" and (random or cache):
            raise ValueError("random and cache apply to source='images'; events are stored already converted")
        self.root = Path(root).expanduser()
        self.split = split or ("train" if train else "validation")
        self.source = source
        self._numbers: list[int] | None = None  # label in the files -> label of torchvision, if they differ
        self._target_transform = target_transform
        options: dict[str, Any] = {
            "packed": packed,
            "dtype": dtype,
            "layout": layout,
            "transform": transform,
            "target_transform": self._transformed_label,
        }
        self._dataset: EventDataset | ImageEventDataset
        if source == "events":
            self._dataset = self._open_events(download, options)
        else:
            self._dataset = self._open_images(download, {**options, "random": random, "cache": cache})
        self._name_classes()

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name -> label."""
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def targets(self) -> list[int]:
        """The label of every row, before ``target_transform``. No events are read."""
        return [label if self._numbers is None else self._numbers[label] for label in self._dataset.targets]

    @property
    def timesteps(self) -> int:
        """Number of timesteps T. Pass it to :func:`i2e_triton.unpack` for packed events."""
        return self._dataset.timesteps

    @property
    def sensor_size(self) -> tuple[int, int, int]:
        """Width, height and number of polarities, as in Tonic."""
        height, width = PRESETS[self.info.preset].size
        return width, height, 2

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Return ``(events, label)`` for each row of a batch. ``DataLoader`` calls this once per batch."""
        return self._dataset.__getitems__(indices)

    def __repr__(self) -> str:
        width, height, _ = self.sensor_size
        return (
            f"{type(self).__name__}\n"
            f"    rows: {len(self):,} ({self.split})\n"
            f"    classes: {len(self.classes)}\n"
            f"    events: {self.timesteps} timesteps, {height} x {width} pixels\n"
            f"    source: {self.source} in {self.location}"
        )

    def _transformed_label(self, label: int) -> Any:
        if self._numbers is not None:
            label = self._numbers[label]
        return label if self._target_transform is None else self._target_transform(label)

    def _open_events(self, download: bool, options: Mapping[str, Any]) -> EventDataset:
        name, problems = self.info.name, []
        for find in (lambda: self.root / name, lambda: cached_folder(name, self.split)):
            folder = find()
            if folder is not None and folder.is_dir():
                try:
                    return self._checked(EventDataset(folder, self.split, **options), folder)
                except RecordError:
                    raise
                except (FileNotFoundError, ValueError) as error:  # no files, or not this split, or not all shards
                    problems.append(str(error))
        if not download:
            found = "".join(f"\n{problem}" for problem in problems)
            raise FileNotFoundError(
                f"{name} ({self.split}) is missing or incomplete in {self.root / name} and in the Hugging Face cache. "
                f"Pass download=True, or {put_files(self.root, name, self.split)}{found}"
            )
        download_split(self.root, name, self.split)
        return self._checked(EventDataset(self.root / name, self.split, **options), self.root / name)

    def _checked(self, dataset: EventDataset, folder: Path) -> EventDataset:
        """Compare the number of rows with the official one."""
        rows = self.info.rows
        expected = rows if isinstance(rows, int) else rows.get(self.split)
        too_many = isinstance(rows, int) and len(dataset) > rows
        if too_many or (isinstance(rows, Mapping) and expected not in (None, len(dataset))):
            limit = "at most " if isinstance(rows, int) else ""
            raise RecordError(
                f"{folder}: {self.info.name} ({self.split}) has {limit}{expected:,} rows, but the files have "
                f"{len(dataset):,}; remove the folder and download it again"
            )
        self.location = folder
        return dataset

    def _open_images(self, download: bool, options: Mapping[str, Any]) -> ImageEventDataset:
        preset = PRESETS[self.info.preset]
        kind = preset.kind
        if kind is None and download:
            raise ValueError(
                f"the images of {self.info.name} cannot be downloaded automatically; put them into class folders below "
                f"{self.root}, for example {self.root / self.split / '<class>' / '1.jpg'}"
            )
        if not download and (kind is None or not (self.root / FOLDERS[kind]).is_dir()):
            kind = find_kind(str(self.root))
            if kind in FOLDERS:
                raise ValueError(f"{self.root} contains the images of {kind} instead of {self.info.preset}")
        names = splits(str(self.root), kind)
        split = "test" if self.split == "validation" not in names and "test" in names else self.split
        self.location = self.root
        return ImageEventDataset(
            self.root, split, kind=kind, download=download, size=preset.size, ratio=preset.ratio, **options
        )

    def _name_classes(self) -> None:
        """Set :attr:`classes`, and find the numbers of torchvision for labels of the files.

        The official files name each class by its number. In the sorted order of these names, 10 comes before 2.
        """
        count, found = self._class_count(), self._dataset.classes
        if self.source == "events" and found is not None and len(found) != count:
            raise RecordError(f"{self.location}: {self.info.name} has {count} classes, but the files have {len(found)}")
        known = None if isinstance(self.info.classes, int) else list(self.info.classes)
        numbers = [int(name) if name.isdecimal() else -1 for name in found or ()]
        if sorted(numbers) == list(range(count)):
            self._numbers = numbers
            self.classes = known or [str(number) for number in range(count)]
        else:
            self.classes = found or known or [str(number) for number in range(count)]

    def _class_count(self) -> int:
        return self.info.classes if isinstance(self.info.classes, int) else len(self.info.classes)


class I2ECIFAR10(OfficialDataset):
    """I2E-CIFAR10: 50,000 and 10,000 images, 10 classes, 128x128. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-CIFAR10", "cifar10", CIFAR10, {"train": 50_000, "validation": 10_000})


class I2ECIFAR100(OfficialDataset):
    """I2E-CIFAR100: 50,000 and 10,000 images, 100 classes, 128x128. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-CIFAR100", "cifar100", CIFAR100, {"train": 50_000, "validation": 10_000})


class I2EImageNet(OfficialDataset):
    """I2E-ImageNet: 1,281,167 and 50,000 images, 1,000 classes, 224x224. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-ImageNet", "imagenet", 1000, {"train": 1_281_167, "validation": 50_000})


class I2EMNIST(OfficialDataset):
    """I2E-MNIST: 60,000 and 10,000 images, 10 classes, 32x32. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-MNIST", "mnist", MNIST, {"train": 60_000, "validation": 10_000})


class I2EFashionMNIST(OfficialDataset):
    """I2E-FashionMNIST: 60,000 and 10,000 images, 10 classes, 32x32. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-FashionMNIST", "fashion-mnist", FASHION_MNIST, {"train": 60_000, "validation": 10_000})


class I2ECaltech101(OfficialDataset):
    """I2E-Caltech101: 8,677 images, 101 classes, 224x224; the images have no official splits. See the base class."""

    info = OfficialSet("I2E-Caltech101", "caltech101", 101, 8_677)


class I2ECaltech256(OfficialDataset):
    """I2E-Caltech256: 30,607 images, 257 classes, 224x224; the images have no official splits. See the base class."""

    info = OfficialSet("I2E-Caltech256", "caltech256", 257, 30_607)


class I2EMiniImageNet(OfficialDataset):
    """I2E-Mini-ImageNet: 60,000 images, 100 classes, 224x224. See :class:`OfficialDataset`."""

    info = OfficialSet("I2E-Mini-ImageNet", "mini-imagenet", 100, 60_000)
