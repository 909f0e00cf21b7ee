"""Draw docs/events.svg, the figure of the README: a photograph from scikit-image and its events.

Run in the root of the repository: python docs/picture.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import skimage
import torch
from PIL import Image
from torch import Tensor

import i2e_triton
from i2e_triton.images import as_image_tensor

SIDE = 96  # height and width of the image in pixels, and of a tile in SVG units
GAP = 12  # between tiles, in SVG units
GREYS = 12  # number of grey levels
ON, OFF = "#d7191c", "#2166ac"
OUT = Path(__file__).with_name("events.svg")


def runs(mask: Tensor) -> Iterator[str]:
    """Yield SVG path commands that fill the True pixels of ``[H, W]``: one rectangle per run of pixels in a row."""
    for y, row in enumerate(mask.tolist()):
        start = None
        for x, filled in enumerate([*row, False]):
            if filled and start is None:
                start = x
            elif not filled and start is not None:
                yield f"M{start} {y}h{x - start}v1h-{x - start}z"
                start = None


def tile(column: int, row: int, title: str, body: str) -> str:
    """Return the SVG of one square with a title."""
    x, y = GAP + column * (SIDE + GAP), 22 + row * (SIDE + 30)
    frame = f'<rect width="{SIDE}" height="{SIDE}" fill="#fff" stroke="#ccc" stroke-width=".5"/>'
    return f'<g transform="translate({x} {y})"><text y="-5">{title}</text>{frame}{body}</g>'


def grey_tile(plane: Tensor) -> str:
    """Return the SVG of a grey image ``[H, W]`` with values in [0, 1]. Darker levels are drawn over lighter ones."""
    level = (plane * GREYS).long().clamp(max=GREYS - 1)
    body = ""
    for grey in reversed(range(GREYS)):
        shade = round(255 * (grey + 0.5) / GREYS)
        body += f'<path fill="rgb({shade},{shade},{shade})" d="{"".join(runs(level <= grey))}"/>'
    return body


def main() -> None:
    """Write the SVG file."""
    path = Path(skimage.__file__).with_name("data") / "astronaut.png"
    with Image.open(path) as photograph:
        image = as_image_tensor(photograph.convert("RGB").crop((80, 0, 368, 288)).resize((SIDE, SIDE)))
    events = i2e_triton.convert(image, ratio=0.12, dtype=torch.bool)
    rates = i2e_triton.event_rate(events, (1, 2, 3)).tolist()
    tiles = [tile(0, 0, "value channel", grey_tile(image.amax(0) / 255))]
    for t, (on, off) in enumerate(events):
        body = f'<path fill="{ON}" d="{"".join(runs(on))}"/><path fill="{OFF}" d="{"".join(runs(off))}"/>'
        column, row = 1 + t % 4, t // 4
        tiles.append(tile(column, row, f"t = {t}: {rates[t]:.1%}", body))
    legend = f'<tspan fill="{ON}">ON</tspan> <tspan fill="{OFF}">OFF</tspan>'
    tiles.append(f'<text x="{GAP}" y="{22 + SIDE + 30 + 10}">events {legend}</text>')
    width, height = GAP + 5 * (SIDE + GAP), 22 + 2 * SIDE + 30 + GAP
    OUT.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{2 * width}" '
        f'font-family="sans-serif" font-size="9" fill="#333" shape-rendering="crispEdges">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(tiles)}</svg>\n'
    )


if __name__ == "__main__":
    main()
