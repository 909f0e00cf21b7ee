"""A whole data set to files of events: its stages, all of it by ``i2e dataset``, and the published way."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.baselines import published
from benchmarks.sections import DATA_SET_STAGES
from benchmarks.small_pictures import SmallPictures, pieces_of_photographs
from i2e_triton import convert, unpack
from i2e_triton.conversion.containers import Sample, write_shard
from i2e_triton.conversion.plan import Settings, Shard
from i2e_triton.formats import decode_record, encode_records
from i2e_triton.sources import Row, open_source, prepare, prepare_batch

_SIZE = (128, 128)
_RATIO = 0.07
_BATCH = 256


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallPictures:
    """CIFAR-10 where ``--cifar10`` says that it is, else pieces of photographs of its size."""
    location = request.config.getoption("--cifar10")
    if location is not None:
        return SmallPictures("CIFAR-10", location)
    return pieces_of_photographs(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("stage", DATA_SET_STAGES)
def test_stages(measure: Callable[..., None], pictures: SmallPictures, tmp_path: Path, stage: str) -> None:
    """One stage for a batch of rows, on one thread."""
    call = Stages(pictures, tmp_path).calls[stage]
    case = {"data": pictures.name, "stage": stage, "batch": _BATCH, "size": _SIZE[0]}
    measure("data set stages", case, call, device="cpu", images=_BATCH)


def test_published(measure: Callable[..., None], pictures: SmallPictures, tmp_path: Path) -> None:
    """The published way, an image at a time: PIL, v2 transforms, module, ``np.savez_compressed``; on one thread."""
    rows = list(open_source(str(pictures.location), split="train").read(0, 16))
    weight = published.motion_weight()

    def call() -> None:
        for row in rows:
            convert_as_published(row, weight, tmp_path / f"{row.key}.npz")

    call()
    for row in rows:
        events = convert(prepare(row.image, _SIZE), _RATIO, dtype=torch.bool)
        assert np.array_equal(np.load(tmp_path / f"{row.key}.npz")["arr_0"], events.numpy())
    case = {"data": pictures.name, "method": "published", "size": _SIZE[0], "workers": None}
    measure("data set", case, call, device="cpu", images=len(rows))


@pytest.mark.parametrize("workers", [1, 2])
def test_all(measure: Callable[..., None], pictures: SmallPictures, tmp_path: Path, workers: int) -> None:
    """All rows of all splits by the command, once; with the start of Python, of PyTorch and of the workers."""
    out = tmp_path / "out"
    options = ["--preset", "cifar10", "--workers", str(workers), "-o", str(out)]

    def call() -> None:
        command = [sys.executable, "-m", "i2e_triton", "dataset", str(pictures.location), *options]
        subprocess.run(command, check=True, capture_output=True)

    images = pictures.rows()
    case = {"data": pictures.name, "method": "i2e dataset", "size": _SIZE[0], "workers": workers}
    measure("data set", case, call, device="cpu", images=images, once=True)
    assert sum(pq.ParquetFile(path).metadata.num_rows for path in out.glob("*.parquet")) == images


def convert_as_published(row: Row, weight: Tensor, path: Path) -> None:
    """Convert one image as the published notebooks do, with the resizing of the published data sets."""
    assert isinstance(row.image, bytes)
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(_SIZE, interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    with PIL.Image.open(io.BytesIO(row.image)) as picture:
        image = transform(picture.convert("RGB"))
    events = published.convert(image[None], weight, _RATIO).squeeze()
    np.savez_compressed(path, events.numpy().astype(bool))


class Stages:
    """The stages of a conversion, each with what the one before it leaves."""

    def __init__(self, pictures: SmallPictures, folder: Path) -> None:
        self._source = open_source(str(pictures.location), split="train")
        self._folder = folder
        self._rows = self.read()
        self._images = self.prepare()
        self._packed = self.convert()
        self._records = self.encode()
        assert torch.equal(decode_record(self._records[0]), unpack(self._packed[0], dtype=torch.bool))
        self.calls: dict[str, Callable[[], object]] = dict(
            zip(DATA_SET_STAGES, (self.read, self.prepare, self.convert, self.encode, self.write))
        )

    def read(self) -> list[Row]:
        """Rows of the source, as they are stored."""
        return list(self._source.read(0, _BATCH))

    def prepare(self) -> Tensor:
        """Images of one size: uint8 ``[B, 3, H, W]``."""
        ((_, images),) = prepare_batch([row.image for row in self._rows], _SIZE).groups
        return images

    def convert(self) -> Tensor:
        """Packed events of the batch."""
        return convert(self._images, _RATIO, packed=True)

    def encode(self) -> list[bytes]:
        """Records as published."""
        return encode_records(self._packed)

    def write(self) -> None:
        """A Parquet shard of the records, zstd, and its digest."""
        samples = (Sample(i, row.key, row.label, self._records[i]) for i, row in enumerate(self._rows))
        write_shard(self._folder, Shard("train", 0, 1, 0, _BATCH), samples, Settings(_RATIO), self._source.classes)
