"""Memory that the readers take for small files with large contents, measured in one child process.

The bounds are those in the documentation of the readers.
"""

from __future__ import annotations

import ast
import io
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.child import output_of

MIB = 2**20


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def repeated(path: Path, value: object, kind: pa.DataType, rows: int, name: str) -> None:
    """Write a Parquet file whose rows all hold the same value, which the file holds once."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.binary()))
    if pa.types.is_struct(kind):
        paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([""]))
        column = pa.StructArray.from_arrays([column, paths], ["bytes", "path"])
    table = pa.table({name: column, "label": np.zeros(rows, np.int64)})
    pq.write_table(table, path, store_schema=False, compression="zstd")


def write_files(folder: Path) -> None:
    events = np.zeros((8, 2, 2048, 2048), bool)  # 64 MiB
    np.savez_compressed(folder / "bool.npz", events)
    np.savez_compressed(folder / "float.npz", events[:2].astype(np.float64))
    with h5py.File(folder / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", data=np.zeros(2_000_000, np.uint8), compression="gzip", chunks=True)
    image = io.BytesIO()
    PIL.Image.new("L", (4096, 4096)).save(image, "BMP")  # 16 MiB
    repeated(folder / "images.parquet", image.getvalue(), pa.struct([]), 200, "image")
    record = npy(np.zeros(4 * MIB, np.uint8))
    repeated(folder / "events.parquet", record, pa.binary(), 1000, "data")


# Keys: names of files. Values: bytes that the documentation allows.
BOUNDS = {
    "bool.npz": 4 * 64 * MIB + 30 * MIB,
    "float.npz": 8 * 16 * MIB + 3 * 16 * MIB + 30 * MIB,
    "a.h5": 2_000_000 * 100 + 100 * MIB,
    "images.parquet": 2 * 16 * MIB + 64 * MIB,
    "events.parquet": 256 * MIB + 256 * MIB,  # the test lowers the limit of a row group to 256 MiB
}

MEASURE = """
from i2e_triton.datasets import EventDataset, parquet
from i2e_triton.formats import RecordError, load_event_list, load_npz
from i2e_triton.sources.parquet import ParquetSource

parquet._MAX_GROUP_BYTES = 2**28


def read(path):
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix == ".h5":
        return load_event_list(path)
    if path.stem == "images":
        return [None for row in ParquetSource([path]).read(0, 200)]
    try:
        EventDataset(path)[0]
    except RecordError as error:
        assert "its row group takes more than" in str(error)


for path in sorted(Path(FOLDER).iterdir()):
    reset_peak()
    before = resident()
    read(path)
    print((path.name, peak() - before))
"""


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder = tmp_path_factory.mktemp("small")
    write_files(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3 * MIB
    return dict(map(ast.literal_eval, output_of(f"FOLDER = {str(folder)!r}\n{MEASURE}").splitlines()))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.slow
def test_reader_takes_no_more_memory_than_documented(name: str, taken: dict[str, int]) -> None:
    assert taken[name] < BOUNDS[name]
