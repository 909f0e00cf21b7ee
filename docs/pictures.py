"""Draw the pictures of the README and of docs/concepts.md with photographs from scikit-image.

Run in the root of the repository: python docs/pictures.py
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import skimage
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage import data
from torch import Tensor

from i2e_triton import canonical_shifts, convert, event_rate, visualize
from i2e_triton.io.pictures import read_picture
from i2e_triton.shifts import DEFAULT_ORDER, ORDERS, candidate_shifts
from i2e_triton.visualize.drawing import OFF, ON, draw_events

RATIO = 0.12
DARK, LIGHT = "#222222", "#b8b8b8"
_LENGTHS = {1: "α", 2: "β", 5: "γ"}  # by the square of the length of a motion vector


def photograph() -> Tensor:
    """Return the cat of scikit-image (CC0), uint8 ``[3, 224, 224]``."""
    return torch.from_numpy(data.chelsea()[40:264, 120:344].copy()).permute(2, 0, 1)


def draw_steps() -> Figure:
    """Draw the steps from an image to the events of one timestep."""
    image = photograph()
    value = image.float().amax(0) / 255
    top, left, bottom, right = canonical_shifts()[0].tolist()
    difference = value.roll((-bottom, -right), (0, 1)) - value.roll((-top, -left), (0, 1))
    events = convert(image, RATIO, timesteps=1, dtype=torch.bool)[0]
    figure, axes = pyplot.subplots(1, 4, figsize=(10, 3), layout="constrained")
    limit = 3 * RATIO * float(value.amax() - value.amin())
    looks: tuple[dict[str, Any], ...] = ({}, {"cmap": "gray"}, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}, {})
    for each, title, picture, look in zip(
        axes,
        ("image", "1. value: max of R, G, B", "2. difference of two shifts", f"3. threshold: {RATIO:.0%} of the range"),
        (image.permute(1, 2, 0), value, difference[1:-1, 1:-1], draw_events(events)),
        looks,
    ):
        _show(each, np.asarray(picture), title, **look)
    return figure


def draw_timesteps() -> Figure:
    """Draw the motion vectors of the eight timesteps, and the events of each."""
    candidates = candidate_shifts(DEFAULT_ORDER, 8)  # [12, 8, 4], the canonical ones first
    events = convert(photograph(), RATIO, dtype=torch.bool)
    figure, axes = pyplot.subplots(2, 8, figsize=(10, 2.9), layout="constrained")
    for t, (above, below) in enumerate(axes.T):
        y0, x0, y1, x1 = candidates[0, t].tolist()
        group = "abcdefgh"[ORDERS[DEFAULT_ORDER][t]]
        length = _LENGTHS[(y1 - y0) ** 2 + (x1 - x0) ** 2]
        above.set_title(f"t = {t}\n{group}, {length}", fontsize=10, color=DARK)
        _draw_vectors(above, candidates[:, t].tolist())
        _show(below, np.asarray(draw_events(events[t])))
    return figure


def draw_threshold() -> Figure:
    """Draw the event rate against the ratio, and the events of one timestep at three ratios."""
    image = photograph()
    chosen = (0.04, RATIO, 0.3)
    ratios = [*np.linspace(0.005, 0.4, 60)]
    rates = [float(event_rate(convert(image, ratio))) for ratio in ratios]
    figure, (curve, *axes) = pyplot.subplots(
        1, 4, figsize=(10, 2.9), layout="constrained", width_ratios=(1.35, 1, 1, 1)
    )
    curve.plot(ratios, rates, color=DARK)
    curve.set(xlabel="ratio", ylabel="event rate", xlim=(0, 0.4), ylim=(0, None))
    curve.yaxis.set_major_formatter("{x:.0%}")
    curve.spines[["top", "right"]].set_visible(False)
    for each, ratio in zip(axes, chosen):
        events = convert(image, ratio, dtype=torch.bool)
        rate = float(event_rate(events))
        curve.plot(ratio, rate, "o", color=_color(ON))
        _show(each, np.asarray(draw_events(events[0])), f"ratio {ratio:g}: {rate:.1%}")
    return figure


def _show(axes: Axes, picture: np.ndarray, title: str = "", **options: Any) -> None:
    axes.imshow(picture, **options)
    axes.set_title(title, fontsize=10, color=DARK)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(LIGHT)


def _draw_vectors(axes: Axes, vectors: list[list[int]]) -> None:
    """Draw motion vectors as arrows on the 3x3 neighbourhood: the first one dark, its equivalents light."""
    for vector in dict.fromkeys(map(tuple, reversed(vectors))):
        y0, x0, y1, x1 = vector
        first = list(vector) == vectors[0]
        style = {"arrowstyle": "-|>", "color": _color(OFF) if first else LIGHT, "lw": 2.2 if first else 1.2}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
    axes.plot(*np.mgrid[-1:2, -1:2].reshape(2, -1), "o", color=DARK, markersize=2.5)
    axes.set(xlim=(-1.5, 1.5), ylim=(1.5, -1.5), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _color(color: tuple[int, int, int]) -> str:
    return "#" + bytes(color).hex()


def main(folder: Path) -> None:
    """Write the pictures to a folder."""
    image = read_picture(Path(skimage.__file__).with_name("data") / "astronaut.png", (320, 320))  # NASA, public domain
    visualize.save_gif(folder / "events.gif", convert(image, RATIO), beside=image, fps=8)
    for name, draw in (("steps", draw_steps), ("timesteps", draw_timesteps), ("threshold", draw_threshold)):
        buffer = io.BytesIO()
        draw().savefig(buffer, dpi=120, bbox_inches="tight", pad_inches=0.05)
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(__file__).parent)
