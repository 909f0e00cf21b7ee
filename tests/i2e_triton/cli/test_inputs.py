from __future__ import annotations

import os
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.cli.inputs import find_pictures


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def targets(*arguments: str, out: str = "out") -> dict[str, str]:
    inputs = find_pictures(arguments, Path(out))
    assert inputs.missing == {}
    return {str(picture): str(target) for picture, target in inputs.targets.items()}


def test_a_file_keeps_its_name_without_the_suffix() -> None:
    touch("photos/2024/cat.jpg")
    assert targets("photos/2024/cat.jpg") == {"photos/2024/cat.jpg": "out/cat"}


def test_a_folder_is_mirrored() -> None:
    touch("photos/1.jpg", "photos/a/1.jpg", "photos/a/b/1.png")
    expected = {"photos/1.jpg": "out/1", "photos/a/1.jpg": "out/a/1", "photos/a/b/1.png": "out/a/b/1"}
    assert targets("photos") == expected
    assert targets(os.path.abspath("photos")) == {os.path.abspath(k): v for k, v in expected.items()}
    assert targets("photos/a/../") == {"photos/a/../" + k.removeprefix("photos/"): v for k, v in expected.items()}


def test_a_folder_without_pictures_of_its_own_is_mirrored_from_itself() -> None:
    touch("photos/a/b/1.png")
    assert targets("photos") == {"photos/a/b/1.png": "out/a/b/1"}


def test_folders_are_told_apart_below_the_one_that_holds_them() -> None:
    touch("x/train/1.jpg", "x/test/1.jpg")
    assert targets("x/train", "x/test") == {"x/train/1.jpg": "out/train/1", "x/test/1.jpg": "out/test/1"}
    assert targets("x/train/1.jpg", "x/test/1.jpg") == {"x/train/1.jpg": "out/train/1", "x/test/1.jpg": "out/test/1"}


def test_patterns_that_the_shell_left_alone() -> None:
    touch("photos/a/1.jpg", "photos/b/1.jpg", "photos/b/c/2.jpg", "photos/b/note.txt")
    assert targets("photos/*/1.jpg") == {"photos/a/1.jpg": "out/a/1", "photos/b/1.jpg": "out/b/1"}
    assert targets("photos/**/*.jpg") == targets("photos")
    assert targets("photos/?") == targets("photos")


def test_a_name_that_looks_like_a_pattern() -> None:
    touch("a[1].jpg", "a1.jpg", "what?.jpg")
    assert targets("a[1].jpg") == {"a[1].jpg": "out/a[1]"}
    assert targets("what?.jpg") == {"what?.jpg": "out/what?"}


def test_a_picture_is_taken_once() -> None:
    touch("photos/a.jpg", "photos/b.jpg")
    assert targets("photos/a.jpg", "photos", "photos/./a.jpg", os.path.abspath("photos/b.jpg")) == {
        "photos/a.jpg": "out/a",
        os.path.abspath("photos/b.jpg"): "out/b",
    }


def test_names_that_differ_in_their_suffix_alone_keep_it() -> None:
    touch("p/a.jpg", "p/a.png", "p/b.png", "q/a.png")
    assert targets("p", "q") == {
        "p/a.jpg": "out/p/a.jpg",
        "p/a.png": "out/p/a.png",
        "p/b.png": "out/p/b",
        "q/a.png": "out/q/a",
    }


def test_names_that_differ_in_capitals_keep_their_suffix() -> None:
    touch("A.jpg", "a.png")
    assert targets("A.jpg", "a.png") == {"A.jpg": "out/A.jpg", "a.png": "out/a.png"}


def test_a_suffix_that_is_kept_may_clash_again() -> None:
    touch("a.jpg", "a.png", "a.png.bmp")
    assert targets(".") == {"a.jpg": "out/a.jpg", "a.png": "out/a.png", "a.png.bmp": "out/a.png.bmp"}


NAMES = st.text("aA.é", min_size=1, max_size=4).filter(lambda name: name.strip("."))


@given(names=st.sets(st.tuples(NAMES, st.sampled_from([".png", ".jpg", ".PNG"])), min_size=1))
def test_no_two_pictures_share_a_target(names: set[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    files = [stem + suffix for stem, suffix in names if not stem.startswith(".")]
    for name in files:
        (folder / name).touch()
    found = find_pictures([str(folder)], Path("out")).targets
    assert {picture.name for picture in found} == set(files)
    assert len(set(found.values())) == len(files)


def test_only_pictures_are_taken_from_a_folder() -> None:
    PIL.Image.init()
    taken = ["a.JPG", "a.jpeg", "b.png", "c.webp", "d.tif", "e.gif", "f.bmp", "g.pgm"]
    left = ["notes.txt", "events.npz", "clip.mpg", "events.h5", "print.pdf", ".hidden.png", "._a.jpg", "noname"]
    touch(*(f"photos/{name}" for name in taken + left), "photos/.cache/x.png")
    assert sorted(targets("photos")) == sorted(f"photos/{name}" for name in taken)


def test_a_file_that_is_named_is_taken_whatever_its_suffix() -> None:
    touch("photo.backup", ".hidden.png")
    assert targets("photo.backup", ".hidden.png") == {"photo.backup": "out/photo", ".hidden.png": "out/.hidden"}


def test_results_in_a_folder_are_not_taken_for_pictures() -> None:
    touch("photos/a.jpg", "photos/out/a.png", "photos/b/out/c.png")
    expected = {"photos/a.jpg": "photos/out/a", "photos/b/out/c.png": "photos/out/b/out/c"}
    assert targets("photos", out="photos/out") == expected
    Path("link").symlink_to("photos/out")
    assert sorted(targets("photos", out="link")) == sorted(expected)


def test_what_is_not_there_is_reported_beside_what_is() -> None:
    touch("photos/a.jpg", "texts/readme.txt")
    os.mkfifo("pipe.png")
    Path("dangling.png").symlink_to("nowhere")
    inputs = find_pictures(["missing.png", "*.webp", "texts", "pipe.png", "dangling.png", "photos"], Path("out"))
    assert inputs.targets == {Path("photos/a.jpg"): Path("out/photos/a")}
    assert inputs.missing == {
        Path("missing.png"): "no such file or folder",
        Path("*.webp"): "no such file or folder",
        Path("texts"): "no pictures in this folder",
        Path("pipe.png"): "neither a file nor a folder",
        Path("dangling.png"): "neither a file nor a folder",
    }


def test_a_folder_that_cannot_be_read_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("photos/a.jpg", "photos/locked/b.jpg")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inputs = find_pictures(["photos"], Path("out"))
    assert inputs.targets == {Path("photos/a.jpg"): Path("out/a")}
    assert inputs.missing == {Path("photos/locked"): "Permission denied"}


def test_nothing_at_all() -> None:
    assert targets() == {}
