"""Draw an image, its value channel and its timesteps as captioned tiles of one image.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from torch import Tensor

from i2e_triton.functional import convert
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.shifts import canonical_shifts
from i2e_triton.visualize.drawing import BACKGROUND, OFF, ON, draw_image, draw_reduced
from i2e_triton.visualize.grid import as_batch, as_grid

#: Maximum total width of the tiles of a row, and total height of the tiles of a column. Larger images are reduced.
MAX_SIDE = 4096
#: Minimum length of the longer side of a tile in pixels. Smaller images are enlarged.
MIN_TILE = 256

_DARK_GREY = (0x22, 0x22, 0x22)
_LIGHT_GREY = (0xB0, 0xB0, 0xB0)

_Color = tuple[int, int, int]
_Caption = tuple[str, list[tuple[str, _Color]], Sequence[int]]  # title, colored texts below it, and motion vector or ()


def contact_sheet(
    source: Images, ratio: float = 0.12, *, shifts: Tensor | None = None, packed: bool | None = None
) -> PIL.Image.Image:
    """Draw one tile per timestep and, for an image, also the image and its value channel.

    Args:
        source: an image ``[C, H, W]`` or a PIL image, which is converted; or events, dense ``[T, 2, H, W]`` or
            ``[T, B, 2, H, W]`` or packed ``[2, H, W]`` or ``[B, 2, H, W]``. A batch is shown as a grid. Any device.
        ratio: threshold of the conversion of an image, as a fraction of its brightness range. Default: 0.12.
        shifts: motion vectors ``[T, 4]`` of the conversion of an image, or those that the events were made with, which
            are then drawn in the captions. Default: None, the canonical ones for an image, unknown ones for events.
        packed: whether uint8 events with 4 dimensions are packed. Default: None, they are if a value is above 1.

    Returns:
        An RGB image. Small tiles are enlarged, and large ones are reduced, by an integer factor.

    Raises:
        ValueError: if the shape is not one of these.

    Example:
        >>> i2e_triton.visualize.contact_sheet(image).save("sheet.png")
    """
    image = None
    if not isinstance(source, Tensor) or (source.dim() == 3 and source.shape[0] != 2):
        image = as_image_tensor(source).cpu()
        if image.dim() != 3 or image.shape[0] not in (1, 3):
            raise ValueError(f"an image must be [C, H, W] with 1 or 3 channels, got shape {list(image.shape)}")
        shifts = canonical_shifts(device="cpu") if shifts is None else shifts.cpu()
        source = convert(image, ratio, shifts=shifts, dtype=torch.bool)
        packed = False
    batch = as_batch(source, packed)
    names = [] if shifts is None else [vector_label(vector) for vector in shifts]
    return _draw(image, as_grid(batch.movedim(1, 0)), _rates(batch), shifts, names)


def draw_contact_sheet(image: Tensor, events: Tensor, shifts: Tensor, names: Sequence[str]) -> PIL.Image.Image:
    """Draw an image, its value channel and its events, one tile per timestep. All tensors are on the CPU.

    Args:
        image: uint8 or floating point ``[1, H, W]`` or ``[3, H, W]``.
        events: bool ``[T, 2, H, W]``, the result of :func:`i2e_triton.convert` for this image.
        shifts: the motion vectors ``[T, 4]`` of the conversion.
        names: a label for each motion vector, in ASCII.

    Returns:
        An RGB image.
    """
    return _draw(image, events, _rates(events[:, None]), shifts, names)


def _rates(events: Tensor) -> list[tuple[float, float]]:
    """Return the ON and OFF event rates of each timestep, given events ``[T, B, 2, H, W]``."""
    pixels = events[0, :, 0].numel()
    return [(int(t[:, 0].count_nonzero()) / pixels, int(t[:, 1].count_nonzero()) / pixels) for t in events]


def _draw(
    image: Tensor | None,
    events: Tensor,
    rates: Sequence[tuple[float, float]],
    shifts: Tensor | None,
    names: Sequence[str],
) -> PIL.Image.Image:
    """Draw a contact sheet without the image or without the motion vectors, if these are None."""
    height, width = events.shape[-2:]
    positions = tile_positions(len(events), height, width, with_image=image is not None)
    columns, rows = (1 + max(indices) for indices in zip(*positions))
    enlarge = math.ceil(MIN_TILE / max(height, width))
    reduce = math.ceil(max(columns * width, rows * height) / MAX_SIDE)
    tiles = list(_tiles(image, events, enlarge, reduce))
    width, height = tiles[0].size

    em = max(16, max(columns * width, rows * height) // 110)  # the text size in pixels grows with the sheet
    column_width, row_height = max(width, 14 * em) + em, height + 4 * em
    sheet = PIL.Image.new("RGB", (em + columns * column_width, em // 2 + rows * row_height), BACKGROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    captions = _captions(image, rates, shifts, names, enlarge, reduce)
    for (column, row), tile, caption in zip(positions, tiles, captions):
        x, y = em + column * column_width, em // 2 + row * row_height
        _draw_caption(draw, caption, x, y, em)
        sheet.paste(tile, (x, y + 3 * em))
        draw.rectangle((x - 1, y + 3 * em - 1, x + width, y + 3 * em + height), outline=_LIGHT_GREY)
    return sheet


def tile_positions(timesteps: int, height: int, width: int, *, with_image: bool = True) -> list[tuple[int, int]]:
    """Return the column and row of each tile: the image and its value channel, if any, and the timesteps.

    The image is above its value channel, and the timesteps fill two rows to the right of them. For an image that is
    more than twice as wide as high, the value channel is to the right of the image, and the timesteps fill two columns
    below them.
    """
    first = int(with_image)
    if width > 2 * height:
        return [(0, 0), (1, 0)] * first + [(t % 2, first + t // 2) for t in range(timesteps)]
    columns = (timesteps + 1) // 2
    return [(0, 0), (0, 1)] * first + [(first + t % columns, t // columns) for t in range(timesteps)]


def vector_label(vector: Tensor) -> str:
    """Return a label such as ``[9,4]`` for a motion vector: its first and last pixel in the 3x3 neighborhood.

    The pixels are numbered 1 to 9 in reading order. Longer vectors have the label of their offsets.
    """
    offsets = vector.tolist()
    if max(map(abs, offsets)) > 1:
        return str(offsets)
    y0, x0, y1, x1 = offsets
    return f"[{3 * y0 + x0 + 5},{3 * y1 + x1 + 5}]"


def _tiles(image: Tensor | None, events: Tensor, enlarge: int, reduce: int) -> Iterator[PIL.Image.Image]:
    """Yield the tiles one at a time, because ten large images at full size may not fit in memory."""
    for plane in () if image is None else (image, image.amax(0, keepdim=True)):
        yield _enlarged(draw_image(plane).reduce(reduce), enlarge)
    for timestep in events:
        yield _enlarged(draw_reduced(timestep, reduce), enlarge)


def _enlarged(tile: PIL.Image.Image, factor: int) -> PIL.Image.Image:
    return tile.resize((tile.width * factor, tile.height * factor), PIL.Image.Resampling.NEAREST)


def _captions(
    image: Tensor | None,
    rates: Sequence[tuple[float, float]],
    shifts: Tensor | None,
    names: Sequence[str],
    enlarge: int,
    reduce: int,
) -> Iterator[_Caption]:
    if image is not None:
        channels, height, width = image.shape
        scaled = f", enlarged {enlarge} x" if enlarge > 1 else f", 1 : {reduce}" if reduce > 1 else ""
        yield "image", [(f"{height} x {width}{scaled}", _DARK_GREY)], ()
        yield "value channel", [("max of R, G, B" if channels == 3 else "the image is grey", _DARK_GREY)], ()
    vectors: list[list[int]] = [[]] * len(rates) if shifts is None else shifts.tolist()
    for t, (vector, (on, off)) in enumerate(zip(vectors, rates)):
        title = f"t = {t}" + (f"    {names[t]}" if names else "")
        yield title, [(f"ON {on:.2%}", ON), (f"OFF {off:.2%}", OFF)], vector


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
