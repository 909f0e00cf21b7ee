from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from i2e_triton import convert
from i2e_triton.io.geometry import INTERPOLATIONS, RESIZE_RULES, RESIZES, crop_or_pad, resize_rule, scaled_size
from i2e_triton.io.pictures import read_picture
from tests.samples import assert_same_events, noise, photograph_path


def test_every_combination_of_options_has_a_rule() -> None:
    rules = {(resize, name): resize_rule(resize, name) for resize in RESIZES for name in INTERPOLATIONS}
    assert len(set(rules.values())) == 6
    assert rules["stretch", "bicubic"] == resize_rule("stretch") == "bicubic"  # as earlier versions record it
    assert rules["stretch", "bilinear"] == "bilinear"


@pytest.mark.parametrize("rule", RESIZE_RULES)
def test_name_of_a_rule_is_accepted(rule: str) -> None:
    assert resize_rule(rule, "bilinear") == rule


def test_unknown_options_raise() -> None:
    with pytest.raises(ValueError, match="resize must be one of fit, crop, stretch; got 'pad'"):
        resize_rule("pad")
    with pytest.raises(ValueError, match="interpolation must be one of bicubic, bilinear; got 'nearest'"):
        resize_rule("fit", "nearest")


@pytest.mark.parametrize(
    ("height", "width", "size", "fit", "crop"),
    [
        (400, 600, (100, 100), (67, 100), (100, 150)),
        (600, 400, (100, 100), (100, 67), (150, 100)),
        (400, 600, (200, 300), (200, 300), (200, 300)),
        (400, 600, (100, 200), (100, 150), (133, 200)),
        (400, 600, (300, 100), (67, 100), (300, 450)),
        (1, 1000, (10, 10), (1, 10), (10, 10000)),
        (3, 3, (7, 5), (5, 5), (7, 7)),
    ],
)
def test_scaled_sizes(
    height: int, width: int, size: tuple[int, int], fit: tuple[int, int], crop: tuple[int, int]
) -> None:
    assert scaled_size(height, width, size, "fit bicubic") == fit
    assert scaled_size(height, width, size, "crop bilinear") == crop
    assert scaled_size(height, width, size, "bilinear") == size


def test_odd_number_of_pixels_is_padded(generator: torch.Generator) -> None:
    image = noise((1, 2, 3), torch.uint8, generator)
    (a, b, c), (d, e, f) = image[0].tolist()
    padded = crop_or_pad(image, (5, 3))
    assert padded[0].tolist() == [[a, b, c], [a, b, c], [d, e, f], [d, e, f], [d, e, f]]


@pytest.mark.parametrize("size", [(150, 90), (70, 160)])
def test_events_inside_a_fitted_photograph_are_those_of_the_photograph(size: tuple[int, int]) -> None:
    path = photograph_path("coffee")
    height, width = scaled_size(400, 600, size, "fit bicubic")
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    events = convert(read_picture(path, size, "fit bicubic"))
    assert events.shape[-2:] == size
    inside = events[..., top : top + height, left : left + width]
    assert_same_events(inside.contiguous(), convert(read_picture(path, (height, width))))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pictures_are_cropped(interpolation: str) -> None:
    path = photograph_path("coffee")  # 400 x 600
    with PIL.Image.open(path) as opened:
        scaled = opened.resize((150, 100), PIL.Image.Resampling[interpolation.upper()])
        cropped = scaled.crop((25, 0, 125, 100))
    expected = torch.from_numpy(np.array(cropped)).permute(2, 0, 1)
    assert torch.equal(read_picture(path, (100, 100), f"crop {interpolation}"), expected)
