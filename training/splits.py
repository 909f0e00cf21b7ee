"""Open data sets of images or events, and choose their training, validation and test splits."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets
from torchvision.transforms import v2

from i2e_triton.datasets import EventDataset
from i2e_triton.datasets.location import MissingSplitError
from i2e_triton.io.location import IMAGE_SUFFIXES, find_kind, find_shards
from i2e_triton.io.parquet import read_metadata
from i2e_triton.io.tar import visible_files
from i2e_triton.sources import ImageRow, Source, SourceError, open_source, prepare, splits
from i2e_triton.sources.torchvision_sets import FOLDERS
from i2e_triton.training.loaders import Samples, seed_of
from i2e_triton.training.recipes import Recipe

_DVS_FRAMES = 8
_KEPT_BYTES = 2 * 2**30  #: the encoded images of a source up to this size are kept in memory


class Splits(NamedTuple):
    """A data set before augmentation. Samples are images (PIL, or uint8 ``[C, H, W]``) or events.

    ``validation`` chooses the best checkpoint, ``test`` reports its accuracy; they are the same object if the recipe
    does as the paper did. Events are dense ``[T, 2, H, W]`` or packed ``[2, H, W]``.
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...]  #: names, or numbers if the files have no names
    timesteps: int | None = None  #: of events; None for images

    def __str__(self) -> str:
        first = v2.functional.pil_to_tensor(image) if not isinstance(image := self.train[0][0], Tensor) else image
        kind = f"images of {len(first)} channels" if self.timesteps is None else f"events of {self.timesteps} timesteps"
        counts = f"{len(self.train):,} to train, {len(self.validation):,} to validate"
        counts += "" if self.test is self.validation else f", {len(self.test):,} to test"
        return f"{kind}, {first.shape[-2]} x {first.shape[-1]}, {len(self.classes)} classes: {counts}"


def open_splits(recipe: Recipe, path: Path | None, *, download: bool = False, fake: bool = False) -> Splits:
    """Open the data of a recipe. The arguments are those of :class:`i2e_triton.training.data.DataModule`.

    Raises:
        ValueError: if the data are missing; the message says what to change.
        OSError: if the data cannot be read or downloaded.
    """
    if fake or recipe.dataset == "fake":
        return _open_fake(recipe)
    if recipe.dataset == "digits":
        return _open_digits(recipe)
    if path is None:
        raise ValueError(
            f"{recipe.dataset} needs --data PATH, where it is; digits and fake are data sets without files"
        )
    if recipe.dataset == "cifar10-dvs":
        return _open_dvs(path, recipe, download)
    if download and recipe.dataset not in FOLDERS:
        raise ValueError(f"{recipe.dataset} cannot be downloaded; only {', '.join(FOLDERS)} and cifar10-dvs can")
    if not path.exists() and not download:
        advice = ", or add --download" if recipe.dataset in FOLDERS else ""
        raise ValueError(f"{path} does not exist; set --data to where {recipe.dataset} is{advice}")
    return _open_events(path, recipe) if _has_events(path) else _open_images(path, recipe, download)


def _split(found: dict[str, Any], recipe: Recipe, classes: tuple[str, ...], timesteps: int | None = None) -> Splits:
    """Use the splits that exist, and hold out random parts of the training split for those that are missing."""
    if "train" not in found:
        raise ValueError(f"there is no training split, only {', '.join(found)}; name a folder or file train")
    if empty := [name for name, samples in found.items() if not len(samples)]:
        raise ValueError(f"the split {empty[0]} has no samples")
    train, others = found["train"], [found[name] for name in ("validation", "test") if name in found]
    while len(others) < 2 and (recipe.holdout or not others):
        seed, share = seed_of(recipe.seed, 3, len(others)), recipe.holdout or 0.1
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
        count = max(1, round(share * len(train)))
        if count >= len(train):
            raise ValueError(f"{len(train)} training samples are too few to hold out {share:.0%} of them")
        others.insert(0, Subset(train, sorted(order[:count])))
        train = Subset(train, sorted(order[count:]))
    return Splits(train, others[0], others[-1], classes, timesteps)


def _open_digits(recipe: Recipe) -> Splits:
    """Return scikit-learn's handwritten digits, uint8 ``[1, 8, 8]``: every fifth one to test, the others to train."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]
    test = torch.arange(len(images)) % 5 == 0
    labels = torch.from_numpy(digits.target)
    found = {name: TensorDataset(images[rows], labels[rows]) for name, rows in (("train", ~test), ("test", test))}
    return _split(found, recipe, tuple(map(str, range(10))))


def _open_images(path: Path, recipe: Recipe, download: bool) -> Splits:
    if download:
        path.mkdir(parents=True, exist_ok=True)
    kind = recipe.dataset if download or (path / FOLDERS.get(recipe.dataset, "-")).is_dir() else None
    names = splits(str(path), kind)
    found = {name: SourceImages(open_source(str(path), kind=kind, split=name, download=download)) for name in names}
    classes = {each.source.classes for each in found.values()}
    if len(classes) > 1:
        raise SourceError(f"{path}: the splits {', '.join(names)} do not have the same class folders")
    return _split(found, recipe, classes.pop() or _numbered(found.values(), path))


def _open_events(path: Path, recipe: Recipe) -> Splits:
    found, problem = {}, ""
    for name in ("train", "validation", "test"):
        try:
            found[name] = EventDataset(path, name, packed=True)
        except (FileNotFoundError, MissingSplitError) as error:
            problem = str(error)
    if not found:
        raise ValueError(f"{path}: {problem}")
    first = next(iter(found.values()))
    classes = tuple(first.classes) if first.classes else _numbered(found.values(), path)
    return _split(found, recipe, classes, first.timesteps)


def _numbered(found: Any, path: Path) -> tuple[str, ...]:
    """Return the names of classes that have only numbers."""
    labels = [label for samples in found for label in samples.targets]
    if not labels or min(labels) < 0:
        raise SourceError(f"{path}: the samples have no labels; put those of each class into a folder of their own")
    return tuple(map(str, range(max(labels) + 1)))


def _has_events(path: Path) -> bool:
    """Return whether a location contains events rather than images."""
    kind = find_kind(path) if path.exists() else None
    if kind not in ("parquet", "tar"):
        return kind == "npz"
    first = find_shards(path, (f".{kind}",))[0] if path.is_dir() else path
    if kind == "parquet":
        return "data" in read_metadata(first)[0].names
    try:
        with first.open("rb") as file:
            return not any(member.name.lower().endswith(IMAGE_SUFFIXES) for member in islice(visible_files(file), 20))
    except tarfile.TarError as error:
        raise ValueError(f"{first}: not an uncompressed tar, or damaged: {error}") from error


def _open_dvs(path: Path, recipe: Recipe, download: bool) -> Splits:
    """Open CIFAR10-DVS as SpikingJelly stores it, split as by its ``split_to_train_test_set``."""
    from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS

    if not download and not any((path / name).is_dir() for name in ("events_np", "extract", "download")):
        raise ValueError(f"{path} does not contain CIFAR10-DVS as SpikingJelly stores it; add --download")
    recorded = CIFAR10DVS(str(path), data_type="frame", frames_number=_DVS_FRAMES, split_by="number")
    recorded.loader = _load_frames
    found: dict[str, list[int]] = {"train": [], "test": []}
    for label in range(len(recorded.classes)):
        indices = [index for index, other in enumerate(recorded.targets) if other == label]
        cut = math.ceil(0.9 * len(indices))
        found["train"] += indices[:cut]
        found["test"] += indices[cut:]
    samples = {name: Subset(recorded, indices) for name, indices in found.items()}
    return _split(samples, recipe, tuple(recorded.classes), _DVS_FRAMES)


def _load_frames(path: str) -> Tensor:
    """Read frames of event counts ``[T, 2, H, W]``; older releases of SpikingJelly would unpickle the file."""
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file["frames"].astype(np.float32))


def _open_fake(recipe: Recipe) -> Splits:
    """Return random images, as the official ``--dummy``."""
    size = 32 if recipe.augmentation == "crop" else recipe.size
    counts = {"train": 4096, "test": 1024}
    found = {name: datasets.FakeData(count, (3, size, size), recipe.classes) for name, count in counts.items()}
    return _split(found, recipe, tuple(map(str, range(recipe.classes))))


class SourceImages:
    """The images of a source, decoded when they are read."""

    def __init__(self, source: Source):
        self.source = source
        self._rows = list(source.read(0, len(source))) if source.nbytes() <= _KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = next(iter(self.source.read(index, index + 1))) if self._rows is None else self._rows[index]
        return prepare(row.image, None), row.label

    @property
    def targets(self) -> list[int]:
        """The label of every image. All rows are read."""
        rows: Sequence[ImageRow] = list(self.source.read(0, len(self))) if self._rows is None else self._rows
        return [row.label for row in rows]
