"""Pictures as small as CIFAR-10's, in the Parquet schema of the Hugging Face hub."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.workload import PHOTOGRAPHS, photograph_path
from i2e_triton.sources import open_source, splits

_SIDE = 32
_ROWS = 4096


@dataclass(frozen=True)
class SmallPictures:
    """A data set of small pictures, and what rows call it."""

    name: str
    location: Path

    def rows(self) -> int:
        """How many pictures all splits have."""
        return sum(len(open_source(str(self.location), split=split)) for split in splits(str(self.location)))


def pieces_of_photographs(folder: Path) -> SmallPictures:
    """Write pieces of photographs, cut at random places and encoded as JPEG of quality 75."""
    photographs = []
    for name in PHOTOGRAPHS:
        with PIL.Image.open(photograph_path(name)) as picture:
            photographs.append(picture.convert("RGB").reduce(4))
    encoded = [_piece(photographs[row % len(photographs)]) for row in range(_ROWS)]
    images = pa.array([{"bytes": content, "path": None} for content in encoded], _IMAGE)
    pq.write_table(pa.table({"img": images, "label": [row % 10 for row in range(_ROWS)]}), folder / "train.parquet")
    return SmallPictures("pieces of photographs", folder)


_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _piece(photograph: PIL.Image.Image) -> bytes:
    left = int(torch.randint(photograph.width - _SIDE, ()))
    top = int(torch.randint(photograph.height - _SIDE, ()))
    file = io.BytesIO()
    photograph.crop((left, top, left + _SIDE, top + _SIDE)).save(file, "JPEG", quality=75)
    return file.getvalue()
