"""The kind of a location and the files of its splits are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from i2e_triton.io.location import (
    IMAGE_SUFFIXES,
    check_shards,
    find_kind,
    find_shards,
    list_files,
    sub_folders,
    walk_folders,
)


def write_empty(folder: Path, names: list[str]) -> Path:
    """Create empty files, and folders for names that end in a slash."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return folder


def test_image_suffixes_equal_torchvision() -> None:
    assert IMAGE_SUFFIXES[: len(IMG_EXTENSIONS)] == IMG_EXTENSIONS


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["train.parquet"], "parquet"),
        (["data/train-00000-of-00001.parquet", "README.md"], "parquet"),
        (["plain_text/train.parquet"], "parquet"),
        (["default/train/0000.parquet", "default/test/0000.parquet"], "parquet"),
        (["train.tar", "manifest.json"], "tar"),
        (["train.tar", "logs/"], "tar"),
        (["I2E-CIFAR10/train.tar", "I2E-CIFAR10/test.tar"], "tar"),
        (["train/cat/0.npz", "val/cat/1.npz"], "npz"),
        (["cat/0.NPZ"], "npz"),
        (["train/T-shirt/top/0.npz"], "npz"),
        (["train/cat/0.jpg", "val/cat/1.JPEG"], "folder"),
        (["cat/0.png"], "folder"),
        (["0.png"], "folder"),
        (["cat/"], "folder"),
        (["notes.txt"], None),
        ([".cache/train.parquet", "._train.tar", ".cat/0.png"], None),
        ([], None),
    ],
)
def test_find_kind_of_one_layout(names: list[str], kind: str | None, tmp_path: Path) -> None:
    assert find_kind(write_empty(tmp_path, names)) == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        # The folder also contains archives or tables from which the class folders were made.
        (["train/a/1.png", "val/a/1.png", "train.parquet", "ILSVRC2012_img_val.tar"], "folder"),
        (["train/a/1.png", "test/a/1.png", "extra/", "train.parquet"], "folder"),
        (["train/a/1.png", "train.parquet"], "parquet"),
        (["val/a/1.png", "test/a/1.png", "train.parquet"], "parquet"),
        (["a/1.png", "a.tar"], "folder"),
        (["a/1.png", "annotations/boxes.parquet"], "folder"),
        # A hub data set with example images in another folder.
        (["data/train.parquet", "assets/banner.png"], "parquet"),
        (["train.parquet", "assets/banner.png", "old.tar"], "parquet"),
        # Events take precedence over images.
        (["a/0.npz", "a/0.png"], "npz"),
        (["a/0.npz", "train.parquet", "train.tar"], "npz"),
    ],
)
def test_find_kind_of_mixed_layouts(names: list[str], kind: str, tmp_path: Path) -> None:
    assert find_kind(write_empty(tmp_path, names)) == kind


def test_find_kind_of_a_file_depends_on_its_suffix(tmp_path: Path) -> None:
    kinds = [find_kind(tmp_path / name) for name in ("a.parquet", "a.tar", "a.npz", "a.tar.gz", "missing")]
    assert kinds == ["parquet", "tar", None, None, None]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b.tar", "a.tar", "c.parquet", "data/d.tar"], ["a.tar", "b.tar"]),
        (["data/a.tar", "other/b.tar"], ["data/a.tar"]),
        (["test/0.tar", "train/0.tar", "train/more/1.tar"], ["test/0.tar", "train/0.tar"]),
        (["one/train/0.tar", "two/train/0.tar"], ["one/train/0.tar", "two/train/0.tar"]),
        ([".hidden/a.tar", ".b.tar", "c.tar/"], []),
    ],
)
def test_find_shards_returns_the_files_closest_to_the_folder(
    names: list[str], expected: list[str], tmp_path: Path
) -> None:
    assert find_shards(write_empty(tmp_path, names), (".tar",)) == [tmp_path / name for name in expected]


@pytest.mark.parametrize(("indices", "complete"), [([0, 1, 2], True), ([0, 2], False), ([], True)])
def test_check_shards_raises_if_a_shard_is_missing(indices: list[int], complete: bool) -> None:
    files = [Path(f"train-{index:05d}-of-00003.tar") for index in indices]
    if complete:
        check_shards([*files, Path("train.tar")])
    else:
        with pytest.raises(ValueError, match="found 2 of 3 shards like train-00000-of-00003"):
            check_shards(files)


def test_hidden_entries_are_ignored(tmp_path: Path) -> None:
    write_empty(tmp_path, ["10/.x/a.png", "10/a.png", "2/", ".git/", "b.PNG", ".c.png", "d.png/"])
    assert sub_folders(tmp_path) == ["10", "2", "d.png"]
    assert list_files(tmp_path, (".png",)) == [tmp_path / "b.PNG"]
    assert list_files(tmp_path / "missing", (".png",)) == []
    assert [path for path, _ in walk_folders(tmp_path, "10")] == ["10"]


def test_walk_folders_follows_links_and_raises_for_a_cycle(tmp_path: Path) -> None:
    write_empty(tmp_path, ["set/a/x.png", "elsewhere/y.png"])
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    found = {path: sorted(entry.name for entry in entries) for path, entries in walk_folders(tmp_path / "set", "a")}
    assert found == {"a": ["more", "x.png"], "a/more": ["y.png"]}
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    with pytest.raises(ValueError, match=r"a/more/back is the same folder as .*set, which contains it; remove"):
        list(walk_folders(tmp_path / "set", "a"))
