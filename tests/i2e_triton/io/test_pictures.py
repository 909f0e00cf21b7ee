from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.EpsImagePlugin
import PIL.Image
import pytest
import torch
from torch import Tensor

from i2e_triton.io.pictures import PictureError, decode_picture, read_picture
from tests.child import output_of
from tests.samples import PHOTOGRAPHS, noise, photograph, photograph_path

#: EXIF orientation -> function from an upright image to the pixels that the camera stores.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def random_rgb(generator: torch.Generator, height: int = 7, width: int = 11) -> np.ndarray:
    return noise((height, width, 3), torch.uint8, generator).numpy()


def saved(pil: PIL.Image.Image, path: Path, **options: Any) -> Path:
    pil.save(path, **options)
    return path


def as_image(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(np.atleast_3d(array), -1, 0).copy())


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_equal_pillow(name: str) -> None:
    assert_same(read_picture(photograph_path(name)), photograph(name))
    assert_same(read_picture(io.BytesIO(photograph_path(name).read_bytes())), photograph(name))


@pytest.mark.parametrize("mode", ["RGB", "L", "F", "P", "CMYK"])
def test_decoded_image_is_usable_after_its_file_is_removed(
    mode: str, tmp_path: Path, generator: torch.Generator
) -> None:
    path = saved(PIL.Image.fromarray(random_rgb(generator)).convert(mode), tmp_path / "image.tif")
    pil = decode_picture(path, upright=False)
    path.unlink()
    assert pil.mode == {"P": "RGB", "CMYK": "RGB"}.get(mode, mode)
    assert np.asarray(pil).any()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path, generator: torch.Generator) -> None:
    upright = random_rgb(generator)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(stored, tmp_path / f"photograph.{suffix}", exif=exif, **options)
    assert_same(read_picture(path), as_image(upright))


def test_exif_orientation_is_applied_before_resizing(tmp_path: Path) -> None:
    with PIL.Image.open(photograph_path("coffee")) as coffee:
        upright = coffee.convert("RGB")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    image = read_picture(saved(stored, tmp_path / "photograph.jpg", exif=exif, quality=95), (40, 60))
    expected = as_image(np.asarray(upright.resize((60, 40), PIL.Image.Resampling.BICUBIC)))
    assert image.shape == (3, 40, 60)
    assert float((image.float() - expected.float()).abs().mean()) < 2


def test_grey_has_one_channel(tmp_path: Path, generator: torch.Generator) -> None:
    grey = noise((5, 9), torch.uint8, generator).numpy()
    assert_same(read_picture(saved(PIL.Image.fromarray(grey), tmp_path / "grey.png")), as_image(grey))
    levels = np.where(grey > 127, np.uint8(255), np.uint8(0))
    assert_same(read_picture(saved(PIL.Image.fromarray(levels).convert("1"), tmp_path / "1.png")), as_image(levels))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped(mode: str, tmp_path: Path, generator: torch.Generator) -> None:
    array = noise((6, 4, len(mode)), torch.uint8, generator).numpy()
    path = saved(PIL.Image.fromarray(array), tmp_path / "cutout.png")
    with PIL.Image.open(path) as pil:
        assert pil.mode == mode
    assert_same(read_picture(path), as_image(array[..., :-1]))


def test_palette_becomes_rgb(tmp_path: Path, generator: torch.Generator) -> None:
    palette = noise((256, 3), torch.uint8, generator)
    index = noise((8, 6), torch.uint8, generator)
    pil = PIL.Image.fromarray(index.numpy())
    pil.putpalette(palette.flatten().tolist())
    expected = palette[index.long()].permute(2, 0, 1)
    assert_same(read_picture(saved(pil, tmp_path / "palette.png")), expected)
    some_transparent = bytes(range(256))
    assert_same(read_picture(saved(pil, tmp_path / "half.png", transparency=some_transparent)), expected)


def test_palette_is_resized_as_rgb(tmp_path: Path) -> None:
    pil = PIL.Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    pil.putpalette([0, 0, 0, 200, 100, 50])
    image = read_picture(saved(pil, tmp_path / "palette.png"), (1, 4))
    expected = pil.convert("RGB").resize((4, 1), PIL.Image.Resampling.BICUBIC)
    assert_same(image, as_image(np.asarray(expected)))
    assert len(image[0].unique()) > 2


def test_cmyk_becomes_rgb(tmp_path: Path, generator: torch.Generator) -> None:
    cmyk = PIL.Image.fromarray(noise((8, 8, 4), torch.uint8, generator).numpy(), "CMYK")
    path = saved(cmyk, tmp_path / "print.tif")
    cyan, magenta, yellow, black = (np.asarray(band, dtype=int) for band in cmyk.split())
    red, green, blue = ((255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow))
    image = read_picture(path)
    assert image.dtype == torch.uint8
    np.testing.assert_allclose(image.numpy(), np.stack([red, green, blue]), atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("upper_bound", [200, 65536])
def test_grey_of_16_bits_keeps_its_values(
    suffix: str, upper_bound: int, tmp_path: Path, generator: torch.Generator
) -> None:
    grey16 = torch.randint(0, upper_bound, (9, 13), generator=generator).numpy().astype(np.uint16)
    path = tmp_path / f"grey.{suffix}"
    if suffix == "pgm":  # big-endian
        path.write_bytes(b"P5 13 9 65535\n" + grey16.astype(">u2").tobytes())
    else:
        saved(PIL.Image.fromarray(grey16), path)
    assert_same(read_picture(path), torch.from_numpy(grey16.astype(np.float32))[None])


def test_grey_of_16_bits_is_resized_at_full_precision(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 1000, (8, 1))
    image = read_picture(saved(PIL.Image.fromarray(ramp), tmp_path / "ramp.png"), (8, 16))
    # Each output pixel k is at 4 k + 1.5 of the input. The 4 pixels at each end depend on the border.
    np.testing.assert_allclose(image[0, 0, 4:-4].numpy(), 1500 + 4000 * np.arange(4, 12), rtol=1e-6)


def test_float_values_and_nan_are_kept(tmp_path: Path) -> None:
    values = np.array([[0.25, -3e30], [np.nan, np.inf]], dtype=np.float32)
    path = saved(PIL.Image.fromarray(values), tmp_path / "depth.tif")
    assert_same(read_picture(path), torch.from_numpy(values)[None])


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation_is_read(suffix: str, tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (6, 4), color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(frames[0], tmp_path / f"film.{suffix}", save_all=True, append_images=frames[1:], **options)
    with PIL.Image.open(path) as film:
        assert getattr(film, "n_frames", 1) == 3
    assert_same(read_picture(path), torch.tensor([200, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 6))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("size", [(32, 48), (1, 1), (700, 900)])
def test_size_is_height_and_width(name: str, size: tuple[int, int]) -> None:
    with PIL.Image.open(photograph_path(name)) as pil:
        expected = pil.convert("RGB").resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)
    assert_same(read_picture(photograph_path(name), size), as_image(np.asarray(expected)))


def test_returned_image_is_writable(tmp_path: Path) -> None:
    for mode in ("RGB", "L", "F"):
        image = read_picture(saved(PIL.Image.new(mode, (3, 2)), tmp_path / "image.tif"))
        image += 1
        assert float(image.min()) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"Dear diary", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (photograph_path("coffee").read_bytes()[:40_000], "truncated"),
        (photograph_path("rocket").read_bytes()[:40_000], "truncated"),
    ],
)
def test_invalid_or_truncated_file_raises(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photograph.png"
    path.write_bytes(content)
    for file in (path, io.BytesIO(content)):
        with pytest.raises(PictureError, match=reason):
            read_picture(file)


def test_damage_in_the_middle_of_a_file_raises(tmp_path: Path, generator: torch.Generator) -> None:
    path = saved(PIL.Image.fromarray(random_rgb(generator, 300, 300)), tmp_path / "noise.png")
    parts = path.read_bytes().split(b"IDAT")
    assert len(parts) > 2
    path.write_bytes(b"IDAT".join(parts[:2]) + b"\x00\x01\x02\x03" + b"IDAT".join(parts[2:]))
    with pytest.raises(PictureError, match=r"damaged \(SyntaxError: broken PNG file"):
        read_picture(path)


def test_missing_file_and_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(PictureError, match="directory"):
        read_picture(tmp_path)


# Pillow warns above the limit and raises above twice the limit.
@pytest.mark.parametrize("pixels", [101, 199, 201, 1000])
def test_too_large_image_raises(pixels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    path = saved(PIL.Image.new("L", (pixels, 1)), tmp_path / "large.png")
    with pytest.raises(PictureError, match=re.escape("too large: more than 100 pixels")):
        read_picture(path)
    assert read_picture(saved(PIL.Image.new("L", (100, 1)), tmp_path / "small.png")).shape == (1, 1, 100)


@pytest.mark.parametrize(("format_name", "limit"), [("webp", 50), ("jp2", 50), ("png", 100), ("jpg", 100)])
def test_limit_of_pixels_depends_on_the_format(
    format_name: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pixels in (limit, limit + 1):
        saved(PIL.Image.new("RGB", (pixels, 1)), tmp_path / f"{pixels}.{format_name}")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(tmp_path / f"{limit}.{format_name}").shape == (3, 1, limit)
    with pytest.raises(PictureError, match=f"too large: more than {limit} pixels"):
        read_picture(tmp_path / f"{limit + 1}.{format_name}")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"


def test_format_that_starts_another_program_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", lambda *args, **options: pytest.fail("Ghostscript started"))
    (tmp_path / "kitten.jpg").write_bytes(EPS)
    with PIL.Image.open(tmp_path / "kitten.jpg") as pil:
        assert pil.format == "EPS"
    with pytest.raises(PictureError, match="not an image of a supported format"):
        read_picture(tmp_path / "kitten.jpg")


def test_format_that_another_package_registers_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ICO plugin, registered as HEIF, stands in for pillow-heif."""
    path = saved(PIL.Image.new("RGB", (16, 16)), tmp_path / "a.ico")
    with pytest.raises(PictureError, match="not an image of a supported format"):
        read_picture(path)
    monkeypatch.setitem(PIL.Image.OPEN, "HEIF", PIL.Image.OPEN["ICO"])
    monkeypatch.setattr(PIL.Image, "ID", [*PIL.Image.ID, "HEIF"])
    assert read_picture(path).shape == (3, 16, 16)


@pytest.mark.slow
def test_lack_of_memory_raises_memory_error(tmp_path: Path) -> None:
    """A valid file must not be reported as damaged, because damaged files are skipped."""
    for name in ("a.jpg", "a.png", "a.webp"):
        saved(PIL.Image.new("RGB", (6000, 6000)), tmp_path / name, progressive=True)
    output_of(f"""
        from i2e_triton.io.pictures import read_picture
        limit_memory(64 * 2**20)
        for path in Path({str(tmp_path)!r}).iterdir():
            try:
                read_picture(path)
            except MemoryError:
                continue
            raise AssertionError(f"{{path}} was read")
    """)


@pytest.mark.filterwarnings("error")
def test_warning_about_palette_transparency_is_suppressed(tmp_path: Path) -> None:
    pil = PIL.Image.new("P", (4, 3))
    pil.putpalette([10, 20, 30] * 2)
    image = read_picture(saved(pil, tmp_path / "half.png", transparency=b"\x00\x80"))
    assert image[:, 0, 0].tolist() == [10, 20, 30]


def test_false_size_in_a_header_takes_no_memory(tmp_path: Path) -> None:
    path = saved(PIL.Image.new("RGB", (8, 8)), tmp_path / "a.jp2")
    content = path.read_bytes()
    start = content.index(b"jp2h") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    # A box of length 1 has its real length in 64 bits after its type.
    box = (1).to_bytes(4, "big") + b"jp2h" + (2**62).to_bytes(8, "big") + content[start + 8 : start + length]
    path.write_bytes(content[:start] + box + content[start + length :])
    with contextlib.suppress(PictureError):  # without the limit, this raises MemoryError
        read_picture(path)
