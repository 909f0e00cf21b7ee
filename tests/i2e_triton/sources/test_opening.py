from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.sources import KINDS, SourceError, find_kind, open_source, splits
from i2e_triton.sources.opening import files_by_split, split_of
from i2e_triton.sources.torchvision_sets import FOLDERS
from tests.i2e_triton.sources.builders import png
from tests.i2e_triton.sources.test_tar import written


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.parquet", "train"),
        ("train-00000-of-00013.parquet", "train"),
        ("test-00000-of-00001-9d1cbf6a.parquet", "test"),
        ("imagenet1k-validation-07.tar", "validation"),
        ("val_3.tar", "validation"),
        ("Valid.tar", "validation"),
        ("trained.tar", None),
        ("0000.parquet", "test"),
        ("test-run/0000.parquet", None),
    ],
)
def test_split_of_file_name(name: str, expected: str | None) -> None:
    assert split_of(Path("test") / name) == expected


def test_files_by_split(tmp_path: Path) -> None:
    names = ("test-0.tar", "train-1.tar", "train-0.tar", "val-0.tar")
    for name in (*names, ".train-2.tar", "train-3.tar.part", "train-4.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "train-5.tar").mkdir()
    found = files_by_split(tmp_path, ".tar")
    assert list(found) == ["train", "validation", "test"]
    assert found["train"] == [tmp_path / "train-0.tar", tmp_path / "train-1.tar"]
    assert found["validation"] == [tmp_path / "val-0.tar"]
    assert files_by_split(tmp_path / "val-0.tar", ".tar") == {"validation": [tmp_path / "val-0.tar"]}
    (tmp_path / "more.tar").touch()
    with pytest.raises(SourceError, match=r"the name of .*more\.tar contains no split, but .*test-0\.tar does;"):
        files_by_split(tmp_path, ".tar")
    with pytest.raises(SourceError, match=r"contains no \.parquet files"):
        files_by_split(tmp_path / "val-0.tar", ".parquet")


def test_missing_shards_raise(tmp_path: Path) -> None:
    for name in ("train", "images"):
        for index in (0, 2):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{name}-{index:05d}-of-00003.parquet").touch()
        with pytest.raises(SourceError, match=rf"found 2 of 3 shards like {name}-00000-of-00003\.parquet"):
            open_source(str(tmp_path / name), split="train")
        one = tmp_path / name / f"{name}-00002-of-00003.parquet"
        assert files_by_split(one, ".parquet") == {"train": [one]}


def put(location: Path, names: list[str], generator: torch.Generator) -> Path:
    """Write files that contain one image each. The suffix of a name selects Parquet, tar or PNG."""
    for name in names:
        path = location / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = png(generator)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"img": [{"bytes": image, "path": ""}], "label": [0]}), path)
        elif path.suffix == ".tar":
            written(path, [("1.png", image)])
        else:
            path.write_bytes(image)
    return location


@pytest.mark.parametrize(
    ("names", "kind", "expected"),
    [
        (["train.parquet", "test.parquet"], "parquet", ("train", "test")),
        (["data/train-00000-of-00001.parquet"], "parquet", ("train",)),
        (["text/train-00000-of-00001.parquet", "text/test-00000-of-00001.parquet"], "parquet", ("train", "test")),
        (["default/train/0000.parquet", "default/test/0000.parquet"], "parquet", ("train", "test")),
        (["train/0000.parquet", "test/0000.parquet"], "parquet", ("train", "test")),
        (["train-0.tar", "val-0.tar"], "tar", ("train", "validation")),
        (["data/0.tar"], "tar", ("train",)),
        (["ILSVRC2012_img_val.tar", "train/a/1.png", "val/a/1.png"], "folder", ("train", "validation")),
        (["a/1.png", "b/2.txt"], "folder", ("train",)),
        (["1.png"], "folder", ("train",)),
        (["caltech101/101_ObjectCategories/ant/1.jpg", "caltech101.tar"], "caltech101", ("train",)),
    ],
)
def test_kind_and_splits_are_found(
    names: list[str], kind: str, expected: tuple[str, ...], tmp_path: Path, generator: torch.Generator
) -> None:
    location = str(put(tmp_path / "set", names, generator))
    assert find_kind(location) == kind
    assert find_kind(location, kind) == kind
    assert splits(location) == splits(location, kind) == expected
    for split in expected:
        source = open_source(location, split=split)
        assert len(source) == 1
        assert source.fingerprint() == open_source(location, kind=kind, split=split).fingerprint()
    with pytest.raises(SourceError, match=rf"has no split 'dev'; it has {', '.join(expected)}$"):
        open_source(location, split="dev")


@pytest.mark.parametrize("other", ["fashion/train.parquet", "fashion/test.parquet"])
def test_folder_with_two_data_sets_raises(other: str, tmp_path: Path, generator: torch.Generator) -> None:
    location = str(put(tmp_path, ["mnist/train.parquet", other], generator))
    with pytest.raises(SourceError, match=r"more than one data set; choose one of .*fashion, .*mnist$"):
        open_source(location, split="train")
    assert splits(f"{location}/mnist") == ("train",)


def test_folder_of_events_raises(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.npz").touch()
    with pytest.raises(SourceError, match=r"contains events \(npz files\), not images"):
        find_kind(str(tmp_path))


@pytest.mark.parametrize("name", ["one.parquet", "one.tar"])
def test_single_file_is_opened(name: str, tmp_path: Path, generator: torch.Generator) -> None:
    location = str(put(tmp_path, [name, "other.parquet", "other.tar"], generator) / name)
    assert find_kind(location) == Path(name).suffix[1:]
    assert len(open_source(location, split="train")) == 1


def test_torchvision_sets_are_found_by_their_folders(tmp_path: Path) -> None:
    (tmp_path / FOLDERS["cifar100"]).mkdir()
    assert find_kind(str(tmp_path)) == "cifar100"
    (tmp_path / FOLDERS["mnist"]).mkdir(parents=True)
    with pytest.raises(SourceError, match="contains cifar100, mnist; choose one with --kind"):
        find_kind(str(tmp_path))
    assert find_kind(str(tmp_path), "mnist") == "mnist"
    assert find_kind(str(tmp_path), "cifar10") == "cifar10"
    for kind in FOLDERS:
        has_one_split = kind.startswith("caltech")
        assert splits(str(tmp_path), kind) == (("train",) if has_one_split else ("train", "validation"))


def test_expected_kind_is_used_for_an_empty_location(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    assert find_kind(str(missing), "cifar10") == "cifar10"
    assert find_kind(str(tmp_path), "cifar10") == "cifar10"
    put(tmp_path, ["train.parquet"], generator)
    assert find_kind(str(tmp_path), "cifar10") == "parquet"
    with pytest.raises(SourceError, match=r"missing does not exist$"):
        find_kind(str(missing))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=r"notes\.txt contains no images, \.parquet or \.tar files$"):
        find_kind(str(tmp_path / "notes.txt"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_kind("~") == "parquet"
    assert splits("~") == ("train",)
    assert len(open_source("~", split="train")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_missing_location_raises(kind: str, tmp_path: Path) -> None:
    with pytest.raises((SourceError, OSError), match=r"missing"):
        open_source(str(tmp_path / "missing"), kind=kind, split="train")


@pytest.mark.slow
def test_sources_do_not_import_torchvision() -> None:
    """Importing torchvision takes as long as importing PyTorch, and only its own data sets need it."""
    code = "import i2e_triton.sources, sys; print('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
