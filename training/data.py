"""The data of a run: described by a recipe, augmented, and loaded in batches."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torchvision.transforms import v2

from i2e_triton.augmentation import RandomAugmentation, RandomCropResizeFlip, RandomResizedCropFlip
from i2e_triton.checks import PAPER_TIMESTEPS
from i2e_triton.pipeline.manifest import ManifestError, read_manifest
from i2e_triton.training.image_loader import GPUImageLoader, ImageSet
from i2e_triton.training.loaders import ResumableLoader, SampleLoader, Samples
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.splits import Splits, open_splits


class DataModule(pl.LightningDataModule):
    """The data of a recipe; ``recipe`` has the values that were detected, ``splits`` the samples.

    Args:
        recipe: names the data set. For the data set ``own``, classes, size and ratio are detected.
        path: where the data are: class folders of images, Parquet files, tars (WebDataset), the root of a torchvision
            data set, or events of ``i2e dataset`` or the hub. Not needed for ``digits`` and ``fake``.
        workers: worker processes that load data.
        in_memory: load batches with :class:`~i2e_triton.training.image_loader.GPUImageLoader`; all images
            must have one size.
        download: download CIFAR, MNIST or CIFAR10-DVS if it is missing.
        fake: use random images of the recipe's size and classes instead of data.
        given: values of the recipe that the user has set, which detection does not change.

    Raises:
        ValueError: if the data are missing or do not fit the recipe; the message says what to change.
        OSError: if the data cannot be read or downloaded.
    """

    def __init__(
        self,
        recipe: Recipe,
        path: str | Path | None = None,
        *,
        workers: int = 0,
        in_memory: bool = False,
        download: bool = False,
        fake: bool = False,
        given: dict[str, Any] | None = None,
    ):
        super().__init__()
        path = None if path is None else Path(path).expanduser()
        self.workers, self.in_memory = workers, in_memory
        self.splits = open_splits(recipe, path, download=download, fake=fake)
        self.recipe = _detected(recipe, self.splits, path, given or {})
        _check(self.recipe, self.splits, path or recipe.dataset, given or {})
        if in_memory and (self.splits.timesteps is not None or self.recipe.mixup or self.recipe.val_crop):
            raise ValueError("--in-memory needs images, without mixup and val_crop; leave it out")

    def train_dataloader(self) -> ResumableLoader:
        """Return augmented batches in random order; with accumulation, parts of the batch of an optimizer step."""
        recipe = self.recipe
        transform = training_transform(recipe)
        if self.splits.timesteps is not None:  # events are flipped at most
            transform = v2.RandomHorizontalFlip(0.0 if recipe.augmentation == "none" else 0.5)
        return self._loader(self.splits.train, transform, recipe.batch_size // recipe.accumulate, True)

    def val_dataloader(self) -> ResumableLoader:
        """Return batches of the split that chooses the best checkpoint."""
        return self._loader(self.splits.validation, self._plain(), self.recipe.batch_size, False)

    def test_dataloader(self) -> ResumableLoader:
        """Return batches of the split that reports the accuracy."""
        return self._loader(self.splits.test, self._plain(), self.recipe.batch_size, False)

    def _plain(self) -> v2.Transform:
        return validation_transform(self.recipe) if self.splits.timesteps is None else v2.Identity()

    def _loader(self, samples: Samples, transform: v2.Transform, batch_size: int, shuffle: bool) -> ResumableLoader:
        trainer, recipe = self.trainer, self.recipe
        rank, processes = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        batch_size = batch_size if shuffle else max(1, batch_size // processes) * processes
        shared: dict[str, Any] = {"seed": recipe.seed, "shuffle": shuffle, "rank": rank, "processes": processes}
        if not self.in_memory:
            workers, pinned = -(-self.workers // processes), torch.cuda.is_available()
            return SampleLoader(samples, transform, batch_size, workers=workers, pin_memory=pinned, **shared)
        images = ImageSet.of(samples)
        shared |= {"ratio": recipe.ratio, "order": recipe.order, "timesteps": recipe.timesteps or PAPER_TIMESTEPS}
        shared |= {"device": "cpu" if trainer is None else trainer.strategy.root_device, "packed": True}
        if not shuffle or recipe.augmentation == "none":
            size, random = (recipe.size, recipe.size), recipe.random and shuffle
            return GPUImageLoader(images, batch_size, size=size, random=random, **shared)
        augment: RandomAugmentation = RandomResizedCropFlip(recipe.size)
        if recipe.augmentation != "resized-crop":
            padding = 4 if recipe.augmentation == "crop" else 0
            augment = RandomCropResizeFlip(recipe.size, tuple(images.images.shape[-2:]), padding)
        return GPUImageLoader(images, batch_size, augment=augment, random=recipe.random, **shared)


def _detected(recipe: Recipe, found: Splits, path: Path | None, given: dict[str, Any]) -> Recipe:
    """Return the recipe with what the data say: how events were converted, and everything for own data."""
    values: dict[str, Any] = {}
    if found.timesteps is not None and path is not None and path.is_dir():
        try:
            manifest = read_manifest(path)
        except ManifestError as error:
            raise ValueError(str(error)) from error
        made = {} if manifest is None else manifest.settings
        height, width = made.get("size") or (None, None)
        values = {"ratio": made.get("ratio"), "order": made.get("order"), "random": made.get("random_shifts")}
        values["size"] = height if height == width else None
    if recipe.dataset == "own":
        rows = range(0, len(found.train), max(1, len(found.train) // 64))
        size = 32 * round(statistics.median(min(found.train[row][0].shape[-2:]) for row in rows) / 32)
        size = min(224, max(32, size))
        ratio = 0.12 if size > 176 else 0.07 if size > 48 else 0.1  # the paper's, at 224, 128 and 32
        values = {"size": size, "ratio": ratio, "classes": len(found.classes), "timesteps": found.timesteps} | {
            name: value for name, value in values.items() if value is not None
        }
    return recipe.changed(**{name: value for name, value in values.items() if name not in given})


def _check(recipe: Recipe, found: Splits, where: Path | str, given: dict[str, Any]) -> None:
    """Raise a ValueError if data and recipe do not fit."""
    if (classes := len(found.classes)) != recipe.classes:
        raise ValueError(
            f"{where} has {classes} classes, the network {recipe.classes}; set --classes {classes}, or choose another "
            "--data"
        )
    if found.timesteps is None:
        return
    unused = {"ratio", "order", "random", "threshold", "size", "mixup"} & given.keys()
    if given.get("augmentation") in ("crop", "resized-crop"):
        unused.add("augmentation")
    if unused or recipe.input != "events":
        names = ", ".join(sorted(unused)) or "input"
        raise ValueError(f"{where} contains events; {names} applies to images only, so leave it out")
    if found.timesteps < (recipe.timesteps or PAPER_TIMESTEPS):
        raise ValueError(f"{where} has events of {found.timesteps} timesteps; set --timesteps {found.timesteps}")


def training_transform(recipe: Recipe) -> v2.Transform:
    """Return the augmentation of a recipe: PIL image or uint8 ``[C, H, W]`` to uint8 ``[C, size, size]``.

    Resizing is bilinear with antialiasing, as in the official training code (the official event data use bicubic).
    """
    size = (recipe.size, recipe.size)
    flip = v2.RandomHorizontalFlip(0.5)
    steps = {
        "none": [v2.Resize(size)],
        "flip": [v2.Resize(size), flip],
        "crop": [v2.RandomCrop(32, padding=4, padding_mode="edge"), v2.Resize(size), flip],
        "resized-crop": [v2.RandomResizedCrop(size), flip],
    }
    return v2.Compose([v2.PILToTensor(), *steps[recipe.augmentation]])


def validation_transform(recipe: Recipe) -> v2.Transform:
    """Return the resizing of validation: PIL image or uint8 ``[C, H, W]`` to uint8 ``[C, size, size]``."""
    size = (recipe.size, recipe.size)
    steps = [v2.Resize(round(recipe.size * 8 / 7)), v2.CenterCrop(size)] if recipe.val_crop else [v2.Resize(size)]
    return v2.Compose([v2.PILToTensor(), *steps])
