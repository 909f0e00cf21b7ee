from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from i2e_triton.io.pictures import PictureError
from i2e_triton.sources import RESIZE_RULES, check_resize, prepare, prepare_batch
from tests.i2e_triton.sources.builders import encoded, noise_image
from tests.samples import PHOTOGRAPHS, noise, photograph_path

#: Resize rule -> transform of torchvision at 224x224. The first three are those of the official data and notebooks.
OFFICIAL = {
    "bicubic": [v2.Resize((224, 224), InterpolationMode.BICUBIC)],
    "bilinear": [v2.Resize((224, 224))],
    "bilinear-crop": [v2.Resize(256), v2.CenterCrop(224)],
    "crop bicubic": [v2.Resize(224, InterpolationMode.BICUBIC), v2.CenterCrop(224)],
    "crop bilinear": [v2.Resize(224), v2.CenterCrop(224)],
}


def official(image: bytes | PIL.Image.Image, rule: str) -> Tensor:
    """Return an image as the official pipeline resizes it."""
    opened = PIL.Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image
    result: Tensor = v2.Compose([v2.PILToTensor(), *OFFICIAL[rule]])(opened.convert("RGB"))
    return result


def pixels(image: PIL.Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("rule", OFFICIAL)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_equal_the_official_pipeline(name: str, rule: str) -> None:
    content = photograph_path(name).read_bytes()
    expected = official(content, rule)
    assert_same(prepare(content, (224, 224), rule), expected)
    small = PIL.Image.open(io.BytesIO(content)).convert("RGB").resize((47, 31))
    for image in (small, encoded(small, "JPEG")):
        assert_same(prepare(image, (224, 224), rule), official(image, rule))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_fit_repeats_the_border_beside_the_resized_image(interpolation: str) -> None:
    content = photograph_path("coffee").read_bytes()  # 400 x 600
    fitted = prepare(content, (224, 226), f"fit {interpolation}")
    inside = prepare(content, (151, 226), interpolation)
    assert fitted.shape == (3, 224, 226)
    assert_same(fitted[:, 36:187], inside)
    assert_same(fitted[:, :36], inside[:, :1].expand(3, 36, 226))
    assert_same(fitted[:, 187:], inside[:, -1:].expand(3, 37, 226))


def test_resize_rules_differ() -> None:
    content = photograph_path("coffee").read_bytes()
    images = [prepare(content, (224, 224), rule) for rule in RESIZE_RULES]
    for one, other in combinations(images, 2):
        assert not torch.equal(one, other)


def test_size_is_height_and_width(generator: torch.Generator) -> None:
    image = noise_image(generator, 40, 60)
    expected = v2.functional.resize(pixels(image), [30, 20], InterpolationMode.BICUBIC, antialias=True)
    assert_same(prepare(image, (30, 20)), expected)
    assert_same(prepare(encoded(image), None), pixels(image))


def test_grey_has_three_channels(generator: torch.Generator) -> None:
    grey = PIL.Image.fromarray(noise((28, 28), torch.uint8, generator).numpy())
    for image in (grey, encoded(grey), encoded(grey, "JPEG"), grey.convert("LA"), grey.convert("1")):
        assert_same(prepare(image, (224, 224)), official(image, "bicubic"))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "LA", "HSV", "LAB", "1"])
def test_modes_of_pil_images(mode: str, generator: torch.Generator) -> None:
    image = PIL.Image.merge("RGBA", [noise_image(generator, 20, 30).getchannel(c) for c in (0, 1, 2, 0)])
    image = image.convert("RGB").convert(mode) if mode in ("P", "CMYK", "HSV", "LAB") else image.convert(mode)
    assert_same(prepare(image, None), pixels(image.convert("RGB")))
    assert_same(prepare(image, (224, 224)), official(image, "bicubic"))


def test_grey_of_16_bits_keeps_its_values(generator: torch.Generator) -> None:
    grey16 = torch.randint(0, 65536, (50, 40), generator=generator)
    content = encoded(PIL.Image.fromarray(grey16.numpy().astype(np.uint16)))
    assert_same(prepare(content, None), grey16.float()[None])
    expected = v2.functional.resize(grey16.float()[None], [30, 20], InterpolationMode.BICUBIC, antialias=True)
    assert_same(prepare(content, (30, 20)), expected)


def test_exif_orientation_is_ignored(generator: torch.Generator) -> None:
    stored = noise_image(generator, 30, 20)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encoded(stored, exif=exif)
    assert_same(prepare(content, (224, 224)), official(stored, "bicubic"))


def png_of_size(width: int, height: int) -> bytes:
    """Return a small PNG file whose header says ``width`` x ``height`` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


DAMAGED = {
    "text": (b"404 Not Found", "not an image of a supported format"),
    "decompression bomb": (png_of_size(50_000, 50_000), "too large: more than 89,478,485 pixels"),
    "large": (png_of_size(10_000, 10_000), "too large: more than 89,478,485 pixels"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_or_too_large_image_is_not_decoded(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    content, reason = DAMAGED[case]
    with pytest.raises(PictureError, match=reason):
        prepare(content, (224, 224))


def test_narrow_image_is_not_enlarged_before_cropping() -> None:
    strip = PIL.Image.new("RGB", (20_000, 1))
    with pytest.raises(PictureError, match="too narrow: scaled to cover 224 x 224, it would have more than 89,478,485"):
        prepare(strip, (224, 224), "bilinear-crop")
    assert prepare(strip, (224, 224), "bilinear").shape == (3, 224, 224)
    assert prepare(strip.crop((0, 0, 1000, 1)), (224, 224), "bilinear-crop").shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("size", "rule", "reason"),
    [
        ((8, 8), "nearest", "the resize rule must be one of bicubic, bilinear, .*; got 'nearest'"),
        (None, "bilinear-crop", "bilinear-crop needs a square size, got None"),
        (None, "crop bicubic", "crop needs a size"),
        (None, "fit bilinear", "fit needs a size"),
        ((8, 9), "bilinear-crop", r"bilinear-crop needs a square size, got \(8, 9\)"),
    ],
)
def test_invalid_resize_rules_raise(
    size: tuple[int, int] | None, rule: str, reason: str, generator: torch.Generator
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_resize(size, rule)
    with pytest.raises(ValueError, match=reason):
        prepare(noise_image(generator), size, rule)
    with pytest.raises(ValueError, match=reason):
        prepare_batch([], size, rule)


def mixed(generator: torch.Generator) -> list[bytes | PIL.Image.Image]:
    """Return images of many sizes and kinds, some of them damaged."""
    grey16 = PIL.Image.fromarray(torch.randint(0, 65536, (9, 40), generator=generator).numpy().astype(np.uint16))
    images: list[bytes | PIL.Image.Image] = [
        encoded(noise_image(generator, height, width), "JPEG")
        for height, width in ((32, 32), (60, 50), (32, 32), (90, 100), (32, 32), (60, 50), (31, 33), (1, 1), (64, 64))
    ]
    images += [encoded(grey16), grey16, encoded(noise_image(generator).convert("L")), noise_image(generator, 32, 32)]
    images[3:3] = [DAMAGED["text"][0], DAMAGED["decompression bomb"][0]]
    return [images[index] for index in torch.randperm(len(images), generator=generator).tolist()]


@pytest.mark.parametrize("size", [(64, 64), (16, 16), None])
@pytest.mark.parametrize("rule", RESIZE_RULES)
def test_batch_equals_single_images(rule: str, size: tuple[int, int] | None, generator: torch.Generator) -> None:
    if RESIZE_RULES[rule][0] != "stretch" and size is None:
        size = (224, 224)
    images = mixed(generator)
    batch = prepare_batch(iter(images), size, rule)
    found = {position: image for positions, stack in batch.groups for position, image in zip(positions, stack)}
    assert len(found) == sum(len(positions) for positions, _ in batch.groups)
    assert sorted([*found, *batch.damaged]) == list(range(len(images)))
    assert len({(stack.shape[1:], stack.dtype) for _, stack in batch.groups}) == len(batch.groups)
    assert len(batch.damaged) == 2
    for position, image in enumerate(images):
        if position in found:
            assert_same(found[position], prepare(image, size, rule))
        else:
            with pytest.raises(PictureError) as caught:
                prepare(image, size, rule)
            assert str(batch.damaged[position]) == str(caught.value)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_batch_of_small_photographs_equals_the_official_pipeline(name: str) -> None:
    with PIL.Image.open(photograph_path(name)) as photograph:
        tiles = [photograph.convert("RGB").crop((x, 100, x + 32, 132)) for x in range(0, 320, 16)]
    contents = [encoded(tile, "JPEG", quality=75) for tile in tiles]
    ((positions, images),) = prepare_batch(contents, (224, 224)).groups
    assert positions == list(range(len(tiles)))
    assert_same(images, torch.stack([official(content, "bicubic") for content in contents]))


def test_crop_does_not_keep_the_memory_of_the_image() -> None:
    content = photograph_path("rocket").read_bytes()
    ((_, images),) = prepare_batch([content], (224, 224), "bilinear-crop").groups
    assert images.untyped_storage().nbytes() == 3 * 224 * 224


def test_channels_are_last_in_memory(generator: torch.Generator) -> None:
    for sizes in ([(9, 9)], [(9, 9), (9, 9)], [(9, 9), (8, 8), (40, 40)]):
        images = [encoded(noise_image(generator, *size)) for size in sizes]
        ((_, stack),) = prepare_batch(images, (16, 16)).groups
        assert stack.movedim(1, -1).is_contiguous()


def test_only_one_large_image_is_in_memory() -> None:
    content = encoded(PIL.Image.new("RGB", (1000, 1000)), "JPEG")
    memory_in_use = []

    def large() -> Iterator[bytes]:
        for _ in range(6):
            memory_in_use.append(tracemalloc.get_traced_memory()[0])
            yield content

    tracemalloc.start()
    try:
        prepare_batch(large(), (64, 64))
    finally:
        tracemalloc.stop()
    assert max(memory_in_use) < 2 * 3 * 1000 * 1000
