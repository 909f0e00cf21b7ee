"""Raw images to events of their padded, cropped, resized and flipped versions, against torchvision and a conversion.

As new tensors, while those of the batch before are freed, and into those (``out``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.harness.devices import on
from benchmarks.harness.workload import FORMATS, event_bytes, fresh_images
from benchmarks.report.sections import AUGMENTATION_METHODS, AUGMENTATION_RESULTS
from i2e_triton import canonical_shifts, convert, reference
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
    """Parameter sets (device, method, format, result); torchvision goes image by image in a worker, on the CPU."""
    for format, result in product(_FORMATS, AUGMENTATION_RESULTS):
        yield from (on("cpu", method, format, result) for method in AUGMENTATION_METHODS)
        yield from (on("cuda", method, format, result) for method in ("ours", "conversion alone"))


@pytest.mark.parametrize(("device", "method", "format", "result"), list(cases()))
def test_augmentation(measure: Callable[..., None], device: str, method: str, format: str, result: str) -> None:
    """One way from raw images to augmented events."""
    images = fresh_images(_BATCH, _RAW, "uint8", device, "photographs")
    case = {"method": method, "format": format, "result": result, "batch": _BATCH, "raw": _RAW, "size": _SIZE}
    moved = images.numel() + event_bytes(_BATCH, _SIZE, format)
    options = FORMATS[format]
    out = convert(images, _RATIO, **_AUGMENT(images), **options) if result == "out" else None
    call = method_call(method, images, options, out)
    measure("augmentation", case, call, device=device, images=_BATCH, bytes_moved=moved)


def method_call(method: str, images: Tensor, options: dict[str, Any], out: Tensor | None) -> Callable[[], object]:
    """What a method does for a batch of raw images, each from its own random numbers."""
    each = [None] * len(images) if out is None else out if options.get("packed") else out.unbind(1)
    match method:
        case "ours":
            check(images)
            return lambda: convert(images, _RATIO, **_AUGMENT(images), out=out, **options)
        case "torchvision, image by image":
            return lambda: [convert(_TORCHVISION(i), _RATIO, out=place, **options) for i, place in zip(images, each)]
        case "torchvision, converted as a batch":
            return lambda: convert(torch.stack([_TORCHVISION(i) for i in images]), _RATIO, out=out, **options)
    ready = fresh_images(len(images), _SIZE, "uint8", str(images.device), "photographs")
    return lambda: convert(ready, _RATIO, out=out, **options)


def check(images: Tensor) -> None:
    """Compare some images with the specification, bit for bit.

    Raises:
        AssertionError: if an event differs.
    """
    some = images[::16]
    augmentation = _AUGMENT(some)
    events = convert(some, _RATIO, dtype=torch.bool, **augmentation).cpu()
    crop, flip = augmentation["crop"].cpu(), augmentation["flip"].cpu()
    size = augmentation["size"]
    expected = reference.convert(some.cpu(), _RATIO, canonical_shifts(), crop=crop, size=size, flip=flip)
    assert torch.equal(events, expected)
