from __future__ import annotations

import json
import re
from collections.abc import Callable
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

from i2e_triton import canonical_shifts, reference
from i2e_triton.formats import decode_record
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.pipeline.builders import DAMAGED, files_in, png, some_images
from tests.samples import assert_same_events, photograph_path

HERE = ("--workers", 0)


@pytest.fixture
def pictures(tmp_path: Path, generator: torch.Generator) -> Path:
    """Class folders with 7 pictures, of which one is damaged."""
    for row, image in enumerate(some_images(7, generator, (12, 10))):
        path = tmp_path / "pictures" / ("cat", "dog")[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DAMAGED if row == 5 else png(image))
    return tmp_path / "pictures"


def read_as_published(record: bytes, folder: Path) -> np.ndarray:
    """The published recipe: four uint16, then packed bits."""
    path = folder / "record.npy"
    path.write_bytes(record)
    raw = np.load(path)
    shape = tuple(raw[:8].view(np.uint16))
    return np.unpackbits(raw[8:])[: np.prod(shape)].reshape(shape)


def expected(image: Tensor, ratio: float) -> Tensor:
    return reference.convert(image[None], ratio, canonical_shifts())[:, 0].bool()


def test_class_folders_become_parquet_that_the_published_recipe_reads(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    end = i2e("dataset", pictures, "-o", tmp_path / "out", "--ratio", 0.1, "--rows-per-shard", 4, *HERE)
    assert end.status == 0, end.err
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [table.num_rows for table in tables] == [4, 2]
    table = pa.concat_tables(tables)
    files = [f"cat/{row}.png" for row in (0, 2, 4, 6)] + [f"dog/{row}.png" for row in (1, 3)]
    assert table["label"].to_pylist() == [0, 0, 0, 0, 1, 1]
    for record, file in zip(table["data"].to_pylist(), files, strict=True):
        with PIL.Image.open(pictures / file) as picture:
            image = v2.functional.pil_to_tensor(picture)
        assert_same_events(torch.from_numpy(read_as_published(record, tmp_path)).bool(), expected(image, 0.1))


def test_the_summary_says_what_there_is(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    end = i2e("dataset", pictures, "-o", tmp_path / "out", *HERE)
    assert re.search(r"train +6 +1 +[0-9.,]+ (bytes|kB) ", end.out)
    assert "times the source's" in end.out
    assert re.search(r"skipped: train 6 \(dog/5\): ", end.out)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    rate = np.mean(manifest["event_rate"])
    assert f"{rate:.2%}" in end.out
    assert f"{manifest['event_rate'][3][1]:.2%}" in end.out


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_preset_is_the_published_pipeline(i2e: I2E, tmp_path: Path, name: str) -> None:
    size, ratio = {"cifar10": (128, 0.07), "mnist": (32, 0.10)}[name]
    (tmp_path / "in" / "0").mkdir(parents=True)
    path = tmp_path / "in" / "0" / "a.jpg"
    with PIL.Image.open(photograph_path("rocket")) as picture:
        picture.crop((200, 100, 240, 130)).save(path)
    assert (
        i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", "--preset", name, "--kind", "folder", *HERE).status == 0
    )
    (record,) = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")["data"].to_pylist()
    transform = v2.Compose(
        [v2.PILToTensor(), v2.Resize((size, size), v2.InterpolationMode.BICUBIC), v2.ToDtype(torch.float32, scale=True)]
    )
    with PIL.Image.open(path) as picture:
        image = transform(picture.convert("RGB"))
    assert_same_events(decode_record(record), expected(image, ratio))


def test_options_override_a_preset(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    overrides = ("--preset", "cifar10", "--kind", "folder", "--ratio", 0.3, "--size", 20, 24, "--resize", "bilinear")
    assert i2e("dataset", pictures, "-o", tmp_path / "out", *overrides, *HERE).status == 0
    settings = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]
    assert (settings["ratio"], settings["size"], settings["resize"]) == (0.3, [20, 24], "bilinear")


def write(folder: Path, name: str, picture: PIL.Image.Image, **options: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / name, **options)


def test_every_kind_of_picture_has_an_outcome(i2e: I2E, tmp_path: Path, generator: torch.Generator) -> None:
    source = tmp_path / "in"
    image = PIL.Image.fromarray(some_images(1, generator, (16, 16))[0].permute(1, 2, 0).numpy())
    write(source, "01-cmyk.jpg", image.convert("CMYK"), quality=95)
    write(source, "02-grey.png", image.convert("L"))
    write(source, "03-palette.png", image.convert("P"))
    write(source, "04-grey16.png", PIL.Image.fromarray(np.array(image.convert("L")).astype(np.uint16) << 7))
    write(source, "05-animated.webp", image, save_all=True, append_images=[image.rotate(90)])
    write(source, "06-alpha.png", image.convert("RGBA"))
    write(source, "07-whole.jpg", image)
    whole = (source / "07-whole.jpg").read_bytes()
    (source / "08-truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (source / "09-empty.png").write_bytes(b"")
    (source / "10-text.jpg").write_text("not a picture")
    end = i2e("dataset", source, "-o", tmp_path / "out", *HERE)
    assert end.status == 0, end.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["classes"] is None
    (shard,) = manifest["shards"]
    assert [skipped["key"] for skipped in shard["skipped"]] == ["08-truncated", "09-empty", "10-text"]
    assert all(skipped["reason"] for skipped in shard["skipped"])
    table = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")
    assert table["label"].to_pylist() == [-1] * 7
    for record, file in zip(table["data"].to_pylist(), sorted(source.iterdir()), strict=False):
        with PIL.Image.open(file) as picture:
            if "grey16" in file.name:
                tensor = torch.from_numpy(np.array(picture).astype(np.float32))[None]
            else:
                tensor = v2.functional.pil_to_tensor(picture.convert("RGB"))
        assert_same_events(decode_record(record), expected(tensor, 0.12))


def test_the_log_is_a_json_object_a_line(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for _ in range(2):
        i2e("dataset", pictures, "-o", tmp_path / "out", "--rows-per-shard", 4, "--log", log, *HERE)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begun", "shard", "skipped", "shard", "ended", "begun", "ended"]
    assert [line["finished_rows"] for line in lines if line["event"] == "begun"] == [0, 7]
    (skipped,) = (line for line in lines if line["event"] == "skipped")
    assert (skipped["split"], skipped["row"], skipped["key"]) == ("train", 6, "dog/5")


def test_splits_are_named_as_published(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    pictures.rename(tmp_path / "set")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "set").rename(tmp_path / "pictures" / "train")
    write(tmp_path / "pictures" / "val" / "cat", "1.png", PIL.Image.new("L", (5, 5)))
    write(tmp_path / "pictures" / "val" / "dog", "2.png", PIL.Image.new("L", (5, 5)))
    assert i2e("dataset", tmp_path / "pictures", "-o", tmp_path / "out", *HERE).status == 0
    assert sorted(path for path in files_in(tmp_path / "out") if path.endswith("parquet")) == [
        "train-00000-of-00001.parquet",
        "validation-00000-of-00001.parquet",
    ]
    assert i2e("dataset", tmp_path / "pictures", "-o", tmp_path / "one", "--split", "validation", *HERE).status == 0
    assert [path for path in files_in(tmp_path / "one") if path.endswith("parquet")] == [
        "validation-00000-of-00001.parquet"
    ]


def test_a_preset_keeps_a_validation_and_a_test_split_apart(i2e: I2E, tmp_path: Path) -> None:
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
        (("--format", "zip"), "must be parquet, npz or tar"),
        (("--bits", "x"), "must be official or packed"),
        (("--format", "npz", "--bits", "packed"), "use official, or another --format"),
        (("--format", "tar", "--compression", "zstd"), "tars stay uncompressed"),
        (("--compression", "rar"), "must be zstd, snappy, gzip, lz4 or none"),
        (("--preset", "imagenet21k"), "must be cifar10"),
        (("--kind", "zip"), "must be one of folder"),
        (("--split", "test"), "must be train; got 'test'"),
        (("--resize", "nearest"), "the resize rule must be bicubic"),
        (("--resize", "bilinear-crop", "--size", 4, 5), "needs a square size"),
        (("--ratio", "nan"), "must be finite"),
        (("--timesteps", 9), "must be 1 to 8"),
        (("--rows-per-shard", 0), "must be at least 1"),
        (("--batch-size", 0), "must be at least 1"),
        (("--workers", -1), "must be at least 0"),
        (("--engine", "spark"), "must be local or ray"),
        (("--engine", "ray", "--device", "cuda:1"), "must be cpu or cuda with --engine ray"),
        (("--engine", "local", "--download"), "SOURCE is of kind folder"),
        (("--seed", -1), "must be 0 to"),
        (("--device", "tpu"), "must be cpu, cuda or cuda:N"),
    ],
)
def test_wrong_options_are_named_before_any_work(
    i2e: I2E, pictures: Path, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    end = i2e("dataset", pictures, "-o", tmp_path / "out", *options)
    assert end.status == 2
    assert any(str(option) in end.err for option in options)
    assert said in " ".join(end.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_named(i2e: I2E, tmp_path: Path) -> None:
    end = i2e("dataset", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert end.status == 1
    assert "nowhere" in end.err
    assert "Traceback" not in end.err


def test_the_result_must_lie_outside_of_the_pictures_of_a_torchvision_set(i2e: I2E, tmp_path: Path) -> None:
    data = tmp_path / "caltech101" / "101_ObjectCategories"
    write(data / "cat", "1.png", PIL.Image.new("L", (5, 5)))
    end = i2e("dataset", tmp_path, "-o", data / "out", *HERE)
    assert (end.status, "must lie outside of SOURCE" in " ".join(end.err.replace("│", " ").split())) == (2, True)
    assert [path.name for path in data.iterdir()] == ["cat"]
    assert i2e("dataset", tmp_path, "-o", tmp_path / "out", *HERE).status == 0


def test_a_result_in_the_source_is_refused_before_anything_is_downloaded(
    i2e: I2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("i2e_triton.cli.dataset_settings.open_source", download)
    out = tmp_path / "MNIST" / "raw" / "out"
    end = i2e("dataset", tmp_path, "-o", out, "--preset", "mnist", "--download", *HERE)
    assert (end.status, "must lie outside of SOURCE" in " ".join(end.err.replace("│", " ").split())) == (2, True)


@pytest.mark.parametrize("place", ["pictures", "pictures/out", "pictures/../pictures/cat/out"])
def test_the_result_must_lie_outside_of_the_source(i2e: I2E, pictures: Path, tmp_path: Path, place: str) -> None:
    before = files_in(pictures)
    end = i2e("dataset", pictures, "-o", tmp_path / place, *HERE)
    assert end.status == 2
    assert "must lie outside of SOURCE" in " ".join(end.err.replace("│", " ").split())
    assert files_in(pictures) == before


def test_the_log_must_lie_outside_of_the_result(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    end = i2e("dataset", pictures, "-o", tmp_path / "out", "--log", tmp_path / "out" / "log.jsonl", *HERE)
    assert end.status == 2
    assert "must lie outside of OUT" in " ".join(end.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_hostile_name_is_shown_and_not_obeyed(i2e: I2E, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"\x1b[2J[bold]{'long' * 30}.png").write_bytes(DAMAGED)
    write(tmp_path / "in", "a.png", PIL.Image.new("L", (5, 5)))
    end = i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", *HERE)
    assert f"skipped: train 0 (\N{REPLACEMENT CHARACTER}[2J[bold]{'long' * 30}): " in end.out


def test_a_result_without_a_row_is_a_failure(i2e: I2E, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(DAMAGED)
    end = i2e("dataset", tmp_path / "in", "-o", tmp_path / "out", *HERE)
    assert end.status == 1
    assert "no image could be read" in end.err


def test_the_table_has_every_rate_whole(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    end = i2e("dataset", pictures, "-o", tmp_path / "out", *HERE)
    rates = json.loads((tmp_path / "out" / "manifest.json").read_text())["event_rate"]
    rows = [line.split() for line in end.out.splitlines()]
    assert ["timestep", "ON", "OFF"] in rows
    for t, (on, off) in enumerate(rates):
        assert [str(t), f"{on:.2%}", f"{off:.2%}"] in rows


def test_an_interrupt_says_what_is_kept(i2e: I2E, pictures: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("i2e_triton.cli.dataset.convert_dataset", interrupted)
    end = i2e("dataset", pictures, "-o", tmp_path / "out", "--log", tmp_path / "log", *HERE)
    assert (end.status, "finished shards are kept" in end.err) == (130, True)
    (ended,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (ended["complete"], ended["error"]) == (False, "KeyboardInterrupt")


def test_verify_names_the_npz_file_that_is_damaged(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    i2e("dataset", pictures, "-o", out, "--format", "npz", *HERE)
    (out / "train" / "dog" / "3.npz").write_bytes(b"PK")
    end = i2e("dataset", "verify", out)
    assert end.status == 1
    assert "train/dog/3.npz: " in end.err
    assert "train/dog/1.npz" not in end.err


def test_verify_says_what_is_wrong(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    i2e("dataset", pictures, "-o", out, *HERE)
    end = i2e("dataset", "verify", out)
    assert (end.status, "1 shards, 6 rows: all as written" in end.out) == (0, True)
    (out / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    end = i2e("dataset", "verify", out)
    assert (end.status, "1 problems" in end.out) == (1, True)
    assert "its bytes differ from those that were written" in end.err
    end = i2e("dataset", "verify", pictures)
    assert (end.status, "has no manifest.json" in end.err) == (1, True)


def test_verify_says_what_cannot_be_read(i2e: I2E, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    end = i2e("dataset", "verify", tmp_path)
    assert (end.status, "manifest.json" in end.err, "stopped: " in end.err) == (1, True, True)


def test_verify_prints_nothing_that_a_terminal_obeys(i2e: I2E, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    i2e("dataset", pictures, "-o", out, *HERE)
    (out / "a\x1b[2Jb").touch()
    end = i2e("dataset", "verify", out)
    assert end.status == 1
    assert "a\N{REPLACEMENT CHARACTER}[2Jb: not in the manifest" in end.err


def test_the_list_of_commands_loads_none(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr("i2e_triton.cli.lazy.import_module", refuse)
    assert "Convert a data set of images to events" in " ".join(i2e("--help").out.split())


def test_a_missing_package_is_named_with_what_installs_it(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="pyarrow")

    monkeypatch.setattr("i2e_triton.cli.lazy.import_module", missing)
    with pytest.raises(AssertionError, match=r"needs the package pyarrow: pip install 'i2e-triton\[data\]'"):
        run_to_its_message(i2e)


def run_to_its_message(i2e: Callable[..., object]) -> None:
    try:
        i2e("dataset", "x")
    except ValueError as error:  # the message in the place of a status
        raise AssertionError(str(error)) from error
