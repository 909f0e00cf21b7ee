"""Effect of CPU threads and of DataLoader workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.baselines import official
from benchmarks.harness.workload import RATIO, Conversions, cycle_calls, expected_events, random_images
from i2e_triton import convert
from i2e_triton.io.pictures import read_picture
from i2e_triton.transforms import ImageToEvents

_SIZE = 224
_BATCH = 32
_IMAGES = 64  # images per epoch of a DataLoader


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(
    ("method", "input", "format"),
    [
        ("official", "float32", "float32"),
        ("ours", "float32", "float32"),
        ("ours", "uint8", "bool"),
        ("ours", "uint8", "packed"),
    ],
)
def test_threads(measure: Callable[..., None], threads: int, method: str, input: str, format: str) -> None:
    """Measure this package and the official formulation with 1 and 2 CPU threads."""
    conversions = Conversions("cpu", input, format, _BATCH, _SIZE)
    if method == "ours":
        conversions.check()
        call, _ = conversions.call_for("eager")
    else:
        images = random_images(_BATCH, _SIZE, input, "cpu")
        convert_official = partial(official.convert, images, official.motion_weight(), RATIO)
        assert torch.equal(convert_official(), expected_events(images, format))
        call = cycle_calls([convert_official])
    case = {"method": method, "input": input, "format": format, "threads": threads, "batch": _BATCH, "size": _SIZE}
    measure("threads", case, call, device="cpu", images=_BATCH, bytes_moved=conversions.bytes_moved)


class ImageFiles(Dataset[Tensor]):
    """Images read from files: decoded, resized and, if there is a transform, transformed."""

    def __init__(self, paths: list[Path], transform: Callable[[Tensor], Tensor] | None):
        self._paths = paths
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        image = read_picture(self._paths[index], (_SIZE, _SIZE))
        return self._transform(image) if self._transform else image


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("convert_where", ["in the workers", "in the loop", "nowhere"])
def test_workers(measure: Callable[..., None], image_files: Path, workers: int, convert_where: str) -> None:
    """Measure one epoch of a DataLoader over JPEG files, with a conversion to packed events or without."""
    distinct_paths = sorted(image_files.glob("*.jpeg"))
    paths = [distinct_paths[i % len(distinct_paths)] for i in range(_IMAGES)]
    files = ImageFiles(paths, ImageToEvents(RATIO, packed=True) if convert_where == "in the workers" else None)
    loader = DataLoader(files, batch_size=_BATCH, num_workers=workers, persistent_workers=workers > 0)

    def epoch() -> list[Tensor]:
        return [convert(batch, RATIO, packed=True) if convert_where == "in the loop" else batch for batch in loader]

    images = torch.stack([read_picture(path, (_SIZE, _SIZE)) for path in paths])
    expected = images if convert_where == "nowhere" else expected_events(images, "packed")
    assert torch.equal(torch.cat(epoch()), expected)
    case = {"convert": convert_where, "workers": workers, "batch": _BATCH, "size": _SIZE}
    measure("workers", case, epoch, device="cpu", images=_IMAGES)
