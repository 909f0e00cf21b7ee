"""The training and validation samples of a data set, wherever it lies, and the loaders over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import torch
from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate
from torchvision import datasets
from torchvision.transforms import v2

from i2e_triton.datasets import EventDataset, RecordError
from i2e_triton.io.location import find_kind, find_shards, has_train_and_validation
from i2e_triton.io.parquet import open_parquet
from i2e_triton.sources import open_source, splits
from i2e_triton.training.augmentation import event_transform, training_transform, validation_transform
from i2e_triton.training.distributed import Place
from i2e_triton.training.images import Digits, FakeImages, SourceImages, split_each_class
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.sampling import Augmented, Samples, TrainingBatches, ValidationBatches

DVS_FRAMES = 8
_VALIDATION_NAMES = ("validation", "val", "test")
_FAKE_SAMPLES = (4096, 1024)
_TORCHVISION: dict[str, type[datasets.CIFAR10]] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
#: What ``--download`` can fetch.
_FETCHED = (*_TORCHVISION, "cifar10-dvs")


class DataError(ValueError):
    """The data are not there, or not those of the recipe; the message says what to change."""


@dataclass(frozen=True)
class Splits:
    """A data set before augmentation. Samples are images (PIL, or uint8 ``[C, H, W]``) or events."""

    train: Samples
    validation: Samples
    names: tuple[str, ...] | None  #: of the classes; None where the files do not say
    events: bool = False  #: dense ``[T, 2, H, W]`` or packed ``[2, H, W]``

    @property
    def classes(self) -> int | None:
        """How many classes there are; None where the files do not say."""
        return None if self.names is None else len(self.names)


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
            f"{path or recipe.dataset} has {opened.classes} classes, the network {recipe.classes}; "
            f"train one with --class_number {opened.classes}, or choose another --data"
        )
    if opened.events and recipe.input != "events":
        raise DataError(f"{path} holds events, not images; a network that sees {recipe.input} needs images")
    for split in ("train", "validation"):
        if not len(getattr(opened, split)):
            raise DataError(f"{path}: there is no sample for {split}; add some, or choose another --data")
    return opened


def build_loaders(opened: Splits, recipe: Recipe, place: Place, workers: int) -> Loaders:
    """Build loaders of this process's share, with the augmentation of the recipe.

    Dense events have their timesteps first, ``[T, B, 2, H, W]``, as networks take them.

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
        "collate_fn": _stacked,
        # Seeds of the workers: other ones in each process, and none drawn from the generator that training uses.
        "generator": torch.Generator().manual_seed(recipe.seed + place.rank),
    }
    return Loaders(
        DataLoader(train, batch_sampler=batches, **settings),
        DataLoader(validation, batch_sampler=share, **settings),
        batches,
    )


def _stacked(samples: list[tuple[Any, int]]) -> tuple[Tensor, Tensor]:
    inputs, labels = default_collate(samples)
    return inputs.transpose(0, 1) if inputs.dim() == 5 else inputs, labels


def _open(recipe: Recipe, path: Path | None, fake: bool, download: bool) -> Splits:
    if fake:
        return _open_fake(recipe)
    if recipe.dataset == "digits":
        return Splits(Digits(validation=False), Digits(validation=True), _numbered(10))
    path = _existing(recipe.dataset, path, download)
    if recipe.dataset == "cifar10-dvs":
        return _open_dvs(path, download)
    cifar = _TORCHVISION.get(recipe.dataset)
    if cifar is not None and (path / cifar.base_folder).is_dir():
        return _open_cifar(cifar, path, download)
    kind = find_kind(path)
    if kind == "npz" or (kind in ("parquet", "tar") and _holds_events(path, kind)):
        return _open_events(path, recipe)
    if kind == "parquet":
        return _open_source(path)
    if cifar is not None and not has_train_and_validation(path):
        return _open_cifar(cifar, path, download)
    return _open_folder(path)


def _existing(dataset: str, path: Path | None, download: bool) -> Path:
    """Return the folder of a data set, made where it is to be fetched."""
    if path is None:
        raise DataError(f"{dataset} needs --data PATH, where it lies; digits and fake are data sets that need nothing")
    if download and dataset not in _FETCHED:
        raise DataError(f"{dataset} cannot be fetched with --download; set --data to where it lies")
    if download:
        path.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        advice = f", or fetch it there with {_fetching(dataset, path)}" if dataset in _FETCHED else ""
        raise DataError(f"{path}: no such folder; set --data to where {dataset} lies{advice}")
    return path


def _fetching(dataset: str, path: Path) -> str:
    return f"i2e train --dataset {dataset} --data {path} --download"


def _holds_events(path: Path, kind: str) -> bool:
    """Return whether Parquet files or tars hold events: a column ``data``, or names that begin with ``train``."""
    files = find_shards(path, (f".{kind}",))
    if kind == "tar":
        return any("train" in (file.parent.name, file.name[:5]) for file in files)
    try:
        with open_parquet(files[0]) as file:
            return "data" in file.schema_arrow.names
    except pa.ArrowException as error:
        raise DataError(f"{files[0]}: not a Parquet file, or damaged: {error}") from error


def _open_fake(recipe: Recipe) -> Splits:
    size = 32 if recipe.augmentation == "crop" else recipe.size
    train, validation = (
        FakeImages(samples, recipe.classes, size, recipe.seed + number) for number, samples in enumerate(_FAKE_SAMPLES)
    )
    return Splits(train, validation, _numbered(recipe.classes))


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


def _open_cifar(kind: type[datasets.CIFAR10], path: Path, download: bool) -> Splits:
    try:
        train, test = (kind(path, train=training, download=download) for training in (True, False))
    except RuntimeError as error:
        advice = f"{_fetching(kind.__name__.lower(), path)} fetches it"
        raise DataError(f"{path}: {kind.__name__} is not there as torchvision keeps it; {advice}") from error
    except URLError as error:
        raise DataError(f"{kind.__name__} cannot be fetched ({error.reason}); bring {path} from elsewhere") from error
    return Splits(train, test, tuple(train.classes))


def _open_folder(path: Path) -> Splits:
    found = {folder.name for folder in path.iterdir() if folder.is_dir()}
    name = next((name for name in _VALIDATION_NAMES if name in found), None)
    if "train" not in found or name is None:
        raise DataError(f"{path}: needs the folders train and val, each with a folder for each class")
    train, validation = datasets.ImageFolder(path / "train"), datasets.ImageFolder(path / name)
    if train.classes != validation.classes:
        raise DataError(f"{path}: train and {name} do not have the same class folders")
    return Splits(train, validation, tuple(train.classes))


def _open_source(path: Path) -> Splits:
    names = splits(str(path))
    validation = next((name for name in _VALIDATION_NAMES if name in names), None)
    if "train" not in names or validation is None:
        raise DataError(f"{path}: needs the splits train and validation or test, it has {', '.join(names)}")
    sources = [open_source(str(path), split=name) for name in ("train", validation)]
    return Splits(SourceImages(sources[0]), SourceImages(sources[1]), sources[0].classes)


def _open_events(path: Path, recipe: Recipe) -> Splits:
    train, validation = _event_split(path, "train"), _event_split(path, *_VALIDATION_NAMES)
    if train.timesteps < (recipe.timesteps or 8):
        raise DataError(f"{path} holds events of {train.timesteps} timesteps; set --timesteps {train.timesteps}")
    names = None if train.classes is None else tuple(train.classes)
    return Splits(train, validation, names, events=True)


def _event_split(path: Path, *names: str) -> EventDataset:
    """Open the first split of these names that there is."""
    for name in names:
        try:
            return EventDataset(path, name, packed=True)
        except RecordError:
            raise
        except (FileNotFoundError, ValueError) as error:  # no such split; it names what there is
            problem = error
    raise DataError(f"{path}: a set of events needs a split {' or '.join(names)}; {problem}")


def _open_dvs(path: Path, download: bool) -> Splits:
    if not download and not any((path / name).is_dir() for name in ("events_np", "extract", "download")):
        fetching = _fetching("cifar10-dvs", path)
        raise DataError(f"{path}: CIFAR10-DVS is not there as SpikingJelly keeps it; {fetching} fetches it")
    recorded = CIFAR10DVS(str(path), data_type="frame", frames_number=DVS_FRAMES, split_by="number")
    recorded.loader = _load_frames
    train, validation = split_each_class(recorded.targets)
    return Splits(Subset(recorded, train), Subset(recorded, validation), tuple(recorded.classes), events=True)


def _load_frames(path: str) -> Tensor:
    """Read the frames that SpikingJelly wrote, event counts ``[T, 2, H, W]``; its older releases would unpickle."""
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["frames"].astype(np.float32))
