"""Data sets of pictures to convert, in the Parquet schema of the Hugging Face hub."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.harness.workload import PHOTOGRAPHS, photograph_path
from i2e_triton.sources import open_source, splits

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class PictureSet:
    """Pictures somewhere, what rows call them, and how they are converted."""

    name: str
    location: Path
    size: tuple[int, int]  #: that they are resized to
    ratio: float

    def rows(self) -> int:
        """How many pictures all splits have."""
        return sum(len(open_source(str(self.location), split=split)) for split in splits(str(self.location)))


def cifar10(location: Path) -> PictureSet:
    """CIFAR-10, where it lies, as it is published as events."""
    return PictureSet("CIFAR-10", location, (128, 128), 0.07)


def like_cifar10(folder: Path) -> PictureSet:
    """Pieces of photographs, as small as CIFAR-10's pictures and encoded like them: JPEG, quality 75."""
    _write(folder, 4096, (32, 32), reduce=4, quality=75)
    return PictureSet("pieces of 32×32", folder, (128, 128), 0.07)


def like_imagenet(folder: Path) -> PictureSet:
    """Pieces of photographs, about as large as ImageNet's pictures: JPEG, quality 90."""
    _write(folder, 256, (375, 300), reduce=1, quality=90)
    return PictureSet("pieces of 300×375", folder, (224, 224), 0.12)


def _write(folder: Path, rows: int, size: tuple[int, int], *, reduce: int, quality: int) -> None:
    photographs = []
    for name in PHOTOGRAPHS:
        with PIL.Image.open(photograph_path(name)) as picture:
            photographs.append(picture.convert("RGB").reduce(reduce))
    encoded = [_piece(photographs[row % len(photographs)], size, quality) for row in range(rows)]
    images = pa.array([{"bytes": content, "path": None} for content in encoded], _IMAGE)
    pq.write_table(pa.table({"img": images, "label": [row % 10 for row in range(rows)]}), folder / "train.parquet")


def _piece(photograph: PIL.Image.Image, size: tuple[int, int], quality: int) -> bytes:
    """Cut a piece (width, height) at a random place and encode it."""
    left = int(torch.randint(photograph.width - size[0] + 1, ()))
    top = int(torch.randint(photograph.height - size[1] + 1, ()))
    file = io.BytesIO()
    photograph.crop((left, top, left + size[0], top + size[1])).save(file, "JPEG", quality=quality)
    return file.getvalue()
