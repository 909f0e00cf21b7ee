"""What more threads and more DataLoader workers bring; what a pixel of a larger image costs, throughput says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.baselines import official
from benchmarks.harness.conversions import Conversions
from benchmarks.harness.workload import RATIO, event_bytes, expected_events, fresh_images, image_bytes, in_turn
from i2e_triton import convert
from i2e_triton.io.pictures import read_picture
from i2e_triton.transforms import ImageToEvents

_SIZE = 224
_BATCH = 32
_THREADS = (1, 2)
_WORKERS = (0, 1, 2)
_PICTURES = 64  # that a loader goes through


@pytest.mark.parametrize("threads", _THREADS, indirect=True)
@pytest.mark.parametrize(("input", "format"), [("uint8", "bool"), ("uint8", "packed"), ("float32", "float32")])
def test_threads(measure: Callable[..., None], threads: int, input: str, format: str) -> None:
    """This package's CPU path on more threads."""
    conversions = Conversions("cpu", input, format, _BATCH, _SIZE)
    conversions.check()
    case = {"method": "ours", "input": input, "format": format, "threads": threads, "batch": _BATCH, "size": _SIZE}
    call, _ = conversions.timed("eager")
    measure("threads", case, call, device="cpu", images=_BATCH, bytes_moved=conversions.bytes_moved)


@pytest.mark.parametrize("threads", _THREADS, indirect=True)
def test_threads_of_published(measure: Callable[..., None], threads: int) -> None:
    """The published formulation on more threads."""
    images = fresh_images(_BATCH, _SIZE, "float32", "cpu")
    call = partial(official.convert, images, official.motion_weight(), RATIO)
    assert torch.equal(call(), expected_events(images, "float32"))
    case = {
        "method": "published",
        "input": "float32",
        "format": "float32",
        "threads": threads,
        "batch": _BATCH,
        "size": _SIZE,
    }
    moved = image_bytes(_BATCH, _SIZE, "float32") + event_bytes(_BATCH, _SIZE, "float32")
    measure("threads", case, in_turn([call]), device="cpu", images=_BATCH, bytes_moved=moved)


class Pictures(Dataset[Tensor]):
    """Picture files, one by one: decoded, resized, and transformed."""

    def __init__(self, paths: list[Path], transform: Callable[[Tensor], Tensor] | None):
        self._paths = paths
        self._transform = transform

    def __len__(self) -> int:
        """How many."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        """One picture."""
        image = read_picture(self._paths[index], (_SIZE, _SIZE))
        return self._transform(image) if self._transform else image


@pytest.mark.parametrize("workers", _WORKERS)
@pytest.mark.parametrize("where", ["in the workers", "in the loop", "nowhere"])
def test_workers(measure: Callable[..., None], picture_files: Path, workers: int, where: str) -> None:
    """An epoch of a DataLoader of JPEG files, converted to packed events one by one, by batches, or not at all."""
    known = sorted(picture_files.glob("*.jpeg"))
    paths = [known[i % len(known)] for i in range(_PICTURES)]
    transform = ImageToEvents(RATIO, packed=True) if where == "in the workers" else None
    loader = DataLoader(
        Pictures(paths, transform), batch_size=_BATCH, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> list[Tensor]:
        return [convert(batch, RATIO, packed=True) if where == "in the loop" else batch for batch in loader]

    images = torch.stack([read_picture(path, (_SIZE, _SIZE)) for path in paths])
    assert torch.equal(torch.cat(epoch()), images if where == "nowhere" else expected_events(images, "packed"))
    case = {"convert": where, "workers": workers, "batch": _BATCH, "size": _SIZE}
    measure("workers", case, in_turn([epoch]), device="cpu", images=_PICTURES)
