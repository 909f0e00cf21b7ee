"""Pad, crop, resize, flip and convert images, compared with torchvision followed by a conversion.

The events are written to new tensors, or to existing ones (``out``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import AUGMENTATION_METHODS, FORMATS, event_bytes, random_images
from i2e_triton import canonical_shifts, convert, random_shifts, reference
from i2e_triton.augmentation import RandomCropResizeFlip

_RATIO = 0.07
_BATCH, _RAW, _SIZE = 128, 32, 128
_FORMATS = ("float32", "bfloat16", "bool", "packed")
_AUGMENT = RandomCropResizeFlip(_SIZE, crop=_RAW, padding=4)
_TORCHVISION = v2.Compose(
    [
        v2.RandomCrop(_RAW, padding=4, padding_mode="edge"),
        v2.ToDtype(torch.float32, scale=True),
        v2.Resize((_SIZE, _SIZE), antialias=False),
        v2.RandomHorizontalFlip(),
    ]
)


def cases() -> Iterator[Any]:
    """Yield the parameters (device, method, format, result). torchvision runs on the CPU, as in a DataLoader worker."""
    for format, result in product(_FORMATS, ("new", "out")):
        yield from (device_param("cpu", method, format, result) for method in AUGMENTATION_METHODS)
        yield from (device_param("cuda", method, format, result) for method in ("ours", "conversion alone"))


@pytest.mark.parametrize(("device", "method", "format", "result"), list(cases()))
def test_augmentation(measure: Callable[..., None], device: str, method: str, format: str, result: str) -> None:
    """Measure one method from raw images to events of augmented images."""
    images = random_images(_BATCH, _RAW, "uint8", device, "photographs")
    case = {"method": method, "format": format, "result": result, "batch": _BATCH, "raw": _RAW, "size": _SIZE}
    moved = images.numel() + event_bytes(_BATCH, _SIZE, format)
    options = FORMATS[format]
    out = convert(images, _RATIO, **_AUGMENT(images), **options) if result == "out" else None
    call = method_call(method, images, options, out)
    measure("augmentation", case, call, device=device, images=_BATCH, bytes_moved=moved)


@pytest.mark.parametrize("device", [device_param(device) for device in ("cpu", "cuda")])
def test_draws(measure: Callable[..., None], device: str) -> None:
    """Measure the random draws alone: boxes, flips and motion vectors of each image."""
    images = random_images(_BATCH, _RAW, "uint8", device, "noise")

    def draw() -> object:
        return _AUGMENT(images), random_shifts(_BATCH, device=device)

    measure("draws", {"batch": _BATCH}, draw, device=device, images=_BATCH)


def method_call(method: str, images: Tensor, options: dict[str, Any], out: Tensor | None) -> Callable[[], object]:
    """Return a function that runs a method on a batch of raw images. Each call draws new random numbers."""
    outs = [None] * len(images) if out is None else out if options.get("packed") else out.unbind(1)
    match method:
        case "ours":
            check_events(images)
            return lambda: convert(images, _RATIO, **_AUGMENT(images), out=out, **options)
        case "torchvision, image by image":
            return lambda: [convert(_TORCHVISION(i), _RATIO, out=o, **options) for i, o in zip(images, outs)]
        case "torchvision, converted as a batch":
            return lambda: convert(torch.stack([_TORCHVISION(i) for i in images]), _RATIO, out=out, **options)
    ready = random_images(len(images), _SIZE, "uint8", str(images.device), "photographs")
    return lambda: convert(ready, _RATIO, out=out, **options)


def check_events(images: Tensor) -> None:
    """Compare the events of every 16th image with the reference implementation, bit for bit.

    Raises:
        AssertionError: if an event differs.
    """
    checked = images[::16]
    augmentation = _AUGMENT(checked)
    events = convert(checked, _RATIO, dtype=torch.bool, **augmentation).cpu()
    crop, flip, size = augmentation["crop"].cpu(), augmentation["flip"].cpu(), augmentation["size"]
    expected = reference.convert(checked.cpu(), _RATIO, canonical_shifts(), crop=crop, size=size, flip=flip)
    assert torch.equal(events, expected)
