"""Images decoded once: right, kept in a file, and never taken from a file that is damaged or of something else."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from i2e_triton.sources import Source, SourceError, open_source, prepare
from i2e_triton.training import image_set
from i2e_triton.training.image_set import ImageSet, load_image_set
from tests.samples import noise


def write_folder(root: Path, images: Tensor) -> None:
    """Images ``[N, 3, H, W]`` as PNG files: even ones of the class cat, odd ones of dog."""
    for number, image in enumerate(images):
        path = root / ("cat", "dog")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def opened(root: Path) -> Source:
    return open_source(str(root), split="train")


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return noise((7, 3, 6, 5), torch.uint8, generator)


@pytest.fixture
def root(tmp_path: Path, images: Tensor) -> Path:
    write_folder(tmp_path / "pictures", images)
    return tmp_path / "pictures"


def test_images_and_labels_are_those_of_the_source(root: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "_READ_AT_ONCE", 3)
    found = load_image_set(opened(root))
    assert torch.equal(found.images, torch.cat([images[::2], images[1::2]]))
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.classes == ("cat", "dog")


def test_images_are_resized(root: Path) -> None:
    source = opened(root)
    found = load_image_set(source, size=(9, 8))
    expected = [prepare(row.image, (9, 8), "bilinear") for row in source.read(0, 7)]
    assert torch.equal(found.images, torch.stack(expected))


def test_the_second_time_nothing_is_decoded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_image_set(opened(root), cache=tmp_path / "cache")
    monkeypatch.setattr(image_set, "_decode", None)
    second = load_image_set(opened(root), cache=tmp_path / "cache")
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert second.classes == ("cat", "dog")
    assert second.fingerprint == first.fingerprint


def test_another_source_or_size_has_another_file(root: Path, images: Tensor, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_image_set(opened(root), cache=cache)
    assert load_image_set(opened(root), size=(4, 4), cache=cache).images.shape == (7, 3, 4, 4)
    write_folder(tmp_path / "others", images[:5])
    assert len(load_image_set(opened(tmp_path / "others"), cache=cache)) == 5
    assert len(list(cache.iterdir())) == 3


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _pickle(path: Path) -> None:
    np.savez(path, about=np.array([{}], dtype=object), images=np.zeros(1), labels=np.zeros(1))


def _compress(path: Path) -> None:
    with np.load(path) as found:
        arrays = dict(found)
    np.savez_compressed(path, **arrays)


def _take_another(path: Path) -> None:
    with np.load(path) as found:
        arrays = dict(found)
    about = arrays["about"].tobytes().replace(b"i2e-triton images 1", b"i2e-triton images 0")
    np.savez(path, **{**arrays, "about": np.frombuffer(about, np.uint8)})


def _lie_about_the_shape(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    # Of the same length, so that nothing else is wrong with it.
    members["images.npy"] = members["images.npy"].replace(b"(7, 3, 6, 5), }    ", b"(7, 3, 6, 50000), }")
    assert b"50000" in members["images.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _seem_encrypted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # a flag in the directory
    path.write_bytes(content)


def _point_before_the_start(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\5\6") + 16] += 1  # where the directory is: all places are taken relative to it
    path.write_bytes(content)


DAMAGES = [
    _flip_a_bit,
    _cut,
    _pickle,
    _compress,
    _take_another,
    _lie_about_the_shape,
    _seem_encrypted,
    _point_before_the_start,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unfit_file_is_made_anew(damage: object, root: Path, tmp_path: Path) -> None:
    assert callable(damage)
    cache = tmp_path / "cache"
    first = load_image_set(opened(root), cache=cache)
    (path,) = cache.iterdir()
    damage(path)
    with pytest.warns(UserWarning, match=rf"{re.escape(str(path))} is damaged \(.+\); the images are decoded again"):
        again = load_image_set(opened(root), cache=cache)
    assert torch.equal(first.images, again.images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(first.images, load_image_set(opened(root), cache=cache).images)
    assert list(cache.iterdir()) == [path]


def test_a_cache_that_cannot_be_opened_is_no_damage(root: Path, tmp_path: Path) -> None:
    load_image_set(opened(root), cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        load_image_set(opened(root), cache=tmp_path / "cache")


def test_another_process_may_write_the_same_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, others = image_set._decode, []

    def slowly(*arguments: Any) -> ImageSet:
        monkeypatch.setattr(image_set, "_decode", decode)
        others.append(load_image_set(opened(root), cache=tmp_path / "cache"))
        return decode(*arguments)

    monkeypatch.setattr(image_set, "_decode", slowly)
    first = load_image_set(opened(root), cache=tmp_path / "cache")
    assert first.fingerprint == others[0].fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(image_set, "_decode", None)
    assert load_image_set(opened(root), cache=tmp_path / "cache").fingerprint == first.fingerprint


@pytest.mark.parametrize("read_at_once", [1, 256])
def test_images_of_different_sizes_are_refused(
    read_at_once: int, root: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set, "_READ_AT_ONCE", read_at_once)
    write_folder(root / "cat" / "more", noise((1, 3, 6, 9), torch.uint8, generator))
    with pytest.raises(
        SourceError, match=r"images differ: \[3, 6, 5\] and \[3, 6, 9\].*give a size, as size=\(32, 32\)"
    ):
        load_image_set(opened(root))


def test_a_damaged_picture_is_named(root: Path) -> None:
    (root / "dog" / "003.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="the image 'dog/003' cannot be read"):
        load_image_set(opened(root))


def test_grey_of_16_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    PIL.Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "cat" / "a.png")
    with pytest.raises(SourceError, match="'cat/a' has more than 8 bits"):
        load_image_set(opened(tmp_path))


def test_an_empty_source_is_refused() -> None:
    class Empty:
        classes = None

        def __len__(self) -> int:
            return 0

    with pytest.raises(SourceError, match="the source holds no image"):
        load_image_set(Empty())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0).long(), ValueError, r"one at least, got shape \[0"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), ValueError, r"\[N, C, H, W\]"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), TypeError, "must be uint8 .* got torch.float32"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).int(), TypeError, "labels int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), ValueError, r"labels must be \[2\]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8, device="meta"), torch.zeros(2).long(), ValueError, "on the CPU"),
    ],
)
def test_unfit_tensors_are_refused(images: Tensor, labels: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ImageSet(images, labels)
