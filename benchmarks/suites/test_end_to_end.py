"""The stages from image files to events in memory, each alone and all together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import FILE_STAGES, RATIO, expected_events
from i2e_triton import convert
from i2e_triton.io.pictures import read_picture

_SIZE = 224
_BATCH = {"cpu": 16, "cuda": 64}
_CASES = [
    device_param(device, stage) for device in _BATCH for stage in FILE_STAGES if (device, stage) != ("cpu", "transfer")
]


@pytest.mark.parametrize("file_type", ["jpeg", "png"])
@pytest.mark.parametrize(("device", "stage"), _CASES)
def test_end_to_end(measure: Callable[..., None], image_files: Path, device: str, stage: str, file_type: str) -> None:
    """Measure one stage, or all stages together, for a batch of files on one thread."""
    distinct_paths = sorted(image_files.glob(f"*.{file_type}"))
    batch = _BATCH[device]
    call = stages([distinct_paths[i % len(distinct_paths)] for i in range(batch)], device)[stage]
    case = {"files": file_type, "stage": stage, "format": "bool", "batch": batch, "size": _SIZE}
    measure("end to end", case, call, device=device, images=batch)


def stages(paths: list[Path], device: str) -> dict[str, Callable[[], object]]:
    """Return a function for each stage, for a batch of files.

    Each function runs only its stage, on the result of the previous stage, which is computed here once.
    """

    def decode() -> list[PIL.Image.Image]:
        images = []
        for path in paths:
            with PIL.Image.open(path) as image:
                images.append(image.convert("RGB"))
        return images

    def resize() -> list[PIL.Image.Image]:
        return [image.resize((_SIZE, _SIZE), PIL.Image.Resampling.BICUBIC) for image in decoded]

    def stack() -> Tensor:
        batch = torch.empty(len(resized), 3, _SIZE, _SIZE, dtype=torch.uint8, pin_memory=device == "cuda")
        for target, image in zip(batch, resized):
            target.copy_(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        return batch

    def transfer() -> Tensor:
        return stacked.to(device, non_blocking=True)

    def convert_batch() -> Tensor:
        return convert(transferred, RATIO, dtype=torch.bool)

    def all_stages() -> Tensor:
        """Convert the files as a user would."""
        images = torch.stack([read_picture(path, (_SIZE, _SIZE)) for path in paths])
        return convert(images.to(device), RATIO, dtype=torch.bool)

    decoded = decode()
    resized = resize()
    stacked = stack()
    transferred = transfer()
    assert torch.equal(all_stages().cpu(), expected_events(stacked, "bool"))
    return dict(zip(FILE_STAGES, (decode, resize, stack, transfer, convert_batch, all_stages)))
