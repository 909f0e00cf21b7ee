"""Draw an image, its value channel and its timesteps as captioned tiles of one image.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from torch import Tensor

from i2e_triton.visualize.drawing import BACKGROUND, OFF, ON, draw_image, draw_reduced

#: Maximum total width of the tiles of a row, and total height of the tiles of a column. Larger images are reduced.
MAX_SIDE = 4096
#: Minimum length of the longer side of a tile in pixels. Smaller images are enlarged.
MIN_TILE = 256

_DARK_GREY = (0x22, 0x22, 0x22)
_LIGHT_GREY = (0xB0, 0xB0, 0xB0)

_Color = tuple[int, int, int]
_Caption = tuple[str, list[tuple[str, _Color]], Sequence[int]]  # title, colored texts below it, and motion vector or ()


def draw_contact_sheet(image: Tensor, events: Tensor, shifts: Tensor, names: Sequence[str]) -> PIL.Image.Image:
    """Draw an image, its value channel and its events, one tile per timestep. All tensors are on the CPU.

    Small images are enlarged, and large images are reduced, by an integer factor.

    Args:
        image: uint8 or floating point ``[1, H, W]`` or ``[3, H, W]``.
        events: bool ``[T, 2, H, W]``, the result of :func:`i2e_triton.convert` for this image.
        shifts: the motion vectors ``[T, 4]`` of the conversion.
        names: a label for each motion vector, in ASCII.

    Returns:
        An RGB image.
    """
    _, height, width = image.shape
    positions = tile_positions(len(events), height, width)
    columns, rows = (1 + max(indices) for indices in zip(*positions))
    enlarge = math.ceil(MIN_TILE / max(height, width))
    reduce = math.ceil(max(columns * width, rows * height) / MAX_SIDE)
    tiles = list(_tiles(image, events, enlarge, reduce))
    width, height = tiles[0].size

    em = max(16, max(columns * width, rows * height) // 110)  # the text size in pixels grows with the sheet
    column_width, row_height = max(width, 14 * em) + em, height + 4 * em
    sheet = PIL.Image.new("RGB", (em + columns * column_width, em // 2 + rows * row_height), BACKGROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    captions = _captions(image, events, shifts, names, enlarge, reduce)
    for (column, row), tile, caption in zip(positions, tiles, captions):
        x, y = em + column * column_width, em // 2 + row * row_height
        _draw_caption(draw, caption, x, y, em)
        sheet.paste(tile, (x, y + 3 * em))
        draw.rectangle((x - 1, y + 3 * em - 1, x + width, y + 3 * em + height), outline=_LIGHT_GREY)
    return sheet


def tile_positions(timesteps: int, height: int, width: int) -> list[tuple[int, int]]:
    """Return the column and row of each tile: the image, its value channel and the timesteps.

    The image is above its value channel, and the timesteps fill two rows to the right of them. For an image that is
    more than twice as wide as high, the value channel is to the right of the image, and the timesteps fill two columns
    below them.
    """
    if width > 2 * height:
        return [(0, 0), (1, 0), *((t % 2, 1 + t // 2) for t in range(timesteps))]
    columns = (timesteps + 1) // 2
    return [(0, 0), (0, 1), *((1 + t % columns, t // columns) for t in range(timesteps))]


def _tiles(image: Tensor, events: Tensor, enlarge: int, reduce: int) -> Iterator[PIL.Image.Image]:
    """Yield the tiles one at a time, because ten large images at full size may not fit in memory."""
    for plane in (image, image.amax(0, keepdim=True)):
        yield _enlarged(draw_image(plane).reduce(reduce), enlarge)
    for timestep in events:
        yield _enlarged(draw_reduced(timestep, reduce), enlarge)


def _enlarged(tile: PIL.Image.Image, factor: int) -> PIL.Image.Image:
    return tile.resize((tile.width * factor, tile.height * factor), PIL.Image.Resampling.NEAREST)


def _captions(
    image: Tensor, events: Tensor, shifts: Tensor, names: Sequence[str], enlarge: int, reduce: int
) -> Iterator[_Caption]:
    channels, height, width = image.shape
    scaled = f", enlarged {enlarge} x" if enlarge > 1 else f", 1 : {reduce}" if reduce > 1 else ""
    yield "image", [(f"{height} x {width}{scaled}", _DARK_GREY)], ()
    yield "value channel", [("max of R, G, B" if channels == 3 else "the image is grey", _DARK_GREY)], ()
    for t, (name, vector, timestep) in enumerate(zip(names, shifts.tolist(), events)):
        on, off = (int(polarity.count_nonzero()) / polarity.numel() for polarity in timestep)
        yield f"t = {t}    {name}", [(f"ON {on:.2%}", ON), (f"OFF {off:.2%}", OFF)], vector


def _draw_caption(draw: PIL.ImageDraw.ImageDraw, caption: _Caption, x: float, y: float, em: int) -> None:
    """Draw a caption, which is three ``em`` high."""
    title, texts, vector = caption
    font = PIL.ImageFont.load_default(em)
    if vector:
        _draw_vector(draw, vector, x, y, 2.6 * em)
        x += 3.1 * em
    draw.text((x, y), title, fill=_DARK_GREY, font=font)
    for text, color in texts:
        draw.text((x, y + 1.3 * em), text, fill=color, font=font)
        x += draw.textlength(text, font) + 0.8 * em


def _draw_vector(draw: PIL.ImageDraw.ImageDraw, vector: Sequence[int], x: float, y: float, side: float) -> None:
    """Draw the neighborhood of a pixel as dots, and the motion vector as a line that ends in a disc."""
    reach = max(1, *map(abs, vector))
    step = side / (2 * reach + 1)

    def dot(dy: int, dx: int, radius: float, color: _Color) -> tuple[float, float]:
        center = x + (reach + dx + 0.5) * step, y + (reach + dy + 0.5) * step
        draw.ellipse((center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius), fill=color)
        return center

    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            dot(dy, dx, step / 10, _LIGHT_GREY)
    dy0, dx0, dy1, dx1 = vector
    start, end = dot(dy0, dx0, step / 10, _DARK_GREY), dot(dy1, dx1, step / 4, _DARK_GREY)
    draw.line((start, end), fill=_DARK_GREY, width=max(1, round(step / 8)))
