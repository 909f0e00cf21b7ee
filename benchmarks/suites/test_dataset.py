"""Conversion of a whole data set to Parquet: its stages, ``i2e dataset``, and the official procedure."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.baselines import official
from benchmarks.harness.image_sets import ImageSet, cifar10, like_cifar10, like_imagenet
from benchmarks.harness.workload import DATA_SET_STAGES
from i2e_triton import convert, unpack
from i2e_triton.formats import decode_record, encode_records
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.pipeline.writers import EncodedRow, WrittenFiles, write_shard
from i2e_triton.sources import ImageRow, open_source, prepare, prepare_batch

_BATCH = 256


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Return CIFAR-10 if ``--cifar10`` gives its location, otherwise crops of photographs of the same size."""
    location = request.config.getoption("--cifar10")
    return like_cifar10(tmp_path_factory.mktemp("small")) if location is None else cifar10(location)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Return crops of photographs, about as large as ImageNet's images."""
    return like_imagenet(tmp_path_factory.mktemp("large"))


@pytest.mark.parametrize("stage", DATA_SET_STAGES)
@pytest.mark.parametrize("which", ["small", "large"])
def test_stages(
    measure: Callable[..., None], request: pytest.FixtureRequest, tmp_path: Path, which: str, stage: str
) -> None:
    """Measure one stage for a batch of rows on one thread."""
    images: ImageSet = request.getfixturevalue(which)
    calls = stage_calls(images, tmp_path)
    case = {"data": images.name, "stage": stage, "batch": _BATCH, "size": images.size[0]}
    stored = calls["compress and write"]().bytes
    measure("data set stages", case, calls[stage], device="cpu", images=_BATCH, bytes_on_disk=stored)


def test_official(measure: Callable[..., None], small: ImageSet, tmp_path: Path) -> None:
    """Measure the official procedure, one image at a time on one thread."""
    rows = list(open_source(str(small.location), split="train").read(0, 16))
    weight = official.motion_weight()

    def call() -> None:
        for row in rows:
            convert_officially(row, weight, small, tmp_path / f"{row.key}.npz")

    call()
    for row in rows:
        events = convert(prepare(row.image, small.size), small.ratio, dtype=torch.bool)
        assert np.array_equal(np.load(tmp_path / f"{row.key}.npz")["arr_0"], events.numpy())
    case = {"data": small.name, "method": "official", "size": small.size[0], "workers": None}
    measure("data set", case, call, device="cpu", images=len(rows))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_command(measure: Callable[..., None], small: ImageSet, tmp_path: Path, workers: int) -> None:
    """Measure one run of ``i2e dataset`` on all splits, including the start of Python and of the workers."""
    out = tmp_path / "out"
    options = ["--preset", "cifar10", "--workers", str(workers), "-o", str(out)]

    def call() -> None:
        command = [sys.executable, "-m", "i2e_triton", "dataset", str(small.location), *options]
        subprocess.run(command, check=True, capture_output=True)

    case = {"data": small.name, "method": "i2e dataset", "size": small.size[0], "workers": workers}
    measure("data set", case, call, device="cpu", images=len(small), once=True)
    assert sum(pq.ParquetFile(path).metadata.num_rows for path in out.glob("*.parquet")) == len(small)


def convert_officially(row: ImageRow, weight: Tensor, images: ImageSet, path: Path) -> None:
    """Convert one image as the official notebooks do, with the resizing of the official data sets."""
    assert isinstance(row.image, bytes)
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(images.size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    with PIL.Image.open(io.BytesIO(row.image)) as file:
        image = transform(file.convert("RGB"))
    events = official.convert(image[None], weight, images.ratio).squeeze()
    np.savez_compressed(path, events.numpy().astype(bool))


def stage_calls(images: ImageSet, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return a function for each stage, for a batch of an image set. A stage uses the result of the previous one."""
    source = open_source(str(images.location), split="train")

    def read() -> list[ImageRow]:
        return list(source.read(0, _BATCH))

    def decode_and_resize() -> Tensor:
        ((_, batch),) = prepare_batch([row.image for row in rows], images.size).groups
        return batch

    def convert_batch() -> Tensor:
        return convert(batch, images.ratio, packed=True)

    def encode() -> list[bytes]:
        return encode_records(packed)

    def write() -> WrittenFiles:
        samples = (EncodedRow(i, row.key, row.label, records[i]) for i, row in enumerate(rows))
        shard = Shard("train", 0, 1, 0, _BATCH)
        return write_shard(folder, shard, samples, ConversionConfig(images.ratio), source.classes)

    rows = read()
    batch = decode_and_resize()
    packed = convert_batch()
    records = encode()
    assert torch.equal(decode_record(records[0]), unpack(packed[0], dtype=torch.bool))
    return dict(zip(DATA_SET_STAGES, (read, decode_and_resize, convert_batch, encode, write)))
