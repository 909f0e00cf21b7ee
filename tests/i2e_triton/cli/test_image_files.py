from __future__ import annotations

import os
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.cli.image_files import find_image_files


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def targets(*arguments: str, out: str = "out") -> dict[str, str]:
    found = find_image_files(arguments, Path(out))
    assert found.unreadable == {}
    return {str(image): str(target) for image, target in found.targets.items()}


@pytest.mark.parametrize(
    ("files", "arguments", "expected"),
    [
        (["photos/2024/cat.jpg"], ["photos/2024/cat.jpg"], ["cat"]),
        # A folder is mirrored, whatever subfolders it has.
        (["photos/1.jpg", "photos/a/1.jpg", "photos/a/b/1.png"], ["photos"], ["1", "a/1", "a/b/1"]),
        (["photos/1.jpg", "photos/a/1.jpg"], ["photos/a/../"], ["1", "a/1"]),
        (["photos/a/b/1.png"], ["photos"], ["a/b/1"]),
        # Several arguments: relative to the deepest folder that contains them.
        (["x/train/1.jpg", "x/test/1.jpg"], ["x/train", "x/test"], ["train/1", "test/1"]),
        (["x/train/1.jpg", "x/test/1.jpg"], ["x/train/1.jpg", "x/test/1.jpg"], ["train/1", "test/1"]),
        # Patterns, and files whose names look like patterns.
        (["photos/a/1.jpg", "photos/b/1.jpg", "photos/b/2.txt"], ["photos/*/1.jpg"], ["a/1", "b/1"]),
        (["photos/b/c/2.jpg", "photos/b/note.txt"], ["photos/**/*.jpg"], ["2"]),
        (["photos/a/1.jpg", "photos/b/c/2.jpg"], ["photos/?"], ["a/1", "b/c/2"]),
        (["a[1].jpg", "a1.jpg"], ["a[1].jpg"], ["a[1]"]),
        # An image that is named twice.
        (["photos/a.jpg", "photos/b.jpg"], ["photos/a.jpg", "photos", "photos/./b.jpg"], ["a", "b"]),
        # Names that differ only in the suffix or in case keep it.
        (["p/a.jpg", "p/a.png", "p/b.png", "q/a.png"], ["p", "q"], ["p/a.jpg", "p/a.png", "p/b", "q/a"]),
        (["A.jpg", "a.png"], ["A.jpg", "a.png"], ["A.jpg", "a.png"]),
        (["a.jpg", "a.png", "a.png.bmp"], ["."], ["a.jpg", "a.png", "a.png.bmp"]),
        # A file that is named may have any suffix.
        (["photo.backup", ".hidden.png"], ["photo.backup", ".hidden.png"], ["photo", ".hidden"]),
        ([], [], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("absolute", [False, True])
def test_targets(files: list[str], arguments: list[str], expected: list[str], absolute: bool) -> None:
    touch(*files)
    found = targets(*(os.path.abspath(argument) if absolute else argument for argument in arguments))
    assert list(found.values()) == [f"out/{name}" for name in expected]
    for image, name in zip(found, expected):
        path = Path(os.path.normpath(image))
        assert path.is_file()
        assert str(path).endswith(name) or str(path.with_suffix("")).endswith(name)


NAMES = st.text("aA.é", min_size=1, max_size=4).filter(lambda name: name.strip("."))


@given(names=st.sets(st.tuples(NAMES, st.sampled_from([".png", ".jpg", ".PNG"])), min_size=1))
def test_no_two_images_share_a_target(names: set[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("images")
    files = [stem + suffix for stem, suffix in names if not stem.startswith(".")]
    for name in files:
        (folder / name).touch()
    found = find_image_files([str(folder)], Path("out")).targets
    assert {image.name for image in found} == set(files)
    assert len(set(found.values())) == len(files)


def test_folder_search_finds_images_only() -> None:
    PIL.Image.init()
    images = ["a.JPG", "a.jpeg", "b.png", "c.webp", "d.tif", "e.gif", "f.bmp", "g.pgm"]
    others = ["notes.txt", "events.npz", "clip.mpg", "events.h5", "print.pdf", ".hidden.png", "._a.jpg", "noname"]
    touch(*(f"photos/{name}" for name in images + others), "photos/.cache/x.png")
    assert sorted(targets("photos")) == sorted(f"photos/{name}" for name in images)


def test_output_folder_is_skipped_in_a_folder() -> None:
    touch("photos/a.jpg", "photos/out/a.png", "photos/b/out/c.png")
    expected = {"photos/a.jpg": "photos/out/a", "photos/b/out/c.png": "photos/out/b/out/c"}
    assert targets("photos", out="photos/out") == expected
    Path("link").symlink_to("photos/out")
    assert sorted(targets("photos", out="link")) == sorted(expected)


def test_unreadable_arguments_are_reported_and_others_found() -> None:
    touch("photos/a.jpg", "texts/readme.txt")
    os.mkfifo("pipe.png")
    Path("dangling.png").symlink_to("nowhere")
    found = find_image_files(["missing.png", "*.webp", "texts", "pipe.png", "dangling.png", "photos"], Path("out"))
    assert found.targets == {Path("photos/a.jpg"): Path("out/photos/a")}
    assert found.unreadable == {
        Path("missing.png"): "no such file or folder",
        Path("*.webp"): "no such file or folder",
        Path("texts"): "no images in this folder",
        Path("pipe.png"): "neither a file nor a folder",
        Path("dangling.png"): "neither a file nor a folder",
    }


def test_unreadable_subfolder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("photos/a.jpg", "photos/locked/b.jpg")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_image_files(["photos"], Path("out"))
    assert found.targets == {Path("photos/a.jpg"): Path("out/a")}
    assert found.unreadable == {Path("photos/locked"): "Permission denied"}
