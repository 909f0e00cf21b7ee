from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton import ORDERS, canonical_shifts, reference
from i2e_triton.cli import options
from i2e_triton.cli.dataset import CODECS, ENGINES
from i2e_triton.formats import BITS, decode_record
from i2e_triton.io.geometry import INTERPOLATIONS, RESIZES
from i2e_triton.pipeline.plan import FORMATS
from i2e_triton.sources import KINDS, PRESETS
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.pipeline.builders import DAMAGED, files_in, png, some_images
from tests.samples import assert_same_events, photograph_path

HERE = ("--workers", 0)


@pytest.fixture
def images(tmp_path: Path, generator: torch.Generator) -> Path:
    """Class folders with 7 images, one of which is damaged."""
    for row, image in enumerate(some_images(7, generator, (12, 10))):
        path = tmp_path / "images" / ("cat", "dog")[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DAMAGED if row == 5 else png(image))
    return tmp_path / "images"


def read_with_official_code(record: bytes, folder: Path) -> np.ndarray:
    """Decode a record as the official code does: four uint16, then packed bits."""
    path = folder / "record.npy"
    path.write_bytes(record)
    raw = np.load(path)
    shape = tuple(raw[:8].view(np.uint16))
    return np.unpackbits(raw[8:])[: np.prod(shape)].reshape(shape)


def expected(image: Tensor, ratio: float) -> Tensor:
    return reference.convert(image[None], ratio, canonical_shifts())[:, 0].bool()


def test_parquet_of_class_folders_is_read_by_the_official_code(i2e: I2E, images: Path, tmp_path: Path) -> None:
    end = i2e("dataset", images, "-o", tmp_path / "out", "--ratio", 0.1, "--rows-per-shard", 4, *HERE)
    assert end.status == 0, end.err
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [table.num_rows for table in tables] == [4, 2]
    table = pa.concat_tables(tables)
    files = [f"cat/{row}.png" for row in (0, 2, 4, 6)] + [f"dog/{row}.png" for row in (1, 3)]
    assert table["label"].to_pylist() == [0, 0, 0, 0, 1, 1]
    for record, file in zip(table["data"].to_pylist(), files, strict=True):
        with PIL.Image.open(images / file) as opened:
            image = v2.functional.pil_to_tensor(opened)
        assert_same_events(torch.from_numpy(read_with_official_code(record, tmp_path)).bool(), expected(image, 0.1))


def test_summary_contains_sizes_rates_and_skipped_rows(i2e: I2E, images: Path, tmp_path: Path) -> None:
    end = i2e("dataset", images, "-o", tmp_path / "out", *HERE)
    assert re.search(r"train +6 +1 +[0-9.,]+ (bytes|kB) ", end.out)
    assert "times the size of the source" in end.out
    assert re.search(r"skipped: train 6 \(dog/5\): ", end.out)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    rate = np.mean(manifest["event_rate"])
    assert f"{rate:.2%}" in end.out
    assert f"{manifest['event_rate'][3][1]:.2%}" in end.out


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_preset_equals_the_official_pipeline(i2e: I2E, tmp_path: Path, name: str) -> None:
    size, ratio = {"cifar10": (128, 0.07), "mnist": (32, 0.10)}[name]
    (tmp_path / "in" / "0").mkdir(parents=True)
    path = tmp_path / "in" / "0" / "a.jpg"
    with PIL.Image.open(photograph_path("rocket")) as opened:
        opened.crop((200, 100, 240, 130)).save(path)
    assert (
        i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", "--preset", name, "--kind", "folder", *HERE).status == 0
    )
    (record,) = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")["data"].to_pylist()
    transform = v2.Compose(
        [v2.PILToTensor(), v2.Resize((size, size), v2.InterpolationMode.BICUBIC), v2.ToDtype(torch.float32, scale=True)]
    )
    with PIL.Image.open(path) as opened:
        image = transform(opened.convert("RGB"))
    assert_same_events(decode_record(record), expected(image, ratio))


def test_options_override_a_preset(i2e: I2E, images: Path, tmp_path: Path) -> None:
    overrides = ("--preset", "cifar10", "--kind", "folder", "--ratio", 0.3, "--size", 20, 24, "--resize", "crop")
    assert i2e("dataset", images, "-o", tmp_path / "out", *overrides, *HERE).status == 0
    settings = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]
    assert (settings["ratio"], settings["size"], settings["resize"]) == (0.3, [20, 24], "crop bicubic")


def test_data_set_with_the_former_name_of_a_resize_rule_can_be_resumed(i2e: I2E, images: Path, tmp_path: Path) -> None:
    arguments = ("dataset", images, "-o", tmp_path / "out", "--size", 20, 20, *HERE)
    assert i2e(*arguments, "--resize", "bilinear").status == 0  # the only option of earlier versions
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    assert json.loads(manifest)["settings"]["resize"] == "bilinear"
    shard = tmp_path / "out" / "train-00000-of-00001.parquet"
    written = shard.stat().st_mtime_ns
    assert i2e(*arguments, "--resize", "stretch", "--interpolation", "bilinear").status == 0
    assert ((tmp_path / "out" / "manifest.json").read_bytes(), shard.stat().st_mtime_ns) == (manifest, written)
    assert "resize was 'bilinear' and is 'bicubic'" in i2e(*arguments).err


def write(folder: Path, name: str, image: PIL.Image.Image, **options: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / name, **options)


def test_splits_get_their_official_names(i2e: I2E, images: Path, tmp_path: Path) -> None:
    images.rename(tmp_path / "set")
    (tmp_path / "images").mkdir()
    (tmp_path / "set").rename(tmp_path / "images" / "train")
    write(tmp_path / "images" / "val" / "cat", "1.png", PIL.Image.new("L", (5, 5)))
    write(tmp_path / "images" / "val" / "dog", "2.png", PIL.Image.new("L", (5, 5)))
    assert i2e("dataset", tmp_path / "images", "-o", tmp_path / "out", *HERE).status == 0
    assert sorted(path for path in files_in(tmp_path / "out") if path.endswith("parquet")) == [
        "train-00000-of-00001.parquet",
        "validation-00000-of-00001.parquet",
    ]
    assert i2e("dataset", tmp_path / "images", "-o", tmp_path / "one", "--split", "validation", *HERE).status == 0
    assert [path for path in files_in(tmp_path / "one") if path.endswith("parquet")] == [
        "validation-00000-of-00001.parquet"
    ]


def test_preset_keeps_validation_and_test_splits_separate(i2e: I2E, tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation", "test"), 1):
        for row in range(number):
            write(tmp_path / "in" / split / "cat", f"{row}.png", PIL.Image.new("L", (5, 5)))
    end = i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", "--preset", "mnist", "--kind", "folder", *HERE)
    assert end.status == 0, end.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 1, "validation": 2, "test": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "zip"), "must be one of parquet, npz, tar"),
        (("--bits", "x"), "must be official or packed"),
        (("--format", "npz", "--bits", "packed"), "use official, or another --format"),
        (("--format", "tar", "--compression", "zstd"), "tars stay uncompressed"),
        (("--compression", "rar"), "must be one of zstd, snappy, gzip, lz4, none"),
        (("--preset", "imagenet21k"), "must be one of cifar10"),
        (("--kind", "zip"), "must be one of folder"),
        (("--split", "test"), "must be one of train; got 'test'"),
        (("--resize", "crop"), "crop needs a size"),
        (("--resize", "bilinear-crop", "--size", 4, 5), "needs a square size"),
        (("--rows-per-shard", 0), "must be at least 1"),
        (("--workers", -1), "must be at least 0"),
        (("--engine", "spark"), "must be one of local, ray"),
        (("--engine", "local", "--download"), "SOURCE is of kind folder"),
        (("--seed", -1), "must be 0 to"),
        (("--device", "cpu"), "No such option"),
    ],
)
def test_invalid_options_are_rejected_before_any_work(
    i2e: I2E, images: Path, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    end = i2e("dataset", images, "-o", tmp_path / "out", *options)
    assert end.status == 2
    assert any(str(option) in end.err for option in options)
    assert said in " ".join(end.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_missing_source_is_an_error(i2e: I2E, tmp_path: Path) -> None:
    end = i2e("dataset", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert end.status == 1
    assert "nowhere" in end.err
    assert "Traceback" not in end.err


def test_output_inside_a_torchvision_data_set_is_rejected(i2e: I2E, tmp_path: Path) -> None:
    data = tmp_path / "caltech101" / "101_ObjectCategories"
    write(data / "cat", "1.png", PIL.Image.new("L", (5, 5)))
    end = i2e("dataset", tmp_path, "-o", data / "out", *HERE)
    assert (end.status, "must be outside of SOURCE" in " ".join(end.err.replace("│", " ").split())) == (2, True)
    assert [path.name for path in data.iterdir()] == ["cat"]
    assert i2e("dataset", tmp_path, "-o", tmp_path / "out", *HERE).status == 0


def test_output_inside_the_source_is_rejected_before_a_download(
    i2e: I2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("i2e_triton.sources.open_source", download)
    out = tmp_path / "MNIST" / "raw" / "out"
    end = i2e("dataset", tmp_path, "-o", out, "--preset", "mnist", "--download", *HERE)
    assert (end.status, "must be outside of SOURCE" in " ".join(end.err.replace("│", " ").split())) == (2, True)


@pytest.mark.parametrize("place", ["images", "images/out", "images/../images/cat/out"])
def test_output_inside_the_source_is_rejected(i2e: I2E, images: Path, tmp_path: Path, place: str) -> None:
    before = files_in(images)
    end = i2e("dataset", images, "-o", tmp_path / place, *HERE)
    assert end.status == 2
    assert "must be outside of SOURCE" in " ".join(end.err.replace("│", " ").split())
    assert files_in(images) == before


def test_files_that_are_no_images_are_counted_by_suffix(i2e: I2E, images: Path, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.txt", ".hidden"):
        (images / "cat" / name).touch()
    end = i2e("dataset", images, "-o", tmp_path / "out", *HERE)
    assert (end.status, end.err.splitlines()[-1]) == (
        0,
        "skipped files that are not images: 2 .heic (pip install pillow-heif), 1 .txt",
    )


def test_empty_result_gives_status_1(i2e: I2E, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(DAMAGED)
    end = i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", *HERE)
    assert end.status == 1
    assert "no image is readable" in end.err


def test_table_contains_every_event_rate(i2e: I2E, images: Path, tmp_path: Path) -> None:
    end = i2e("dataset", images, "-o", tmp_path / "out", *HERE)
    rates = json.loads((tmp_path / "out" / "manifest.json").read_text())["event_rate"]
    rows = [line.split() for line in end.out.splitlines()]
    assert ["timestep", "ON", "OFF"] in rows
    for t, (on, off) in enumerate(rates):
        assert [str(t), f"{on:.2%}", f"{off:.2%}"] in rows


def test_interrupt_reports_that_finished_shards_are_kept(
    i2e: I2E, images: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("i2e_triton.pipeline.dataset.convert_dataset", interrupted)
    end = i2e("dataset", images, "-o", tmp_path / "out", *HERE)
    assert (end.status, "finished shards are kept" in end.err) == (130, True)


@pytest.mark.parametrize("format", FORMATS)
def test_repair_converts_only_the_damaged_shard_again(i2e: I2E, images: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    options = ("--ratio", 0.1, "--size", 9, 8, "--rows-per-shard", 4, "--format", format)
    assert i2e("dataset", images, "-o", out, *options, *HERE).status == 0
    before = files_in(out)
    victim = max(out.rglob(f"*.{format}"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert i2e("dataset", "verify", out).status == 1
    end = i2e("dataset", "verify", out, "--repair", images, *HERE)
    assert (end.status, "repaired: train-0000" in end.err, "no problems" in end.out) == (0, True, True), end.err
    assert files_in(out) == before


def test_repair_from_another_source_is_refused(i2e: I2E, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    i2e("dataset", images, "-o", out, *HERE)
    (out / "train-00000-of-00001.parquet").write_bytes(b"")
    (images / "cat" / "0.png").unlink()
    end = i2e("dataset", "verify", out, "--repair", images, *HERE)
    assert (end.status, "was not converted from" in end.err) == (1, True)


def test_verify_lists_the_problems(i2e: I2E, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    i2e("dataset", images, "-o", out, *HERE)
    end = i2e("dataset", "verify", out)
    assert (end.status, "1 shards, 6 rows: no problems" in end.out) == (0, True)
    (out / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    end = i2e("dataset", "verify", out)
    assert (end.status, "1 problems" in end.out) == (1, True)
    assert "its bytes differ from those that were written" in end.err
    end = i2e("dataset", "verify", images)
    assert (end.status, "has no manifest.json" in end.err) == (1, True)


def test_former_name_of_official_bits_is_accepted(i2e: I2E, images: Path, tmp_path: Path) -> None:
    for bits in ("official", "published"):
        assert i2e("dataset", images, "-o", tmp_path / bits, "--bits", bits, *HERE).status == 0
    assert files_in(tmp_path / "published") == files_in(tmp_path / "official")


def test_help_lists_every_choice(i2e: I2E) -> None:
    assert (tuple(KINDS), tuple(PRESETS)) == (options.KINDS, options.PRESETS)
    words = set(re.findall(r"[\w-]+", i2e("dataset", "--help").out))
    assert words >= {*KINDS, *PRESETS, *RESIZES, *INTERPOLATIONS, *FORMATS, *BITS, *CODECS, *ENGINES, *ORDERS}
