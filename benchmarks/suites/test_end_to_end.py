"""From picture files to events in memory, and where the time goes on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from benchmarks.harness.devices import on
from benchmarks.harness.workload import RATIO, expected_events, in_turn
from i2e_triton import convert
from i2e_triton.io.pictures import read_picture

_SIZE = 224
_BATCH = {"cpu": 16, "cuda": 64}
_STAGES = ("decode", "resize", "stack", "transfer", "convert", "all")
_FORMAT = "bool"


def cases() -> list[Any]:
    """Parameter sets (device, stage); the whole and the host's stages by the host's clock."""
    stages_on_cpu = [stage for stage in _STAGES if stage != "transfer"]
    on_gpu = ("transfer", "convert")
    return [on("cpu", stage) for stage in stages_on_cpu] + [
        on("cuda", stage, host_clock=stage not in on_gpu) for stage in _STAGES
    ]


@pytest.mark.parametrize("files", ["jpeg", "png"])
@pytest.mark.parametrize(("device", "stage"), cases())
def test_end_to_end(measure: Callable[..., None], picture_files: Path, device: str, stage: str, files: str) -> None:
    """One stage of the way, or all of it, for a batch of files, on one thread."""
    known = sorted(picture_files.glob(f"*.{files}"))
    batch = _BATCH[device]
    paths = [known[i % len(known)] for i in range(batch)]
    way = Way(paths, device)
    assert torch.equal(way.all().cpu(), expected_events(way.stack(), _FORMAT))
    case = {"files": files, "stage": stage, "format": _FORMAT, "batch": batch, "size": _SIZE}
    measure("end to end", case, in_turn([getattr(way, stage)]), device=device, images=batch)


class Way:
    """The stages from files to events, each with what the one before it leaves.

    Args:
        paths: the files of a batch.
        device: where they are converted.
    """

    def __init__(self, paths: list[Path], device: str):
        self._paths = paths
        self._device = device
        self._decoded = self.decode()
        self._resized = self.resize()
        self._stacked = self.stack()
        self._transferred = self.transfer()

    def decode(self) -> list[PIL.Image.Image]:
        """Pixels of the files."""
        pictures = []
        for path in self._paths:
            with PIL.Image.open(path) as picture:
                pictures.append(picture.convert("RGB"))
        return pictures

    def resize(self) -> list[PIL.Image.Image]:
        """Pictures of one size, bicubic."""
        return [picture.resize((_SIZE, _SIZE), PIL.Image.Resampling.BICUBIC) for picture in self._decoded]

    def stack(self) -> Tensor:
        """A batch of pictures, in memory that a GPU can read by itself where there is one."""
        images = torch.empty(len(self._resized), 3, _SIZE, _SIZE, dtype=torch.uint8, pin_memory=self._device == "cuda")
        for image, picture in zip(images, self._resized):
            image.copy_(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        return images

    def transfer(self) -> Tensor:
        """The batch on the device; without a GPU it is there already."""
        return self._stacked.to(self._device, non_blocking=True)

    def convert(self) -> Tensor:
        """Events of the batch."""
        return convert(self._transferred, RATIO, dtype=torch.bool)

    def all(self) -> Tensor:
        """Events of the files, as a user writes it, finished."""
        images = torch.stack([read_picture(path, (_SIZE, _SIZE)) for path in self._paths])
        events = convert(images.to(self._device), RATIO, dtype=torch.bool)
        if self._device == "cuda":
            torch.cuda.synchronize()
        return events
