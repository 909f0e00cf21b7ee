from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.datasets import ImageFolder

from i2e_triton.sources.folder import FolderSource, folder_splits
from i2e_triton.sources.source import ImageRow, SourceError
from tests.i2e_triton.sources.builders import assert_holds, png


def written(root: Path, names: list[str], generator: torch.Generator) -> dict[str, bytes]:
    contents = {name: png(generator) for name in names}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return contents


def test_class_folders_give_labels(tmp_path: Path, generator: torch.Generator) -> None:
    names = ["B/10.png", "B/2.JPG", "B/a.b.webp", "B/deep/1.png", "a/1.png", "a/é.tiff"]
    contents = written(tmp_path, names, generator)
    written(tmp_path, ["B/.2.png", ".git/1.png", "B/.small/1.png", "B/3.png.part", "a/notes.txt"], generator)
    (tmp_path / "empty").mkdir()
    source = FolderSource(tmp_path)
    assert source.classes == ("B", "a", "empty")
    assert_holds(
        source,
        [ImageRow(os.path.splitext(name)[0], contents[name], 0 if name.startswith("B") else 1) for name in names],
    )
    assert source.nbytes() == sum(map(len, contents.values()))


def test_order_equals_torchvision(tmp_path: Path, generator: torch.Generator) -> None:
    names = [
        f"{c}/{d}{n}.png" for c in "xYz" for d in ("", "s/", "s-1/", "s/t/", "S/t/") for n in ("10", "9", "a", "B")
    ]
    written(tmp_path, names, generator)
    expected = ImageFolder(str(tmp_path))
    source = FolderSource(tmp_path)
    rows = list(source.read(0, len(names)))
    assert [(f"{tmp_path}/{row.key}.png", row.label) for row in rows] == expected.samples
    assert source.classes == tuple(expected.classes)


def test_flat_folder_has_no_labels(tmp_path: Path, generator: torch.Generator) -> None:
    contents = written(tmp_path, ["b.png", "a.jpeg", "c.gif"], generator)
    (tmp_path / "empty").mkdir()
    source = FolderSource(tmp_path)
    assert source.classes is None
    assert_holds(source, [ImageRow("a", contents["a.jpeg"], -1), ImageRow("b", contents["b.png"], -1)])


def test_keys_keep_their_suffix_if_only_the_suffix_differs(tmp_path: Path, generator: torch.Generator) -> None:
    contents = written(tmp_path, ["x/a.jpg", "x/a.png", "x/b.png", "y/a.png"], generator)
    rows = [
        ImageRow(key, contents[name], label)
        for key, name, label in zip(("x/a.jpg", "x/a.png", "x/b.png", "y/a"), contents, (0, 0, 0, 1))
    ]
    assert_holds(FolderSource(tmp_path), rows)


def test_excluded_folders_are_not_classes(tmp_path: Path, generator: torch.Generator) -> None:
    contents = written(tmp_path, ["a/1.png", "b/1.png", "c/1.png", "c/more/2.png"], generator)
    source = FolderSource(tmp_path, without=("b",), nested=False)
    assert source.classes == ("a", "c")
    assert_holds(source, [ImageRow("a/1", contents["a/1.png"], 0), ImageRow("c/1", contents["c/1.png"], 1)])


def test_links_are_followed_and_cycles_raise(tmp_path: Path, generator: torch.Generator) -> None:
    contents = written(tmp_path, ["set/a/1.png", "elsewhere/2.png"], generator)
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    assert_holds(
        FolderSource(tmp_path / "set"),
        [ImageRow("a/1", contents["set/a/1.png"], 0), ImageRow("b/2", contents["elsewhere/2.png"], 1)],
    )
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    with pytest.raises(SourceError, match=r"set/b/back is the same folder as .*set, which contains it; remove"):
        FolderSource(tmp_path / "set")


def test_invalid_folders_raise(tmp_path: Path, generator: torch.Generator) -> None:
    with pytest.raises(FileNotFoundError):
        FolderSource(tmp_path / "missing")
    (tmp_path / "a").mkdir()
    with pytest.raises(SourceError, match=r"contains no images; image files must end in \.jpg, \.jpeg"):
        FolderSource(tmp_path)
    written(tmp_path, ["a/1.png", "loose.png"], generator)
    with pytest.raises(SourceError, match=r"both images \('loose.png', …\) and folders of images \('a', …\); move"):
        FolderSource(tmp_path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda root: (root / "a/1.png").write_bytes((root / "a/1.png").read_bytes() + b"\0"),
    "removed": lambda root: (root / "a/1.png").unlink(),
    "added": lambda root: (root / "a/3.png").write_bytes(b""),
    "renamed": lambda root: (root / "a/1.png").rename(root / "a/0.png"),
    "suffix": lambda root: (root / "a/1.png").rename(root / "a/1.jpg"),
    "moved": lambda root: (root / "a/1.png").rename(root / "b/1.png"),
    "class renamed": lambda root: (root / "a").rename(root / "A"),
    "class added": lambda root: (root / "c").mkdir(),
    "sizes swapped": lambda root: swap(root / "a/1.png", root / "a/2.png"),
}


def swap(one: Path, other: Path) -> None:
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with_names_and_sizes(change: str, tmp_path: Path, generator: torch.Generator) -> None:
    root = tmp_path / "set"
    written(root, ["a/1.png", "a/2.png", "b/7.png"], generator)
    (root / "a/2.png").write_bytes(b"short")
    before = FolderSource(root).fingerprint()
    os.utime(root / "a/1.png", (1, 1))
    (root / "a/.hidden.png").write_bytes(b"")
    root = root.rename(tmp_path / "moved")
    assert FolderSource(root).fingerprint() == before
    CHANGES[change](root)
    assert FolderSource(root).fingerprint() != before


def test_fingerprint_is_the_same_in_every_version(tmp_path: Path) -> None:
    for name in ("b/1.png", "a-b/2.png", "a/more/3.jpg", "a/4.PNG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    expected = "fccfc9ea68064e95e5d11c720ddafc9e08a13db85d12e0ddcd0845d93175e9f3"
    assert FolderSource(tmp_path).fingerprint() == expected


def test_fingerprint_of_a_flat_folder_changes_with_names(tmp_path: Path, generator: torch.Generator) -> None:
    written(tmp_path, ["1.png", "2.png"], generator)
    before = FolderSource(tmp_path).fingerprint()
    assert FolderSource(tmp_path).fingerprint() == before
    (tmp_path / "1.png").rename(tmp_path / "3.png")
    assert FolderSource(tmp_path).fingerprint() != before


def test_file_names_take_little_memory(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"n01440764_{number:05d}.JPEG").touch()
    assert len(pickle.dumps(FolderSource(tmp_path))) < 300 * (len("n01440764_00000.JPEG") + 9) + 600


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train/a", "val/a"], {"train": "train", "validation": "val"}),
        (["test/a", "train/a", "validation/a"], {"train": "train", "validation": "validation", "test": "test"}),
        (["train/a", "val/a", "devkit/data"], {"train": "train", "validation": "val"}),
        (["val"], {"validation": "val"}),  # flat
        (["a", "b"], {"train": "."}),
        (["bus", "train"], {"train": "."}),  # a class called train
        ([], {"train": "."}),
    ],
)
def test_folder_splits(
    folders: list[str], expected: dict[str, str], tmp_path: Path, generator: torch.Generator
) -> None:
    written(tmp_path, [f"{folder}/1.png" for folder in folders], generator)
    found = folder_splits(tmp_path)
    assert found == {split: tmp_path / folder for split, folder in expected.items()}
    assert list(found) == list(expected)


def test_two_folders_of_one_split_raise(tmp_path: Path, generator: torch.Generator) -> None:
    written(tmp_path, ["val/a/1.png", "validation/a/1.png"], generator)
    with pytest.raises(SourceError, match=r"val and .*validation are both the split 'validation'; remove one"):
        folder_splits(tmp_path)
