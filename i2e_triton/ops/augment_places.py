"""Where the rows and columns of augmented images lie in their images, by the arithmetic of the specification."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the rows, or the columns, of results lie in their images: ``[B, size]`` each."""

    before: Tensor
    after: Tensor
    way: Tensor

    def of(self, part: slice) -> Places:
        """Those of some images."""
        return Places(self.before[part], self.after[part], self.way[part])


@dataclass(frozen=True)
class Phases:
    """The rows of results that are a whole number of times as many as those of their boxes, all of one height.

    Every ``len(ways)``-th row of a result lies alike between a row of its box, or the one above, and the next one.
    """

    framed: Tensor  #: where the rows of the boxes lie in the images, with one more at either end: ``[B, L + 2]``
    above: tuple[bool, ...]
    ways: tuple[float, ...]

    def of(self, part: slice) -> Phases:
        """Those of some images."""
        return Phases(self.framed[part], self.above, self.ways)


Rows = Places | Phases


def places(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], dtype: torch.dtype, nearest: bool
) -> tuple[Rows, Places]:
    """Find where rows and columns of results of a size lie in images ``[B, C, H, W]``, ``B`` not 0.

    Args:
        images: the images, of which only the shape matters.
        crop: boxes ``[B, 4]`` of (top, left, height, width), or None for all of each image.
        flip: bool ``[B]``, or None.
        size: height and width of the results.
        dtype: the type that places are rounded to.
        nearest: whether the nearest pixels are taken.
    """
    batch, _, height, width = images.shape
    boxes = torch.tensor([[0, 0, height, width]]).expand(batch, 4) if crop is None else crop.long()
    top, left, box_height, box_width = boxes[..., None].unbind(1)
    y, x = torch.arange(size[0])[None], torch.arange(size[1])[None]
    if flip is not None:
        x = torch.where(flip[:, None], size[1] - 1 - x, x)
    phases = None if nearest else _phases(y[0], top, box_height, height, dtype)
    return (
        phases or _places_of(y, top, box_height, height, dtype, nearest),
        _places_of(x, left, box_width, width, dtype, nearest),
    )


def _phases(index: Tensor, top: Tensor, box_height: Tensor, limit: int, dtype: torch.dtype) -> Phases | None:
    """Find the phases of rows; None where they have none, be it by a rounding."""
    length = int(box_height[0])
    factor = len(index) // length
    if length == 1 or factor * length != len(index) or bool((box_height != length).any()):
        return None
    before, way = (rows.unflatten(0, (length, factor)) for rows in _before(index, box_height[0], dtype, 0.5))
    line = torch.arange(length)[:, None] + before[1] - 1
    # Above the first row is that row again: no way leads anywhere.
    if not bool(((before == line.clamp(min=0)) & ((way == way[1]) | (line < 0))).all()):
        return None
    framed = top + torch.arange(-1, length + 1).clamp_(0, length - 1)
    return Phases(framed.clamp_(0, limit - 1), tuple((before[1] == 0).tolist()), tuple(way[1].tolist()))


def _places_of(index: Tensor, start: Tensor, length: Tensor, limit: int, dtype: torch.dtype, nearest: bool) -> Places:
    before, way = _before(index, length, dtype, 0.0 if nearest else 0.5)
    after = torch.minimum(before + 1, length - 1)
    return Places((start + before).clamp_(0, limit - 1), (start + after).clamp_(0, limit - 1), way)


def _before(index: Tensor, length: Tensor, dtype: torch.dtype, centre: float) -> tuple[Tensor, Tensor]:
    """The line of a box before each place, and the part of the way to the next one."""
    scale = (length * torch.tensor(1 / index.shape[-1], dtype=torch.float64)).to(dtype).double()
    place = ((index + torch.tensor(centre, dtype=torch.float64)) * scale - centre).to(dtype).clamp_(min=0)
    before = torch.minimum(place.long(), length - 1)
    return before, place - before
