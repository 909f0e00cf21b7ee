"""Small event data sets in the official formats, written without the package under test."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from tests.samples import canonical_events, resized_photograph

#: T, 2, H, W of the events. The last byte of a record is padded, because their product is not a multiple of 8.
SHAPE = (5, 2, 7, 9)


def random_events(rows: int, generator: torch.Generator, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Return random events, bool ``[rows, T, 2, H, W]``."""
    return torch.rand((rows, *shape), generator=generator) < 0.3


def photograph_events(size: int = 32) -> Tensor:
    """Return the events of four photographs, bool ``[4, 8, 2, size, size]``."""
    images = torch.stack([resized_photograph(name, size) for name in ("astronaut", "chelsea", "coffee", "rocket")])
    return canonical_events(images).transpose(0, 1).bool()


def official_record(events: Tensor) -> bytes:
    """Return an official record: four uint16, then the bits."""
    header = np.array(events.shape, dtype="<u2").view(np.uint8)
    return npy(np.concatenate([header, np.packbits(events.numpy().flatten())]))


def packed_record(events: Tensor) -> bytes:
    """Return a packed record: bit ``t`` is timestep ``t``."""
    return npy(packed(events).numpy())


def packed(events: Tensor) -> Tensor:
    """Return dense events ``[T, 2, H, W]`` or ``[B, T, 2, H, W]`` packed: ``[2, H, W]`` or ``[B, 2, H, W]``."""
    weights = 2 ** torch.arange(events.shape[-4])
    return (events * weights[:, None, None, None]).sum(-4).to(torch.uint8)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write_parquet(
    path: Path,
    records: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    names: Sequence[str] | None = None,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write a file with the official columns. ``options`` are passed to ``pyarrow.parquet.write_table``."""
    label = {"_type": "Value", "dtype": "int64"} if names is None else {"_type": "ClassLabel", "names": list(names)}
    features = {"data": {"_type": "Value", "dtype": "binary"}, "label": label}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), **(metadata or {})}
    schema = pa.schema([("data", pa.binary()), ("label", pa.int64())], metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table([pa.array(records, pa.binary()), pa.array(labels, pa.int64())], schema=schema), path, **options
    )
    return path


def write_official(path: Path, events: Tensor, first: int = 0, **options: Any) -> Path:
    """Write official records with the labels ``first``, ``first + 1``, ..."""
    return write_parquet(path, list(map(official_record, events)), range(first, first + len(events)), **options)


def write_npz(path: Path, events: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, events.numpy())
    return path


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def tar_members(events: Tensor, first: int = 0) -> list[tuple[str, bytes]]:
    """Return samples as ``i2e dataset`` writes them: official records with the labels ``first``, ``first + 1``, ..."""
    members = []
    for row, sample in enumerate(events, first):
        metadata = json.dumps({"key": f"image {row}.png", "timesteps": len(sample)}).encode()
        members += [(f"{row:09d}.npy", official_record(sample)), (f"{row:09d}.cls", str(row).encode())]
        members.append((f"{row:09d}.json", metadata))
    return members


def row_groups_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of each row group is appended when it is read."""
    read_log: list[int] = []
    read = pq.ParquetFile.iter_batches

    def log_and_read(file: pq.ParquetFile, *args: object, row_groups: list[int], **options: object) -> object:
        read_log.extend(row_groups)
        return read(file, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", log_and_read)
    return read_log
