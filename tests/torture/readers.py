"""Every reader of files, with valid files and the errors that its documentation names."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from i2e_triton.datasets import EventDataset
from i2e_triton.datasets.manifest import read_class_names
from i2e_triton.formats import (
    RecordError,
    decode_packed,
    decode_record,
    from_event_list,
    load_event_list,
    load_npz,
    record_shape,
    save_event_list,
    save_npz,
)
from i2e_triton.io.pictures import PictureError, read_picture
from i2e_triton.sources import SourceError
from i2e_triton.sources.parquet import ParquetSource
from i2e_triton.sources.tar import TarSource
from tests.i2e_triton.datasets.builders import official_record, packed_record, random_events, tar_members, write_tar
from tests.i2e_triton.datasets.builders import write_official as write_events
from tests.torture.fuzz_readers import Reader

_FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000", "TGA", "PCX", "SGI")


def readers() -> dict[str, Reader]:
    """Return the readers by name."""
    events = random_events(4, torch.Generator().manual_seed(0))
    images = _images()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "record": Reader(
                ".npy", [*map(official_record, events), packed_record(events[0])], _record, (RecordError,)
            ),
            "npz": Reader(".npz", _npz_files(events), load_npz, (RecordError,)),
            "event_list_npy": Reader(".npy", [_event_list(events[0], folder / "a.npy")], _list, (RecordError,)),
            "event_list_csv": Reader(".csv", [_event_list(events[0], folder / "a.csv")], _list, (RecordError,)),
            "event_list_hdf5": Reader(".h5", [_event_list(events[0], folder / "a.h5")], _list, (RecordError,)),
            "tar_events": Reader(".tar", _tars(folder, tar_members(events)), _dataset, (RecordError,)),
            "tar_images": Reader(".tar", _tars(folder, _samples(images)), _tar_source, (SourceError,)),
            "parquet_events": Reader(".parquet", _event_parquet(folder, events), _dataset, (RecordError,)),
            "parquet_images": Reader(".parquet", _image_parquet(folder, images), _parquet_source, (SourceError,)),
            "images": Reader("", images, read_picture, (PictureError,)),
            "manifest": Reader(".json", _manifests(), _manifest, (ValueError,)),
        }


def _record(path: Path) -> None:
    record = path.read_bytes()
    record_shape(record)
    assert decode_record(record).dim() == 4
    if record_shape(record)[0] <= 8:
        decode_packed(record)


def _list(path: Path) -> None:
    from_event_list(load_event_list(path), 8, (16, 16))


def _dataset(path: Path) -> None:
    dataset = EventDataset([path])
    assert len(dataset.targets) == len(dataset)
    for row in range(min(len(dataset), 20)):
        assert dataset[row][0].dim() == 4


def _tar_source(path: Path) -> None:
    source = TarSource([path])
    list(source.read(0, min(len(source), 20)))


def _parquet_source(path: Path) -> None:
    source = ParquetSource([path])
    list(source.read(0, min(len(source), 20)))


def _manifest(path: Path) -> None:
    read_class_names(path.replace(path.with_name("manifest.json")).parent)


def _images() -> list[bytes]:
    rng = np.random.default_rng(0)
    pixels = np.cumsum(rng.integers(-9, 10, (24, 20, 3)), 1).astype(np.uint8)
    files = []
    for format in _FORMATS:
        for mode in ("RGB", "L"):
            file = io.BytesIO()
            PIL.Image.fromarray(pixels).convert(mode).save(file, format)
            files.append(file.getvalue())
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_deflate"}):
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "TIFF", **options)
        files.append(file.getvalue())
    return files


def _npz_files(events: torch.Tensor) -> list[bytes]:
    compressed, stored, floats = io.BytesIO(), io.BytesIO(), io.BytesIO()
    save_npz(compressed, events[0])
    np.savez(stored, events[1].numpy())
    np.savez_compressed(floats, np.asfortranarray(events[2].double().numpy()))
    return [file.getvalue() for file in (compressed, stored, floats)]


def _event_list(events: torch.Tensor, path: Path) -> bytes:
    save_event_list(path, events)
    return path.read_bytes()


def _samples(images: list[bytes]) -> list[tuple[str, bytes]]:
    members = []
    for number, image in enumerate(images[:4]):
        members += [(f"cat/{'long' * 30}{number}.png", image), (f"cat/{'long' * 30}{number}.cls", b"%d" % number)]
    return [*members, ("dog/1.jpg", images[2]), ("dog/1.json", json.dumps({"label": 7}).encode())]


def _tars(folder: Path, members: list[tuple[str, bytes]]) -> list[bytes]:
    with_npz = [*members, ("z.npz", _npz_files(random_events(3, torch.Generator().manual_seed(1)))[0])]
    return [write_tar(folder / "a.tar", some).read_bytes() for some in (members, with_npz)]


def _event_parquet(folder: Path, events: torch.Tensor) -> list[bytes]:
    options: list[dict[str, Any]] = [
        {"row_group_size": 2},
        {"compression": "zstd"},
        {"use_dictionary": False, "compression": "none"},
    ]
    return [write_events(folder / "a.parquet", events, **some).read_bytes() for some in options]


def _image_parquet(folder: Path, images: list[bytes]) -> list[bytes]:
    column = [{"bytes": image, "path": None} for image in images[:6]]
    table = pa.table({"image": column, "label": list(range(6))})
    files = []
    for compression in ("snappy", "none", "zstd"):
        pq.write_table(table, folder / "a.parquet", row_group_size=4, compression=compression)
        files.append((folder / "a.parquet").read_bytes())
    return files


def _manifests() -> list[bytes]:
    manifest = {"version": 1, "classes": ["cat", "dog"], "complete": True, "splits": {"train": [{"rows": 3}]}}
    return [json.dumps(manifest).encode(), json.dumps({**manifest, "classes": None}).encode()]
