"""Small data sets on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from i2e_triton import convert
from i2e_triton.formats import encode_records
from tests.samples import noise, resized_photograph


def png(seed: int, size: int = 32) -> bytes:
    """Return a photograph, moved by its seed so that no two are equal."""
    image = resized_photograph("chelsea", size).roll(seed, 2)
    file = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def write_folders(folder: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 5, split: str = "") -> Path:
    """Write images of 48 x 48 pixels in class folders."""
    for label, name in enumerate(names):
        (folder / split / name).mkdir(parents=True)
        for number in range(count):
            (folder / split / name / f"{number}.png").write_bytes(png(10 * label + number, 48))
    return folder


def write_parquet(folder: Path, classes: int, names: list[str] | None = None) -> None:
    """Write images as the hub serves CIFAR-10: one of each class to train, the same to test."""
    folder.mkdir(parents=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        images = [{"bytes": png(label), "path": None} for label in range(classes)]
        table = pa.table({"img": pa.array(images, kind), "label": pa.array(range(classes), pa.int64())})
        if names:
            feature = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
        pq.write_table(table, folder / f"{split}.parquet")


def write_events(folder: Path, count: int, classes: int = 10) -> None:
    """Write events of 16 x 16 pixels as the official data sets: a training split only."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(count)
    events = convert(noise((count, 3, 16, 16), torch.uint8, generator), 0.07, packed=True)
    labels = pa.array([number % classes for number in range(count)], pa.int64())
    table = pa.table({"data": pa.array(encode_records(events, 8), pa.binary()), "label": labels})
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
