"""The fast CPU path: comparisons of shifted planes, without a convolution; and unpacking.

Two kinds of arithmetic give the reference's bits. Floating-point images are compared as the paper writes it.
uint8 images are compared as grey levels, by bytes: whether a pixel fires depends on two of 256 levels and on theta,
so each level has a highest *silent* level that does not fire against it, and an event is ``V(q) > silent(V(p))``.
Where theta falls on a whole grey level, a table of silent levels holds what float32 makes of each pair.

Work goes in chunks that stay in the last-level cache: several small images, or a band of rows of a large one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Per thread. Fewer pixels pay more for calls and for pages of the output that are written in parts, more of them leave
# the cache.
_CHUNK_PIXELS = 512 * 1024


class _GreyLevels:
    """Arithmetic on uint8 images ``[N, C, H, W]`` of one chunk. A neighbour is two planes: levels and silent levels."""

    dtype = torch.uint8

    def __init__(self, images: Tensor, ratio: Tensor):
        self.value = channel_max(images)
        low, high = _range(self.value)
        levels, smallest, largest = _grey_level_steps()
        theta = (levels[high.long()] - levels[low.long()]) * ratio
        # The smallest step of levels that may fire. It fires from every level if its smallest rounding does.
        step = torch.searchsorted(largest, theta).clamp_(min=1)
        tied = (step < 256) & (smallest[step.clamp(max=255)] < theta)
        self._tied = [(i, _silent_levels(levels, step[i], theta[i])) for i in tied.nonzero().flatten().tolist()]
        self._less = (step - 1).to(torch.uint8)[:, None, None]
        self._cap = (256 - step).to(torch.uint8)[:, None, None]

    def planes(self, levels: Tensor) -> tuple[Tensor, ...]:
        """Pair levels ``[N, rows, W]`` with their silent levels."""
        silent = torch.minimum(levels, self._cap).add_(self._less)
        for i, table in self._tied:
            torch.index_select(table, 0, levels[i].flatten().int(), out=silent[i].view(-1))
        return levels, silent

    def compare(self, before: Sequence[Tensor], after: Sequence[Tensor], on: Tensor, off: Tensor) -> None:
        """Write the events between two neighbours, each a pair of :meth:`planes`."""
        torch.gt(after[0], before[1], out=on)
        torch.gt(before[0], after[1], out=off)


class _Floats:
    """Arithmetic on floating-point images ``[N, C, H, W]`` of one chunk. A neighbour is one plane of values."""

    def __init__(self, images: Tensor, ratio: Tensor):
        self.value = channel_max(images).to(ratio.dtype)
        self.dtype = ratio.dtype
        low, high = _range(self.value)
        theta = (high - low) * ratio
        # D >= theta and D > 0 is D > bound, where bound is the number before theta, or 0.
        bound = torch.nextafter(theta, torch.zeros_like(theta))
        # NaN and infinity show in the extremes of the image; no comparison with NaN holds.
        lowest = low if images.shape[1] == 1 else images.amin(dim=(1, 2, 3))
        finite = lowest.isfinite() & high.isfinite()
        self._above = torch.where(finite, bound, math.nan)[:, None, None]
        self._below = -self._above

    def planes(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the values ``[N, rows, W]``: the comparison needs nothing else."""
        return (values,)

    def compare(self, before: Sequence[Tensor], after: Sequence[Tensor], on: Tensor, off: Tensor) -> None:
        """Write the events between two neighbours, each of :meth:`planes`."""
        torch.sub(after[0], before[0], out=on)  # the difference, where the cache will want the events
        torch.lt(on, self._below, out=off)
        torch.gt(on, self._above, out=on)


_Chunk = _GreyLevels | _Floats


@torch.no_grad()
def convert_into(out: Tensor, images: Tensor, shifts: Tensor, ratio: Tensor, *, packed: bool) -> None:
    """Write the events of images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]`` uint8.
        images: ``[B, C, H, W]``.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``.
        ratio: ``[B]``, float64 for float64 images and else float32.
        packed: whether ``out`` is packed.
    """
    if packed:
        out.zero_()
    elif out.dtype == torch.uint8:
        out = out.view(torch.bool)
    if out.numel() == 0:
        return
    batch, _, height, width = images.shape
    # A vector longer than the image reaches its border and no further.
    limits = torch.tensor([height - 1, width - 1] * 2)
    microsaccades = shifts.long().clamp(-limits, limits).tolist()
    per_image = shifts.dim() == 3
    arithmetic = _GreyLevels if images.dtype == torch.uint8 else _Floats
    pixels = _CHUNK_PIXELS * torch.get_num_threads()
    for first, last in _ranges(batch, 1 if per_image else pixels // (height * width)):
        chunk = arithmetic(images[first:last], ratio[first:last])
        events = out[first:last] if packed else out[:, first:last]
        vectors = microsaccades[first] if per_image else microsaccades
        for top, bottom in _ranges(height, pixels // width):
            _convert_band(events, chunk, vectors, top, bottom, packed)


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]``.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8.
    """
    half = out.dtype == torch.float16
    for t, timestep in enumerate(out.view(torch.uint8) if out.dtype == torch.bool else out):
        bits = packed.bitwise_right_shift(t).bitwise_and_(1)
        timestep.copy_(bits.float() if half else bits)  # PyTorch converts bytes to halves one by one


def _convert_band(events: Tensor, chunk: _Chunk, vectors: list[list[int]], top: int, bottom: int, packed: bool) -> None:
    """Write rows ``top`` to ``bottom`` of the events of one chunk."""
    neighbour = _neighbours(chunk, vectors, top, bottom)
    events = events[..., top:bottom, :]
    scratch = chunk.value.new_empty(2, *chunk.value[:, top:bottom].shape)
    for t, (dy0, dx0, dy1, dx1) in enumerate(vectors):
        before, after = neighbour(dy0, dx0), neighbour(dy1, dx1)
        if packed:
            chunk.compare(before, after, *scratch)
            events.add_(_bytes(scratch).transpose(0, 1), alpha=1 << t)
        elif _writes_directly(chunk.dtype, events.dtype):
            chunk.compare(before, after, *events[t].unbind(1))
        else:
            chunk.compare(before, after, *scratch)
            # PyTorch converts bytes to halves one by one, but vectorises both steps of the way over float32.
            half_from_bytes = events.dtype == torch.float16 and chunk.dtype == torch.uint8
            events[t].copy_((scratch.float() if half_from_bytes else scratch).transpose(0, 1))


def _neighbours(
    chunk: _Chunk, vectors: list[list[int]], top: int, bottom: int
) -> Callable[[int, int], Sequence[Tensor]]:
    """Give the planes of the neighbours of rows ``top`` to ``bottom``, by their ``(dy, dx)``.

    The paper's vectors share the planes of three columns. Longer ones would fill the memory with theirs: each is made
    when it is asked for.
    """
    rows = bottom - top
    reach = max(abs(dy) for vector in vectors for dy in vector[::2])
    columns = {dx for vector in vectors for dx in vector[1::2]}

    def moved_rows(first: int, last: int) -> Tensor:
        return chunk.value.index_select(1, torch.arange(first, last).clamp_(0, chunk.value.shape[1] - 1))

    if len(columns) > 3 or reach > rows // 4 + 1:
        return lambda dy, dx: chunk.planes(_moved(moved_rows(top + dy, bottom + dy), dx))
    framed = moved_rows(top - reach, bottom + reach)
    planes = {dx: chunk.planes(_moved(framed, dx)) for dx in columns}
    return lambda dy, dx: [plane.narrow(1, reach + dy, rows) for plane in planes[dx]]


def _moved(value: Tensor, dx: int) -> Tensor:
    """Copy contiguous ``[N, rows, W]`` moved by ``dx``, replicating the border.

    With whole rows beside each other, a neighbour at any ``dy`` is one contiguous run of this copy.
    """
    if dx == 0:
        return value
    moved = torch.empty_like(value)
    # All of it in one run, and then the border, where that brought the ends of other rows.
    if dx > 0:
        moved.view(-1)[:-dx] = value.view(-1)[dx:]
        moved[..., -dx:] = value[..., -1:]
    else:
        moved.view(-1)[-dx:] = value.view(-1)[:dx]
        moved[..., :-dx] = value[..., :1]
    return moved


def channel_max(images: Tensor) -> Tensor:
    """The HSV value channel of ``[N, C, H, W]``; one pass per channel is faster than a reduction."""
    value = images[:, 0]
    if images.shape[1] > 1:
        value = torch.maximum(value, images[:, 1])
    for channel in range(2, images.shape[1]):
        torch.maximum(value, images[:, channel], out=value)
    return value


def _range(value: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest value per image; ``aminmax`` over a dimension is ten times slower than these two."""
    return value.amin(dim=(1, 2)), value.amax(dim=(1, 2))


def _writes_directly(arithmetic: torch.dtype, events: torch.dtype) -> bool:
    """Whether PyTorch vectorises a comparison of one type that writes the other."""
    return arithmetic == events or (arithmetic == torch.uint8 and events == torch.bool)


def _bytes(events: Tensor) -> Tensor:
    return events if events.dtype == torch.uint8 else events.bool().view(torch.uint8)


@lru_cache(maxsize=1)
def _grey_level_steps() -> tuple[Tensor, Tensor, Tensor]:
    """The 256 levels in float32, and for each step of 0 to 255 levels its smallest and largest float32 difference."""
    levels = torch.arange(256, dtype=torch.uint8).to(torch.float32) * (1 / 255)
    differences = [levels[step:] - levels[: 256 - step] for step in range(256)]
    return levels, torch.stack([d.min() for d in differences]), torch.stack([d.max() for d in differences])


def _silent_levels(levels: Tensor, step: Tensor, theta: Tensor) -> Tensor:
    """For one image, the highest level that does not fire against each level: uint8 ``[256]``."""
    level = torch.arange(256)
    fires = levels[(level + step).clamp(max=255)] - levels >= theta
    return (level + step - fires.long()).clamp_(max=255).to(torch.uint8)


def _ranges(stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut ``0..stop`` into runs of ``size`` (at least 1), the last one shorter."""
    size = max(size, 1)
    for first in range(0, stop, size):
        yield first, min(first + size, stop)
