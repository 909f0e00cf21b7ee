from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, convert, pack
from i2e_triton.visualize.drawing import draw_events, draw_image
from i2e_triton.visualize.sheet import (
    MAX_SIDE,
    MIN_TILE,
    contact_sheet,
    draw_contact_sheet,
    tile_positions,
    vector_labels,
)
from tests.samples import noise, photograph

LABELS = ["e [9,4]", "f [4,3]", "g [3,8]", "h [8,1]", "a [5,6]", "b [5,2]", "c [5,3]", "d [5,1]"]


def sheet_of(image: Tensor, timesteps: int = 8) -> tuple[np.ndarray, Tensor]:
    shifts = canonical_shifts(timesteps=timesteps)
    events = convert(image, shifts=shifts, dtype=torch.bool)
    sheet = draw_contact_sheet(image, events[:, None], shifts)
    assert sheet.mode == "RGB"
    return np.asarray(sheet), events


def find_tile(tile: PIL.Image.Image, sheet: np.ndarray) -> list[tuple[int, int]]:
    """Return the row and column of the upper left corner of every copy of a framed tile on a sheet."""
    pixels = np.asarray(tile.convert("RGB"))
    height, width, _ = pixels.shape
    frame = (sheet == (0xB0, 0xB0, 0xB0)).all(-1)
    left, right = frame[:, : -width - 1], frame[:, width + 1 :]
    framed = left[: -height - 1] & left[1:-height] & right[height + 1 :]  # two corners and the left side
    corners = np.argwhere(framed) + 1
    return [(y, x) for y, x in corners.tolist() if (sheet[y : y + height, x : x + width] == pixels).all()]


@dataclass
class DrawnText:
    """The texts of a sheet and their positions."""

    texts: list[tuple[float, float, float, str]] = field(default_factory=list)  # left, right, top, text


@pytest.fixture
def drawn_text(monkeypatch: pytest.MonkeyPatch) -> DrawnText:
    drawn = DrawnText()
    draw_text = PIL.ImageDraw.ImageDraw.text

    def record(
        draw: PIL.ImageDraw.ImageDraw,
        xy: tuple[float, float],
        text: str,
        fill: tuple[int, ...],
        font: PIL.ImageFont.FreeTypeFont,
    ) -> None:
        drawn.texts.append((xy[0], xy[0] + draw.textlength(text, font), xy[1], text))
        draw_text(draw, xy, text, fill=fill, font=font)

    monkeypatch.setattr(PIL.ImageDraw.ImageDraw, "text", record)
    return drawn


@pytest.mark.parametrize("timesteps", [8, 3])
def test_photograph_sheet_shows_image_value_channel_and_timesteps(timesteps: int) -> None:
    image = photograph("chelsea")
    sheet, events = sheet_of(image, timesteps)
    tiles = [draw_image(image), draw_image(image.amax(0, keepdim=True)), *map(draw_events, events)]
    found = [find_tile(tile, sheet) for tile in tiles]
    assert [len(places) for places in found] == [1] * (timesteps + 2)
    places = tile_positions(timesteps, *image.shape[1:])
    in_reading_order = sorted(range(timesteps + 2), key=lambda i: places[i][::-1])
    assert sorted(range(timesteps + 2), key=lambda i: found[i][0]) == in_reading_order


def test_small_images_are_enlarged_by_an_integer_factor(generator: torch.Generator) -> None:
    image = noise((3, 32, 32), torch.uint8, generator)
    sheet, events = sheet_of(image)
    large = image.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert len(find_tile(draw_image(large), sheet)) == 1
    for timestep in events:
        tile = draw_events(timestep).resize((256, 256), PIL.Image.Resampling.NEAREST)
        assert len(find_tile(tile, sheet)) == 1


def test_large_images_are_reduced_by_an_integer_factor() -> None:
    image = photograph("astronaut").repeat(1, 2, 3)
    sheet, events = sheet_of(image)
    columns = 1 + max(column for column, _ in tile_positions(8, 1024, 1536))
    factor = math.ceil(columns * 1536 / MAX_SIDE)
    assert factor > 1
    assert len(find_tile(draw_image(image).reduce(factor), sheet)) == 1
    for timestep in events[::3]:
        assert len(find_tile(draw_events(timestep, factor), sheet)) == 1


def test_value_channel_of_a_grey_float_image_equals_the_image(generator: torch.Generator) -> None:
    image = noise((1, 300, 260), torch.float32, generator)
    sheet, _ = sheet_of(image)
    assert len(find_tile(draw_image(image), sheet)) == 2  # as the image and as the value channel


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (200, 3000), (3000, 200), (1, 100_000), (1300, 1300)])
def test_sheet_size_is_bounded_for_any_image_shape(size: tuple[int, int], drawn_text: DrawnText) -> None:
    sheet, _ = sheet_of(torch.zeros(3, *size, dtype=torch.uint8))
    assert MIN_TILE < max(sheet.shape[:2]) < 1.5 * MAX_SIDE
    assert len(drawn_text.texts) == 2 * 2 + 8 * 3
    for left, right, top, _ in drawn_text.texts:
        assert 0 <= left < right < sheet.shape[1]
        assert 0 <= top < sheet.shape[0]


def test_captions_contain_timestep_vector_and_event_rates(drawn_text: DrawnText) -> None:
    image = photograph("rocket")
    _, events = sheet_of(image)
    rates = events.double().mean((2, 3))
    expected = ["image", "427 x 640", "value channel", "max of R, G, B"]
    for t in range(8):
        expected += [f"t = {t}    {LABELS[t]}", f"ON {rates[t, 0]:.2%}", f"OFF {rates[t, 1]:.2%}"]
    assert [text for *_, text in drawn_text.texts] == expected


@pytest.mark.parametrize(
    ("size", "words"),
    [((32, 20), "32 x 20, enlarged 8 x"), ((300, 300), "300 x 300"), ((1000, 1000), "1000 x 1000, 1 : 2")],
)
def test_image_caption_states_the_scale(size: tuple[int, int], words: str, drawn_text: DrawnText) -> None:
    sheet_of(torch.zeros(1, *size, dtype=torch.uint8))
    assert drawn_text.texts[1][3] == words
    assert drawn_text.texts[3][3] == "the image is grey"


def test_captions_of_narrow_tiles_do_not_overlap(drawn_text: DrawnText) -> None:
    shifts = canonical_shifts()
    events = torch.ones(8, 1, 2, 600, 4, dtype=torch.bool)  # 100.00% is the widest rate
    draw_contact_sheet(torch.zeros(3, 600, 4, dtype=torch.uint8), events, shifts)
    rows: dict[float, list[tuple[float, float]]] = {}
    for left, right, top, _ in drawn_text.texts:
        rows.setdefault(top, []).append((left, right))
    for row in rows.values():
        row.sort()
        assert all(right + 4 < left for (_, right), (left, _) in pairwise(row))


def test_motion_vector_icon_has_its_disc_at_the_end() -> None:
    """The disc is in the cell of the 3x3 neighborhood where the vector ends. Each sheet has one timestep."""
    image = torch.zeros(3, 300, 300, dtype=torch.uint8)
    events = torch.zeros(1, 1, 2, 300, 300, dtype=torch.bool)
    drawn = {}
    for vector in [(0, 0, -1, 1), (0, 0, 1, -1), (1, 1, 0, -1)]:
        sheet = np.asarray(draw_contact_sheet(image, events, torch.tensor([vector])))
        x = 16 + (300 + 16)  # the second tile of the first row
        icon = (sheet[8 : 8 + 42, x : x + 42] == 0x22).all(-1)
        drawn[vector] = icon
        weights = [
            (dy, dx, icon[14 * (dy + 1) : 14 * (dy + 2), 14 * (dx + 1) : 14 * (dx + 2)].sum())
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        darkest = max(weights, key=lambda cell: cell[2])
        assert darkest[:2] == vector[2:]
        assert icon.sum() > darkest[2]  # the line to the disc
    assert len({icon.tobytes() for icon in drawn.values()}) == 3


@given(timesteps=st.integers(1, 8), height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_tiles_have_distinct_positions(timesteps: int, height: int, width: int) -> None:
    places = tile_positions(timesteps, height, width)
    assert len(places) == len(set(places)) == timesteps + 2
    columns, rows = (1 + max(place[i] for place in places) for i in (0, 1))
    assert columns * rows - len(places) <= 1
    in_order = sorted(places[2:], key=lambda place: (place[1], place[0]))
    assert in_order == places[2:]


@pytest.mark.parametrize(
    ("size", "grid"),
    [((512, 512), (5, 2)), ((427, 640), (5, 2)), ((3000, 200), (5, 2)), ((200, 3000), (2, 5)), ((300, 900), (2, 5))],
)
def test_grid_of_eight_timesteps(size: tuple[int, int], grid: tuple[int, int]) -> None:
    places = tile_positions(8, *size)
    assert (1 + max(column for column, _ in places), 1 + max(row for _, row in places)) == grid


def test_contact_sheet_converts_an_image_with_the_canonical_vectors(drawn_text: DrawnText) -> None:
    image = photograph("chelsea")
    sheet = contact_sheet(image, 0.2)
    events = convert(image, 0.2, dtype=torch.bool)
    expected = draw_contact_sheet(image, events[:, None], canonical_shifts())
    assert (np.asarray(sheet) == np.asarray(expected)).all()
    assert "t = 0    e [9,4]" in [text for *_, text in drawn_text.texts]
    pil = PIL.Image.fromarray(image.permute(1, 2, 0).numpy())
    assert (np.asarray(contact_sheet(pil, 0.2)) == np.asarray(sheet)).all()


def test_contact_sheet_of_events_has_the_rates_of_the_images_without_the_gaps(
    drawn_text: DrawnText, generator: torch.Generator
) -> None:
    events = convert(noise((5, 3, 30, 30), torch.uint8, generator), dtype=torch.bool)
    sheet = contact_sheet(pack(events))
    assert sheet.mode == "RGB"
    rates = events.double().mean((1, 3, 4))
    expected = [[f"t = {t}", f"ON {rates[t, 0]:.2%}", f"OFF {rates[t, 1]:.2%}"] for t in range(8)]
    assert [text for *_, text in drawn_text.texts] == [text for texts in expected for text in texts]


@pytest.mark.parametrize("shape", [(4, 9, 9), (1, 1, 9, 9), (9, 9)])
def test_contact_sheet_of_another_shape_is_refused_with_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(list(shape)))):
        contact_sheet(torch.zeros(shape))


def test_labels_of_motion_vectors() -> None:
    assert vector_labels(canonical_shifts()) == LABELS
    assert vector_labels(torch.tensor([[2, 0, 0, 0]])) == ["[2, 0, 0, 0]"]
