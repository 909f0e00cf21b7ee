"""PIL images and NumPy arrays as images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from i2e_triton import canonical_shifts, convert, reference
from i2e_triton.images import as_image_tensor
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph, photograph_path


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Turn warnings into errors, including those that PyTorch would give only once per process."""
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(False)


def events(images: Tensor) -> Tensor:
    return reference.convert(images, 0.12, canonical_shifts()).float()


def pixels(height: int, width: int, channels: int, generator: torch.Generator) -> np.ndarray:
    return noise((height, width, channels), torch.uint8, generator).numpy()


def test_tensor_is_returned_unchanged(generator: torch.Generator) -> None:
    images = noise((2, 3, 4, 5), torch.float32, generator)
    assert as_image_tensor(images) is images


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photograph_opened_with_pillow(name: str) -> None:
    with PIL.Image.open(photograph_path(name)) as image:
        assert_same_events(convert(image), events(photograph(name)[None])[:, 0])


def test_grey_image_has_one_channel(generator: torch.Generator) -> None:
    grey = pixels(7, 9, 1, generator)[..., 0]
    for image in (PIL.Image.fromarray(grey), PIL.Image.fromarray(grey).convert("LA")):
        tensor = as_image_tensor(image)
        assert tensor.dtype == torch.uint8
        assert torch.equal(tensor, torch.from_numpy(grey)[None])


def test_bilevel_image_becomes_0_and_255(generator: torch.Generator) -> None:
    bits = pixels(7, 9, 1, generator)[..., 0] > 127
    assert torch.equal(as_image_tensor(PIL.Image.fromarray(bits)), torch.from_numpy(bits)[None].to(torch.uint8) * 255)


def test_transparency_is_dropped(generator: torch.Generator) -> None:
    colours = pixels(7, 9, 4, generator)
    tensor = as_image_tensor(PIL.Image.fromarray(colours))
    assert torch.equal(tensor, torch.from_numpy(colours[..., :3]).permute(2, 0, 1))


def test_palette_image_has_its_colours(generator: torch.Generator) -> None:
    indices = pixels(7, 9, 1, generator)[..., 0] % 16
    palette = pixels(16, 3, 1, generator).reshape(16, 3)
    image = PIL.Image.fromarray(indices).convert("P")
    image.putdata(indices.flatten().tolist())
    image.putpalette(palette.flatten().tolist())
    assert torch.equal(as_image_tensor(image), torch.from_numpy(palette[indices]).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    with PIL.Image.open(photograph_path("coffee")) as image:
        other = image.convert("RGB").crop((200, 100, 260, 150)).convert(mode)
    tensor = as_image_tensor(other)
    expected = photograph("coffee")[:, 100:150, 200:260]
    assert tensor.shape == expected.shape
    assert (
        tensor.int() - expected.int()
    ).abs().max() <= 12  # rounding error of the conversion to this color space and back


MORE_THAN_8_BITS: dict[str, np.ndarray] = {
    "I;16": np.array([[0, 256, 65535], [1, 30000, 255]], dtype=np.uint16),
    "I": np.array([[0, 256, 65535], [1, 30000, 255]], dtype=np.int32),
    "F": np.array([[0, 0.25, 1.0], [0.5, 300.0, -2.0]], dtype=np.float32),
}


@pytest.mark.parametrize("mode", MORE_THAN_8_BITS)
def test_image_of_more_than_8_bits_keeps_its_values(mode: str) -> None:
    image = PIL.Image.fromarray(MORE_THAN_8_BITS[mode])
    assert image.mode == mode
    tensor = as_image_tensor(image)
    assert tensor.shape == (1, 2, 3)
    # The scale may differ, but not the order of the values.
    assert np.array_equal(np.argsort(tensor.flatten().numpy()), np.argsort(MORE_THAN_8_BITS[mode].flatten()))
    assert len(tensor.unique()) == len(np.unique(MORE_THAN_8_BITS[mode]))


ARRAYS: dict[str, Callable[[Tensor], np.ndarray]] = {
    "[C, H, W]": lambda image: image.numpy(),
    "[H, W, C]": lambda image: image.permute(1, 2, 0).contiguous().numpy(),
    "[B, C, H, W]": lambda image: image[None].numpy(),
    "[B, H, W, C]": lambda image: image.permute(1, 2, 0).contiguous()[None].numpy(),
}


@pytest.mark.parametrize("layout", ARRAYS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64], ids=str)
def test_array_with_channels_first_or_last(
    layout: str, channels: int, dtype: torch.dtype, generator: torch.Generator
) -> None:
    image = noise((channels, 6, 8), dtype, generator)
    expected = events(image[None])
    expected = expected if layout.startswith("[B") else expected[:, 0]
    array = ARRAYS[layout](image)
    assert as_image_tensor(array).dtype == dtype
    assert_same_events(convert(array), expected)


def test_array_of_a_grey_image(generator: torch.Generator) -> None:
    for shape in ((6, 8), (1, 8), (3, 3), (1, 1)):
        grey = noise(shape, torch.uint8, generator)
        assert_same_events(convert(grey.numpy()), events(grey[None, None])[:, 0])


def test_array_of_a_batch(generator: torch.Generator) -> None:
    batch = noise((4, 3, 6, 8), torch.uint8, generator)
    assert_same_events(convert(batch.numpy()), events(batch))
    assert_same_events(convert(batch.permute(0, 2, 3, 1).numpy()), events(batch))
    assert convert(batch.numpy()[:0]).shape == (8, 0, 2, 6, 8)


def test_array_in_any_memory_layout(generator: torch.Generator) -> None:
    array = pixels(6, 8, 3, generator)
    expected = events(torch.from_numpy(array).permute(2, 0, 1)[None])[:, 0]
    read_only = array.copy()
    read_only.flags.writeable = False
    enlarged = np.repeat(np.repeat(array, 3, axis=0), 2, axis=1)
    structured = np.zeros((6, 8, 3), dtype=[("label", "u1"), ("pixel", "f4")])
    structured["pixel"] = array
    for same in (
        np.flip(np.flip(array, 0).copy(), 0),
        array[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        read_only,
        enlarged[::3, ::2],
        np.asfortranarray(array),
    ):
        assert_same_events(convert(same), expected)
    levels = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    swapped = array.astype(">f4")
    for same in (structured["pixel"], swapped):
        assert_same_events(convert(same), events(levels)[:, 0])


def test_read_only_array_is_not_written_and_gives_no_warning(generator: torch.Generator) -> None:
    array = pixels(6, 8, 3, generator)
    array.flags.writeable = False
    before = array.copy()
    flipped = array[::-1]
    assert_same_events(convert(flipped), events(torch.from_numpy(before[::-1].copy()).permute(2, 0, 1)[None])[:, 0])
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        *((shape, "both") for shape in [(3, 8, 3), (1, 8, 1), (3, 8, 1), (2, 3, 8, 3), (2, 1, 8, 3)]),
        *((shape, "neither") for shape in [(6, 8, 4), (4, 6, 8), (5, 6, 8, 2)]),
    ],
)
def test_array_with_unclear_channels_raises_error(shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=rf"channels \(1 or 3\) first or last.*{problem} could be the channels; pass"):
        convert(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(), (8,), (1, 1, 3, 6, 8)])
def test_array_of_too_few_or_too_many_dimensions_raises_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 to 4 dimensions, got shape"):
        convert(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.bool_, np.complex64, object, "U3"])
def test_array_of_another_dtype_raises_error(dtype: type | str) -> None:
    message = rf"uint8, float16, float32, float64, got {np.dtype(dtype)}; .*\.astype\('float32'\)"
    with pytest.raises(TypeError, match=message):
        convert(np.zeros((3, 6, 8), dtype))


@pytest.mark.parametrize("images", [[[1, 2], [3, 4]], "photograph.png", None, 3.0, (torch.zeros(3, 4, 4),)])
def test_other_types_raise_error(images: object) -> None:
    message = f"images must be a tensor, a NumPy array or a PIL image, got {type(images).__name__}"
    with pytest.raises(TypeError, match=message):
        convert(images)  # type: ignore[arg-type]
