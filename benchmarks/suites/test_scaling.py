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
from benchmarks.harness.workload import RATIO, SOME_PAIRS, Conversions, cycle_calls, expected_events, random_images
from i2e_triton import convert
from i2e_triton.io.pictures import read_picture
from i2e_triton.transforms import ImageToEvents

_SIZE = 224
_BATCH = 32
_IMAGES = 64  # per epoch of a loader


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(
    ("method", "input", "format"),
    [("official", "float32", "float32"), *(("ours", *pair) for pair in SOME_PAIRS if pair != ("uint8", "float32"))],
)
def test_threads(measure: Callable[..., None], threads: int, method: str, input: str, format: str) -> None:
    """Measure this package and the official formulation with several CPU threads."""
    conversions = Conversions("cpu", input, format, _BATCH, _SIZE)
    if method == "ours":
        conversions.check()
        call, _ = conversions.timed("eager")
    else:
        images = random_images(_BATCH, _SIZE, input, "cpu")
        convert_official = partial(official.convert, images, official.motion_weight(), RATIO)
        assert torch.equal(convert_official(), expected_events(images, format))
        call = cycle_calls([convert_official])
    case = {"method": method, "input": input, "format": format, "threads": threads, "batch": _BATCH, "size": _SIZE}
    measure("threads", case, call, device="cpu", images=_BATCH, bytes_moved=conversions.bytes_moved)


class ImageFiles(Dataset[Tensor]):
    """Image files, each decoded, resized and transformed."""

    def __init__(self, paths: list[Path], transform: Callable[[Tensor], Tensor] | None):
        self._paths = paths
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        image = read_picture(self._paths[index], (_SIZE, _SIZE))
        return self._transform(image) if self._transform else image


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("where", ["in the workers", "in the loop", "nowhere"])
def test_workers(measure: Callable[..., None], image_files: Path, workers: int, where: str) -> None:
    """Measure an epoch of a DataLoader of JPEG files that are converted to packed events, or not converted."""
    known = sorted(image_files.glob("*.jpeg"))
    paths = [known[i % len(known)] for i in range(_IMAGES)]
    files = ImageFiles(paths, ImageToEvents(RATIO, packed=True) if where == "in the workers" else None)
    loader = DataLoader(files, batch_size=_BATCH, num_workers=workers, persistent_workers=workers > 0)

    def epoch() -> list[Tensor]:
        return [convert(batch, RATIO, packed=True) if where == "in the loop" else batch for batch in loader]

    images = torch.stack([read_picture(path, (_SIZE, _SIZE)) for path in paths])
    assert torch.equal(torch.cat(epoch()), images if where == "nowhere" else expected_events(images, "packed"))
    case = {"convert": where, "workers": workers, "batch": _BATCH, "size": _SIZE}
    measure("workers", case, epoch, device="cpu", images=_IMAGES)
