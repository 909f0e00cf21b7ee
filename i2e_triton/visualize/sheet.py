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
from i2e_triton.shifts import canonical_shifts, convolution_weight, order_of_weight
from i2e_triton.visualize.drawing import BACKGROUND, OFF, ON, draw_events, draw_image
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
    return draw_contact_sheet(image, as_batch(source, packed), shifts)


def draw_contact_sheet(image: Tensor | None, batch: Tensor, shifts: Tensor | None) -> PIL.Image.Image:
    """Draw one tile per timestep and, if there is one, the image and its value channel. All tensors are on the CPU.

    Args:
        image: uint8 or floating point ``[1, H, W]`` or ``[3, H, W]``.
        batch: bool events ``[T, B, 2, H, W]``. Several images are drawn as a grid.
        shifts: the motion vectors ``[T, 4]``, which are drawn in the captions.
    """
    rates = (batch.sum((1, 3, 4)).double() / batch[0, :, 0].numel()).tolist()
    events = as_grid(batch.movedim(1, 0))
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
    captions = _captions(image, rates, shifts, enlarge, reduce)
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


def vector_labels(shifts: Tensor) -> list[str]:
    """Return a label such as ``e [9,4]`` for each motion vector of ``[T, 4]``.

    The letter is the paper's group. The numbers are the first and the last pixel of the vector in the 3x3 neighborhood,
    numbered 1 to 9 in reading order. Other vectors than the paper's have the label of their offsets.
    """
    try:
        groups = order_of_weight(convolution_weight(shifts))
    except ValueError:
        return [str(vector) for vector in shifts.tolist()]
    cells = ((3 * y0 + x0 + 5, 3 * y1 + x1 + 5) for y0, x0, y1, x1 in shifts.tolist())
    return [f"{'abcdefgh'[group]} [{start},{end}]" for group, (start, end) in zip(groups, cells)]


def _tiles(image: Tensor | None, events: Tensor, enlarge: int, reduce: int) -> Iterator[PIL.Image.Image]:
    """Yield the tiles one at a time, because ten large images at full size may not fit in memory."""
    for plane in () if image is None else (image, image.amax(0, keepdim=True)):
        yield _enlarged(draw_image(plane).reduce(reduce), enlarge)
    for timestep in events:
        yield _enlarged(draw_events(timestep, reduce), enlarge)


def _enlarged(tile: PIL.Image.Image, factor: int) -> PIL.Image.Image:
    return tile.resize((tile.width * factor, tile.height * factor), PIL.Image.Resampling.NEAREST)


def _captions(
    image: Tensor | None,
    rates: Sequence[tuple[float, float]],
    shifts: Tensor | None,
    enlarge: int,
    reduce: int,
) -> Iterator[_Caption]:
    if image is not None:
        channels, height, width = image.shape
        scaled = f", enlarged {enlarge} x" if enlarge > 1 else f", 1 : {reduce}" if reduce > 1 else ""
        yield "image", [(f"{height} x {width}{scaled}", _DARK_GREY)], ()
        yield "value channel", [("max of R, G, B" if channels == 3 else "the image is grey", _DARK_GREY)], ()
    vectors: list[list[int]] = [[]] * len(rates) if shifts is None else shifts.tolist()
    labels = [""] * len(rates) if shifts is None else vector_labels(shifts)
    for t, (vector, label, (on, off)) in enumerate(zip(vectors, labels, rates)):
        yield f"t = {t}    {label}".rstrip(), [(f"ON {on:.2%}", ON), (f"OFF {off:.2%}", OFF)], vector


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
