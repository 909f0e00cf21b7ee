"""The training and validation samples of a data set, wherever it lies, and the loaders over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import datasets
from torchvision.transforms import v2

from i2e_triton.datasets import EventDataset, RecordError
from i2e_triton.sources import open_source, splits
from i2e_triton.training.augmentation import event_transform, training_transform, validation_transform
from i2e_triton.training.distributed import Place
from i2e_triton.training.images import Digits, FakeImages, SourceImages, split_each_class
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.sampling import Augmented, Samples, TrainingBatches, ValidationBatches

DVS_FRAMES = 8
_VALIDATION_NAMES = ("validation", "val", "test")
_FAKE_SAMPLES = (4096, 1024)


class DataError(ValueError):
    """The data are not there, or not those of the recipe; the message says what to change."""


@dataclass(frozen=True)
class Splits:
    """A data set before augmentation. Samples are images (PIL, or uint8 ``[C, H, W]``) or events."""

    train: Samples
    validation: Samples
    classes: int | None  #: None where the files do not say
    events: bool = False  #: dense ``[T, 2, H, W]`` or packed ``[2, H, W]``


@dataclass(frozen=True)
class Loaders:
    """What the loop iterates over; ``batches`` sets epoch and first step."""

    train: DataLoader[Any]
    validation: DataLoader[Any]
    batches: TrainingBatches


def open_splits(recipe: Recipe, path: Path | None, *, fake: bool = False, download: bool = False) -> Splits:
    """Open the data set of a recipe.

    Args:
        recipe: names the data set, and the classes and size of made-up images.
        path: where it lies: as torchvision or SpikingJelly keep it, an image folder with ``train`` and ``val``,
            Parquet files of images, or an event set of ``i2e dataset`` or of the hub.
        fake: make images up, whatever the recipe names.
        download: fetch what torchvision or SpikingJelly can.

    Raises:
        DataError: if the data are not there, or have other classes than the recipe.
    """
    opened = _open(recipe, path, fake or recipe.dataset == "fake", download)
    if opened.classes is not None and opened.classes != recipe.classes:
        raise DataError(
            f"{path or recipe.dataset} has {opened.classes} classes, the network would have {recipe.classes}; "
            f"set --class_number {opened.classes}"
        )
    for split in ("train", "validation"):
        if not len(getattr(opened, split)):
            raise DataError(f"{path}: there is no sample for {split}")
    return opened


def build_loaders(opened: Splits, recipe: Recipe, place: Place, workers: int) -> Loaders:
    """Build loaders of this process's share, with the augmentation of the recipe.

    Raises:
        ValueError: if a batch cannot be shared by the processes.
    """
    transform = event_transform(recipe) if opened.events else training_transform(recipe)
    train = Augmented(opened.train, transform, recipe.seed)
    plain = v2.Identity() if opened.events else validation_transform(recipe)
    validation = Augmented(opened.validation, plain, recipe.seed)
    batches = TrainingBatches(len(train), recipe.batch_size, recipe.seed, place.rank, place.processes)
    share = ValidationBatches(len(validation), recipe.batch_size, place.rank, place.processes)
    settings: dict[str, Any] = {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": place.device.type == "cuda",
        # Seeds of the workers: other ones in each process, and none drawn from the generator that training uses.
        "generator": torch.Generator().manual_seed(recipe.seed + place.rank),
    }
    return Loaders(
        DataLoader(train, batch_sampler=batches, **settings),
        DataLoader(validation, batch_sampler=share, **settings),
        batches,
    )


def _open(recipe: Recipe, path: Path | None, fake: bool, download: bool) -> Splits:
    if fake:
        return _open_fake(recipe)
    if recipe.dataset == "digits":
        return Splits(Digits(validation=False), Digits(validation=True), 10)
    if path is None:
        raise DataError(f"{recipe.dataset} needs --data PATH; --dataset fake needs nothing")
    if download:
        path.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise DataError(f"{path}: no such folder; set --data to where {recipe.dataset} lies, or add --download")
    if recipe.dataset == "cifar10-dvs":
        return _open_dvs(path, download)
    if _holds_events(path):
        return _open_events(path, recipe)
    if _first(path, "*.parquet") is not None:
        return _open_source(path)
    if recipe.dataset == "imagenet":
        return _open_folder(path)
    return _open_cifar(datasets.CIFAR100 if recipe.dataset == "cifar100" else datasets.CIFAR10, path, download)


def _open_fake(recipe: Recipe) -> Splits:
    size = 32 if recipe.augmentation == "crop" else recipe.size
    train, validation = (
        FakeImages(samples, recipe.classes, size, recipe.seed + number) for number, samples in enumerate(_FAKE_SAMPLES)
    )
    return Splits(train, validation, recipe.classes)


def _open_cifar(kind: Callable[..., datasets.CIFAR10], path: Path, download: bool) -> Splits:
    try:
        train, test = kind(path, train=True, download=download), kind(path, train=False, download=download)
    except RuntimeError as error:
        raise DataError(f"{path}: {kind.__name__} is not there as torchvision keeps it; add --download") from error
    return Splits(train, test, len(train.classes))


def _open_folder(path: Path) -> Splits:
    found = {folder.name for folder in path.iterdir() if folder.is_dir()}
    name = next((name for name in _VALIDATION_NAMES if name in found), None)
    if "train" not in found or name is None:
        raise DataError(f"{path}: needs the folders train and val, each with a folder for each class")
    train, validation = datasets.ImageFolder(path / "train"), datasets.ImageFolder(path / name)
    if train.classes != validation.classes:
        raise DataError(f"{path}: train and {name} do not have the same class folders")
    return Splits(train, validation, len(train.classes))


def _open_source(path: Path) -> Splits:
    names = splits(str(path))
    validation = next((name for name in _VALIDATION_NAMES if name in names), None)
    if "train" not in names or validation is None:
        raise DataError(f"{path}: needs the splits train and validation or test, it has {', '.join(names)}")
    sources = [open_source(str(path), split=name) for name in ("train", validation)]
    classes = sources[0].classes
    return Splits(SourceImages(sources[0]), SourceImages(sources[1]), None if classes is None else len(classes))


def _open_events(path: Path, recipe: Recipe) -> Splits:
    train = EventDataset(path, "train", packed=True)
    if train.timesteps < (recipe.timesteps or 8):
        raise DataError(f"{path} holds events of {train.timesteps} timesteps; set --timesteps {train.timesteps}")
    if recipe.input != "events":
        raise DataError(f"{path} holds events, not images; leave out --input {recipe.input}")
    classes = None if train.classes is None else len(train.classes)
    return Splits(train, _validation_events(path), classes, events=True)


def _validation_events(path: Path) -> EventDataset:
    problem = ""
    for name in _VALIDATION_NAMES:
        try:
            return EventDataset(path, name, packed=True)
        except RecordError:
            raise
        except ValueError as error:  # no such split; it names what there is
            problem = str(error)
    raise DataError(problem)


def _open_dvs(path: Path, download: bool) -> Splits:
    if not download and not any((path / name).is_dir() for name in ("events_np", "extract", "download")):
        raise DataError(f"{path}: CIFAR10-DVS is not there as SpikingJelly keeps it; add --download")
    recorded = CIFAR10DVS(str(path), data_type="frame", frames_number=DVS_FRAMES, split_by="number")
    recorded.loader = _load_frames
    train, validation = split_each_class(recorded.targets)
    return Splits(Subset(recorded, train), Subset(recorded, validation), len(recorded.classes), events=True)


def _load_frames(path: str) -> Tensor:
    """Read the frames that SpikingJelly wrote, event counts ``[T, 2, H, W]``; its older releases would unpickle."""
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["frames"].astype(np.float32))


def _holds_events(path: Path) -> bool:
    if _first(path, "manifest.json") or _first(path, "*.tar") or _first(path, "*.npz"):
        return True
    parquet = _first(path, "*.parquet")
    return parquet is not None and "data" in pq.read_schema(parquet).names


def _first(path: Path, pattern: str) -> Path | None:
    """Return a file of a data set by its suffix; where there are folders, it lies up to three below."""
    folders = ("", "*/", "*/*/", "*/*/*/")
    return next((file for folder in folders for file in path.glob(folder + pattern)), None)
