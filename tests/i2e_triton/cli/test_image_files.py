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


def test_file_target_drops_the_suffix() -> None:
    touch("photos/2024/cat.jpg")
    assert targets("photos/2024/cat.jpg") == {"photos/2024/cat.jpg": "out/cat"}


def test_folder_targets_mirror_its_subfolders() -> None:
    touch("photos/1.jpg", "photos/a/1.jpg", "photos/a/b/1.png")
    expected = {"photos/1.jpg": "out/1", "photos/a/1.jpg": "out/a/1", "photos/a/b/1.png": "out/a/b/1"}
    assert targets("photos") == expected
    assert targets(os.path.abspath("photos")) == {os.path.abspath(k): v for k, v in expected.items()}
    assert targets("photos/a/../") == {"photos/a/../" + k.removeprefix("photos/"): v for k, v in expected.items()}


def test_targets_are_relative_to_an_argument_that_has_only_subfolders() -> None:
    touch("photos/a/b/1.png")
    assert targets("photos") == {"photos/a/b/1.png": "out/a/b/1"}


def test_targets_of_two_folders_are_relative_to_their_parent() -> None:
    touch("x/train/1.jpg", "x/test/1.jpg")
    assert targets("x/train", "x/test") == {"x/train/1.jpg": "out/train/1", "x/test/1.jpg": "out/test/1"}
    assert targets("x/train/1.jpg", "x/test/1.jpg") == {"x/train/1.jpg": "out/train/1", "x/test/1.jpg": "out/test/1"}


def test_patterns_are_expanded() -> None:
    touch("photos/a/1.jpg", "photos/b/1.jpg", "photos/b/c/2.jpg", "photos/b/note.txt")
    assert targets("photos/*/1.jpg") == {"photos/a/1.jpg": "out/a/1", "photos/b/1.jpg": "out/b/1"}
    assert targets("photos/**/*.jpg") == targets("photos")
    assert targets("photos/?") == targets("photos")


def test_existing_file_name_is_not_expanded_as_pattern() -> None:
    touch("a[1].jpg", "a1.jpg", "what?.jpg")
    assert targets("a[1].jpg") == {"a[1].jpg": "out/a[1]"}
    assert targets("what?.jpg") == {"what?.jpg": "out/what?"}


def test_image_named_twice_is_listed_once() -> None:
    touch("photos/a.jpg", "photos/b.jpg")
    assert targets("photos/a.jpg", "photos", "photos/./a.jpg", os.path.abspath("photos/b.jpg")) == {
        "photos/a.jpg": "out/a",
        os.path.abspath("photos/b.jpg"): "out/b",
    }


def test_targets_keep_the_suffix_if_names_differ_only_in_it() -> None:
    touch("p/a.jpg", "p/a.png", "p/b.png", "q/a.png")
    assert targets("p", "q") == {
        "p/a.jpg": "out/p/a.jpg",
        "p/a.png": "out/p/a.png",
        "p/b.png": "out/p/b",
        "q/a.png": "out/q/a",
    }


def test_targets_keep_the_suffix_if_names_differ_only_in_case() -> None:
    touch("A.jpg", "a.png")
    assert targets("A.jpg", "a.png") == {"A.jpg": "out/A.jpg", "a.png": "out/a.png"}


def test_targets_are_unique_after_a_suffix_is_kept() -> None:
    touch("a.jpg", "a.png", "a.png.bmp")
    assert targets(".") == {"a.jpg": "out/a.jpg", "a.png": "out/a.png", "a.png.bmp": "out/a.png.bmp"}


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


def test_named_file_is_listed_with_any_suffix() -> None:
    touch("photo.backup", ".hidden.png")
    assert targets("photo.backup", ".hidden.png") == {"photo.backup": "out/photo", ".hidden.png": "out/.hidden"}


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


def test_no_arguments_give_no_targets() -> None:
    assert targets() == {}
