"""Image data sets for the benchmarks, as Parquet files in the schema of the Hugging Face hub."""

from __future__ import annotations

import io
import itertools
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
class ImageSet:
    """An image data set and the arguments of its conversion."""

    name: str  #: name in result rows
    location: Path
    size: tuple[int, int]  #: height and width of the events
    ratio: float

    def __len__(self) -> int:
        """Return the number of images of all splits."""
        return sum(len(open_source(str(self.location), split=split)) for split in splits(str(self.location)))


def cifar10(location: Path) -> ImageSet:
    """Return CIFAR-10 with the size and ratio of the official event data set."""
    return ImageSet("CIFAR-10", location, (128, 128), 0.07)


def like_cifar10(folder: Path) -> ImageSet:
    """Write a stand-in for CIFAR-10: random crops of photographs of the same size, as JPEG of quality 75."""
    _write(folder, 4096, 32, 32, reduce=4, quality=75)
    return ImageSet("crops of 32×32", folder, (128, 128), 0.07)


def like_imagenet(folder: Path) -> ImageSet:
    """Write a stand-in for ImageNet: random crops of photographs of about the same size, as JPEG of quality 90."""
    _write(folder, 256, 375, 300, reduce=1, quality=90)
    return ImageSet("crops of 300×375", folder, (224, 224), 0.12)


def _write(folder: Path, count: int, width: int, height: int, *, reduce: int, quality: int) -> None:
    photographs = []
    for name in PHOTOGRAPHS:
        with PIL.Image.open(photograph_path(name)) as image:
            photographs.append(image.convert("RGB").reduce(reduce))
    rows = []
    for photograph in itertools.islice(itertools.cycle(photographs), count):
        left = int(torch.randint(photograph.width - width + 1, ()))
        top = int(torch.randint(photograph.height - height + 1, ()))
        file = io.BytesIO()
        photograph.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=quality)
        rows.append({"bytes": file.getvalue(), "path": None})
    table = pa.table({"img": pa.array(rows, _IMAGE), "label": [row % 10 for row in range(count)]})
    pq.write_table(table, folder / "train.parquet")
