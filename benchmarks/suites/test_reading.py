"""Reading of packed events from Parquet, and conversion of cached images when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from benchmarks.harness.image_sets import like_cifar10
from benchmarks.harness.workload import FORMATS, READING_METHODS, random_images
from i2e_triton import convert, row_shifts
from i2e_triton.datasets import EventDataset, ImageEventDataset
from i2e_triton.datasets.decoding import SampleFormat
from i2e_triton.formats import encode_records

_ROWS = 1024
_BATCH = 128
_SIZE = 128
_RATIO = 0.07


@pytest.fixture(scope="session")
def packed() -> Tensor:
    """Return packed events ``[1024, 2, 128, 128]`` of photographs."""
    batches = (random_images(_BATCH, _SIZE, "uint8", "cpu", "photographs") for _ in range(_ROWS // _BATCH))
    return torch.cat([convert(images, _RATIO, packed=True) for images in batches])


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageEventDataset]:
    """Return data sets of 4,096 images of 128x128 in memory, by motion vectors."""
    folder = tmp_path_factory.mktemp("images")
    like_cifar10(folder)
    return {
        name: ImageEventDataset(folder, size=(_SIZE, _SIZE), ratio=_RATIO, random=name == "random", cache=True)
        for name in ("canonical", "random")
    }


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("bits", ["packed", "official"])
@pytest.mark.parametrize("method", READING_METHODS)
def test_reading(
    measure: Callable[..., None], packed: Tensor, tmp_path: Path, method: str, bits: str, compression: str
) -> None:
    """Measure reading 1,024 rows in order, in batches of 128: packed events, or a copy of the bytes of each row."""
    path = tmp_path / "train.parquet"
    records = pa.array(encode_records(packed, bits=bits), pa.binary())
    table = pa.table({"data": records, "label": list(range(_ROWS))})
    pq.write_table(table, path, compression=compression, row_group_size=_BATCH, use_dictionary=False)

    def with_event_dataset() -> Tensor:
        dataset = EventDataset(path, packed=True)  # new, so that no row group is cached
        for start in range(0, _ROWS, _BATCH):
            batch = dataset.__getitems__(range(start, start + _BATCH))
        last: Tensor = batch[-1][0]
        return last

    def with_pyarrow() -> Tensor:
        for batch in _copies(path):
            last = batch[-1]
        return last

    call = {"EventDataset": with_event_dataset, "pyarrow and a copy": with_pyarrow}[method]
    if method == "EventDataset" or bits == "packed":
        assert torch.equal(call().flatten()[-2 * _SIZE**2 :], packed[-1].flatten())
    case = {"method": method, "bits": bits, "compression": compression, "size": _SIZE}
    measure("reading", case, call, device="cpu", images=_ROWS)


def _copies(path: Path) -> Iterator[list[Tensor]]:
    """Yield the bytes of the rows of each row group, copied once, with the labels read as well."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["data", "label"], use_threads=False)
            table["label"].to_pylist()
            yield [torch.from_numpy(np.frombuffer(row.as_buffer(), np.uint8).copy()) for row in table["data"]]


@pytest.mark.parametrize("format", ["packed", "bool", "float32"])
@pytest.mark.parametrize("vectors", ["canonical", "random"])
@pytest.mark.parametrize("method", ["ImageEventDataset", "convert"])
def test_on_the_fly(
    measure: Callable[..., None],
    cached: dict[str, ImageEventDataset],
    method: str,
    vectors: str,
    format: str,
) -> None:
    """Measure the conversion of 128 random rows by ``__getitems__``, or of 128 images by ``convert`` alone."""
    dataset = cached[vectors]
    dataset._format = SampleFormat(format == "packed", FORMATS[format].get("dtype", torch.uint8))
    assert dataset._cached is not None
    rows = torch.randperm(len(dataset))[:_BATCH].tolist()
    images = dataset._cached[0][rows]
    shifts = row_shifts(0, torch.arange(_BATCH)) if vectors == "random" else None

    def with_data_set() -> object:
        return dataset.__getitems__(rows)

    def with_convert() -> object:
        return convert(images, _RATIO, shifts=shifts, **FORMATS[format])

    if vectors == "canonical":
        dimension = 0 if format == "packed" else 1
        stacked = torch.stack([events for events, _ in dataset.__getitems__(rows)], dimension)
        assert torch.equal(stacked, convert(images, _RATIO, **FORMATS[format]))
    call = {"ImageEventDataset": with_data_set, "convert": with_convert}[method]
    case = {"method": method, "vectors": vectors, "format": format, "batch": _BATCH, "size": _SIZE}
    measure("on the fly", case, call, device="cpu", images=_BATCH)
