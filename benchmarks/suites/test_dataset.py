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

from benchmarks.baselines import official
from benchmarks.harness.picture_sets import PictureSet, cifar10, like_cifar10, like_imagenet
from benchmarks.report.sections import DATA_SET_STAGES
from i2e_triton import convert, unpack
from i2e_triton.formats import decode_record, encode_records
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.writers import EncodedRow, WrittenFiles, write_shard
from i2e_triton.sources import Row, open_source, prepare, prepare_batch

_BATCH = 256


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """CIFAR-10 where ``--cifar10`` says that it is, else pieces of photographs of its size."""
    location = request.config.getoption("--cifar10")
    return like_cifar10(tmp_path_factory.mktemp("small")) if location is None else cifar10(location)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """Pieces of photographs of about ImageNet's size."""
    return like_imagenet(tmp_path_factory.mktemp("large"))


@pytest.mark.parametrize("stage", DATA_SET_STAGES)
@pytest.mark.parametrize("which", ["small", "large"])
def test_stages(
    measure: Callable[..., None], request: pytest.FixtureRequest, tmp_path: Path, which: str, stage: str
) -> None:
    """One stage for a batch of rows, on one thread."""
    pictures: PictureSet = request.getfixturevalue(which)
    stages = Stages(pictures, tmp_path)
    case = {"data": pictures.name, "stage": stage, "batch": _BATCH, "size": pictures.size[0]}
    disk = {"bytes_on_disk": stages.written_bytes()}
    measure("data set stages", case, stages.calls[stage], device="cpu", images=_BATCH, **disk)


def test_published(measure: Callable[..., None], small: PictureSet, tmp_path: Path) -> None:
    """The published way, an image at a time: PIL, v2 transforms, module, ``np.savez_compressed``; on one thread."""
    rows = list(open_source(str(small.location), split="train").read(0, 16))
    weight = official.motion_weight()

    def call() -> None:
        for row in rows:
            convert_as_published(row, weight, small, tmp_path / f"{row.key}.npz")

    call()
    for row in rows:
        events = convert(prepare(row.image, small.size), small.ratio, dtype=torch.bool)
        assert np.array_equal(np.load(tmp_path / f"{row.key}.npz")["arr_0"], events.numpy())
    case = {"data": small.name, "method": "published", "size": small.size[0], "workers": None}
    measure("data set", case, call, device="cpu", images=len(rows))


@pytest.mark.parametrize("workers", [1, 2])
def test_all(measure: Callable[..., None], small: PictureSet, tmp_path: Path, workers: int) -> None:
    """All rows of all splits by the command, once; with the start of Python, of PyTorch and of the workers."""
    out = tmp_path / "out"
    options = ["--preset", "cifar10", "--workers", str(workers), "-o", str(out)]

    def call() -> None:
        command = [sys.executable, "-m", "i2e_triton", "dataset", str(small.location), *options]
        subprocess.run(command, check=True, capture_output=True)

    images = small.rows()
    case = {"data": small.name, "method": "i2e dataset", "size": small.size[0], "workers": workers}
    measure("data set", case, call, device="cpu", images=images, once=True)
    assert sum(pq.ParquetFile(path).metadata.num_rows for path in out.glob("*.parquet")) == images


def convert_as_published(row: Row, weight: Tensor, pictures: PictureSet, path: Path) -> None:
    """Convert one image as the published notebooks do, with the resizing of the published data sets."""
    assert isinstance(row.image, bytes)
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(pictures.size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    with PIL.Image.open(io.BytesIO(row.image)) as picture:
        image = transform(picture.convert("RGB"))
    events = official.convert(image[None], weight, pictures.ratio).squeeze()
    np.savez_compressed(path, events.numpy().astype(bool))


class Stages:
    """The stages of a conversion, each with what the one before it leaves."""

    def __init__(self, pictures: PictureSet, folder: Path) -> None:
        self._pictures = pictures
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
        ((_, images),) = prepare_batch([row.image for row in self._rows], self._pictures.size).groups
        return images

    def convert(self) -> Tensor:
        """Packed events of the batch."""
        return convert(self._images, self._pictures.ratio, packed=True)

    def encode(self) -> list[bytes]:
        """Records as published."""
        return encode_records(self._packed)

    def written_bytes(self) -> int:
        """Bytes of the shard."""
        return self.write().bytes

    def write(self) -> WrittenFiles:
        """A Parquet shard of the records, zstd, and its digest."""
        samples = (EncodedRow(i, row.key, row.label, self._records[i]) for i, row in enumerate(self._rows))
        return write_shard(
            self._folder,
            Shard("train", 0, 1, 0, _BATCH),
            samples,
            ConversionConfig(self._pictures.ratio),
            self._source.classes,
        )
