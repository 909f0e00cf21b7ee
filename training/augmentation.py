"""What happens to an image before its conversion, as published: torchvision's transforms, on uint8 tensors.

Resizing is bilinear with antialiasing here, as in the published training code. (The published event sets are bicubic.)
"""

from __future__ import annotations

from torchvision.transforms import v2

from i2e_triton.training.recipes import Recipe


def training_transform(recipe: Recipe) -> v2.Transform:
    """Return the random transform of training: PIL image or uint8 ``[C, H, W]`` to uint8 ``[C, size, size]``.

    ``"none"`` resizes, ``"flip"`` also mirrors half of the images, ``"crop"`` moves images of 32x32 by up to 4 pixels
    before that, and ``"resized-crop"`` cuts a part of random size and shape instead of resizing the whole.
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
    """Return the transform of validation: PIL image or uint8 ``[C, H, W]`` to uint8 ``[C, size, size]``."""
    size = (recipe.size, recipe.size)
    steps = [v2.Resize(round(recipe.size * 8 / 7)), v2.CenterCrop(size)] if recipe.val_crop else [v2.Resize(size)]
    return v2.Compose([v2.PILToTensor(), *steps])


def event_transform(recipe: Recipe) -> v2.Transform:
    """Return the random transform of event sets, whose size is given: mirroring, unless augmentation is ``"none"``."""
    return v2.Identity() if recipe.augmentation == "none" else v2.RandomHorizontalFlip(0.5)


def mixing_transform(recipe: Recipe) -> v2.Transform:
    """Return what mixes the images of a batch: CutMix or MixUp, by chance, to float images and class probabilities."""
    return v2.RandomChoice([v2.CutMix(num_classes=recipe.classes), v2.MixUp(num_classes=recipe.classes)])
