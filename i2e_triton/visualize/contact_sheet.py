"""A contact sheet: an image, its value channel and its timesteps on one picture, each under a caption.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from torch import Tensor

from i2e_triton.functional import event_rate
from i2e_triton.visualize.drawing import GROUND, OFF, ON, draw_image, draw_reduced, draw_timestep

#: Large images are reduced until the tiles in a row, and those in a column, have at most this many pixels together.
MAX_SIDE = 4096
#: Small images are enlarged until their longer side has at least this many pixels.
MIN_TILE = 256

_PROPORTION = 2.0  # width by height that the grid comes close to, if the shape of the image allows
_INK = (0x22, 0x22, 0x22)
_FAINT = (0xB0, 0xB0, 0xB0)

_Color = tuple[int, int, int]
_Place = tuple[int, int]  # column and row


@dataclass(frozen=True)
class _Caption:
    """A title, words in their colours under it, and beside them a motion vector."""

    title: str
    words: Sequence[tuple[str, _Color]]
    vector: Sequence[int] = ()


def draw_contact_sheet(image: Tensor, events: Tensor, shifts: Tensor, names: Sequence[str]) -> PIL.Image.Image:
    """Draw an image, its value channel and its events, timestep by timestep; all on the CPU.

    Small images are enlarged by a whole number, large ones reduced by a whole number.

    Args:
        image: uint8 or floating point ``[1, H, W]`` or ``[3, H, W]``.
        events: bool ``[T, 2, H, W]``, as :func:`i2e_triton.convert` makes them of it.
        shifts: the motion vectors ``[T, 4]`` that made them.
        names: what to call each motion vector, in ASCII.

    Returns:
        An RGB picture.
    """
    _, height, width = image.shape
    places = arrange(len(events), height, width)
    columns, rows = _extent(places)
    enlarge, reduce = scale(height, width, columns, rows)
    tiles = list(_tiles(image, events, enlarge, reduce))
    captions = list(_captions(image, _size_in_words(height, width, enlarge, reduce), events, shifts, names))
    return _mount(places, tiles, captions)


def arrange(timesteps: int, height: int, width: int) -> list[_Place]:
    """Choose the grid with the largest tiles and the fewest empty places.

    Args:
        timesteps: how many tiles follow the first two.
        height: of a tile, in any unit.
        width: of a tile.

    Returns:
        Column and row of each tile: image, value channel, timesteps.
    """

    def merit(places: list[_Place]) -> float:
        columns, rows = _extent(places)
        return min(_PROPORTION / (columns * width), 1 / (rows * height)) * (len(places) / (columns * rows)) ** 2

    return max(_arrangements(timesteps), key=merit)


def _arrangements(timesteps: int) -> Iterator[list[_Place]]:
    """All tiles in a row or a column; or the timesteps in a grid, the first two tiles left of it or above it."""
    count = range(timesteps)
    yield [(i, 0) for i in range(timesteps + 2)]
    yield [(0, i) for i in range(timesteps + 2)]
    for columns in range(1, timesteps):
        yield [(0, 0), (0, 1), *((1 + t % columns, t // columns) for t in count)]
    for columns in range(2, timesteps + 1):
        yield [(0, 0), (1, 0), *((t % columns, 1 + t // columns) for t in count)]


def _extent(places: Sequence[_Place]) -> tuple[int, int]:
    """Count the columns and rows."""
    return max(column for column, _ in places) + 1, max(row for _, row in places) + 1


def scale(height: int, width: int, columns: int, rows: int) -> tuple[int, int]:
    """Choose the whole numbers to enlarge and to reduce a tile by; at most one of them is not 1."""
    reduce = -(-max(columns * width, rows * height) // MAX_SIDE)
    return -(-MIN_TILE // max(height, width)), reduce


def _tiles(image: Tensor, events: Tensor, enlarge: int, reduce: int) -> Iterator[PIL.Image.Image]:
    """Draw the tiles one by one: large images need not be in memory ten times."""
    for source in (image, image.amax(0, keepdim=True)):
        yield _enlarged(draw_image(source).reduce(reduce), enlarge)
    for timestep in events:
        yield draw_reduced(timestep, reduce) if reduce > 1 else _enlarged(draw_timestep(timestep), enlarge)


def _enlarged(picture: PIL.Image.Image, factor: int) -> PIL.Image.Image:
    return picture.resize((picture.width * factor, picture.height * factor), PIL.Image.Resampling.NEAREST)


def _captions(image: Tensor, size: str, events: Tensor, shifts: Tensor, names: Sequence[str]) -> Iterator[_Caption]:
    yield _Caption("image", [(size, _INK)])
    yield _Caption("value channel", [("max of R, G, B" if len(image) == 3 else "the image is grey", _INK)])
    for t, (name, vector, timestep) in enumerate(zip(names, shifts.tolist(), events)):
        on, off = event_rate(timestep, (1, 2)).tolist()
        yield _Caption(f"t = {t}    {name}", [(f"ON {on:.2%}", ON), (f"OFF {off:.2%}", OFF)], vector)


def _size_in_words(height: int, width: int, enlarge: int, reduce: int) -> str:
    if enlarge > 1:
        return f"{height} x {width}, enlarged {enlarge} x"
    return f"{height} x {width}, 1 : {reduce}" if reduce > 1 else f"{height} x {width}"


def _mount(places: Sequence[_Place], tiles: Sequence[PIL.Image.Image], captions: Sequence[_Caption]) -> PIL.Image.Image:
    """Put tiles and captions on their places."""
    columns, rows = _extent(places)
    width, height = tiles[0].size
    em = max(16, max(columns * width, rows * height) // 110)  # the text grows with the sheet
    column_width, row_height = max(width, 14 * em) + em, height + 4 * em
    sheet = PIL.Image.new("RGB", (em + columns * column_width, em // 2 + rows * row_height), GROUND)
    pen = PIL.ImageDraw.Draw(sheet)
    for (column, row), tile, caption in zip(places, tiles, captions):
        x, y = em + column * column_width, em // 2 + row * row_height
        _write(pen, caption, x, y, em)
        top = y + 3 * em
        sheet.paste(tile, (x, top))
        pen.rectangle((x - 1, top - 1, x + width, top + height), outline=_FAINT)
    return sheet


def _write(pen: PIL.ImageDraw.ImageDraw, caption: _Caption, x: float, y: float, em: int) -> None:
    """Write a caption, three lines high."""
    font = PIL.ImageFont.load_default(em)
    if caption.vector:
        _draw_vector(pen, caption.vector, x, y, 2.6 * em)
        x += 3.1 * em
    pen.text((x, y), caption.title, fill=_INK, font=font)
    for text, color in caption.words:
        pen.text((x, y + 1.3 * em), text, fill=color, font=font)
        x += pen.textlength(text, font) + 0.8 * em


def _draw_vector(pen: PIL.ImageDraw.ImageDraw, vector: Sequence[int], x: float, y: float, side: float) -> None:
    """Draw the neighbourhood of a pixel as dots, and the motion vector in it as a line that ends in a disc."""
    reach = max(1, *map(abs, vector))
    step = side / (2 * reach + 1)

    def disc(dy: int, dx: int, radius: float, color: _Color) -> tuple[float, float]:
        center = x + (reach + dx + 0.5) * step, y + (reach + dy + 0.5) * step
        pen.ellipse((center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius), fill=color)
        return center

    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            disc(dy, dx, step / 10, _FAINT)
    dy0, dx0, dy1, dx1 = vector
    pen.line(
        (disc(dy0, dx0, step / 10, _INK), disc(dy1, dx1, step / 4, _INK)), fill=_INK, width=max(1, round(step / 8))
    )
