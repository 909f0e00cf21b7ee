"""The fast CPU path: convert images by comparing shifted planes, without a convolution; and unpack events.

The events equal those of the reference bit for bit. For floating-point images, differences are compared with theta,
as in the paper. For uint8 images, bytes are compared: a pair of grey levels (p, q) fires if q is greater than the limit
of p, the highest level that does not fire. The limit is p + step - 1, where ``step`` is the smallest distance of levels
that fires. If theta is so close to a whole number of levels that float32 rounding decides (a tie), a table holds the
limit of each level.

The work is divided into chunks that fit in the last-level cache: several small images, or some rows of a large one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Pixels of a chunk, per thread. Smaller chunks need more calls, and write to each memory page of the output several
# times. Larger ones do not fit in the cache.
_CHUNK_PIXELS = 512 * 1024


class _GreyLevels:
    """Arithmetic on a chunk of uint8 images ``[N, C, H, W]``.

    A neighbour, the image shifted by one end of a motion vector, has two planes: levels and limits.
    """

    dtype = torch.uint8
    planes = 2

    def __init__(self, images: Tensor, ratio: Tensor):
        self.value = channel_max(images)
        low, high = _range(self.value)
        theta = (_scaled(high) - _scaled(low)) * ratio
        smallest, largest = _differences()
        # The largest distance in levels at which no pair fires. At the next one, some pairs fire: all, except in a tie.
        silent = torch.searchsorted(largest, theta)
        tied = (smallest.take(silent) < theta).tolist()
        self._ties = [(i, _tie_break_table(int(silent[i]) + 1, theta[i])) for i, tie in enumerate(tied) if tie]
        self._silent_distance = silent.to(torch.uint8)[:, None, None]
        self._highest_level = ~self._silent_distance  # 255 - silent

    def complete(self, levels: Tensor, limits: Tensor) -> None:
        """Write the limits of the levels ``[S, N, rows, W]`` of S planes."""
        # The limit is min(level + step - 1, 255), computed without overflow.
        torch.minimum(levels, self._highest_level, out=limits).add_(self._silent_distance)
        for i, table in self._ties:
            limits[:, i] = table[levels[:, i].int()]

    def compare(self, start: Sequence[Tensor], end: Sequence[Tensor], on: Tensor, off: Tensor, part: slice) -> None:
        """Write the events between two neighbours of some images; each is a pair of levels and limits."""
        torch.gt(end[0], start[1], out=on)
        torch.gt(start[0], end[1], out=off)


class _Floats:
    """Arithmetic on a chunk of floating-point images ``[N, C, H, W]``. A neighbour has one plane of values."""

    planes = 1

    def __init__(self, images: Tensor, ratio: Tensor):
        self.value = channel_max(images).to(ratio.dtype)
        self.dtype = ratio.dtype
        low, high = _range(self.value)
        theta = (high - low) * ratio
        # D fires if D >= theta and D > 0. This equals D > bound, where bound is the next float below theta, or 0.
        bound = torch.nextafter(theta, torch.zeros_like(theta))
        # A NaN or infinity is the minimum or the maximum of its image. The bound of such an image is NaN: comparisons
        # with NaN are false, so there are no events.
        lowest = low if images.shape[1] == 1 else images.amin(dim=(1, 2, 3))
        finite = lowest.isfinite() & high.isfinite()
        self._above = torch.where(finite, bound, math.nan)[:, None, None]
        self._below = -self._above

    def complete(self, values: Tensor) -> None:
        """Do nothing: the comparison needs only the values ``[S, N, rows, W]``."""

    def compare(self, start: Sequence[Tensor], end: Sequence[Tensor], on: Tensor, off: Tensor, part: slice) -> None:
        """Write the events between two neighbours of some images; each is one plane of values."""
        torch.sub(end[0], start[0], out=on)  # `on` holds the difference first, so that no extra buffer takes up cache
        torch.lt(on, self._below[part], out=off)
        torch.gt(on, self._above[part], out=on)


_Chunk = _GreyLevels | _Floats


@torch.inference_mode()
def convert_into(out: Tensor, images: Tensor, shifts: Tensor, ratio: Tensor, *, packed: bool) -> None:
    """Write the events of images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]`` uint8.
        images: ``[B, C, H, W]``.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``.
        ratio: ``[B]``, float64 for float64 images, otherwise float32.
        packed: whether ``out`` is packed.
    """
    if packed:
        out.zero_()
    elif out.dtype == torch.uint8:
        out = out.view(torch.bool)
    if out.numel() == 0:
        return
    batch, _, height, width = images.shape
    microsaccades = shifts.tolist() if shifts.dim() == 3 else [shifts.tolist()]  # one for all images, or one each
    microsaccades = [clamped(vectors, height - 1, width - 1) for vectors in microsaccades]
    arithmetic = _GreyLevels if images.dtype == torch.uint8 else _Floats
    pixels = _CHUNK_PIXELS * torch.get_num_threads()
    planes = _Planes(microsaccades, min(height, max(1, pixels // width)))
    images_per_chunk = pixels // (height * width) if planes.shared or len(microsaccades) == 1 else 1
    for first, last in _ranges(batch, images_per_chunk):
        chunk = arithmetic(images[first:last], ratio[first:last])
        events = out[first:last] if packed else out[:, first:last]
        vectors = microsaccades[first:last] if len(microsaccades) > 1 else microsaccades
        for top, bottom in _ranges(height, pixels // width):
            _write(events[..., top:bottom, :], chunk, planes.neighbours(chunk, vectors, top, bottom), packed)


def clamped(vectors: list[list[int]], dy: int, dx: int) -> list[list[int]]:
    """Return motion vectors clamped to the size of the image: a longer one reaches the same border."""
    if all(-dy <= y <= dy and -dx <= x <= dx for y0, x0, y1, x1 in vectors for y, x in ((y0, x0), (y1, x1))):
        return vectors
    limits = (dy, dx, dy, dx)
    return [[min(max(shift, -limit), limit) for shift, limit in zip(vector, limits)] for vector in vectors]


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]``.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8.
    """
    half = out.dtype == torch.float16
    for t, timestep in enumerate(out.view(torch.uint8) if out.dtype == torch.bool else out):
        bits = packed.bitwise_right_shift(t).bitwise_and_(1)
        timestep.copy_(bits.float() if half else bits)  # uint8 to float16 is not vectorised


# For each timestep: the images that share a motion vector, and their neighbours at its start and end.
_Neighbours = Iterable[Sequence[tuple[slice, Sequence[Tensor], Sequence[Tensor]]]]
_ALL = slice(None)


class _Planes:
    """The neighbours of the chunks of a batch. Planes are shared by the motion vectors if these are short.

    Args:
        microsaccades: motion vectors of all images together, or of each image: ``[1 or B][T]``.
        rows: number of rows of a chunk.
    """

    def __init__(self, microsaccades: list[list[list[int]]], rows: int):
        vectors = [vector for image in microsaccades for vector in image]
        self._reach = max(abs(dy) for vector in vectors for dy in vector[::2])
        self._columns = {0, *(dx for vector in vectors for dx in vector[1::2])}
        self._by_size: dict[tuple[int, int], _SharedPlanes] = {}  # by number of images and rows
        self.shared = len(self._columns) <= 3 and self._reach <= rows // 4 + 1

    def neighbours(self, chunk: _Chunk, vectors: list[list[list[int]]], top: int, bottom: int) -> _Neighbours:
        """Return the neighbours of the rows from ``top`` to ``bottom``, which the next call overwrites."""
        if not self.shared:
            return _planes_on_demand(chunk, vectors[0], top, bottom)
        images, rows = chunk.value.shape[0], bottom - top
        if (images, rows) not in self._by_size:
            self._by_size[images, rows] = _SharedPlanes(chunk, self._reach, self._columns, images, rows)
        return self._by_size[images, rows].neighbours(chunk, vectors, top)


class _SharedPlanes:
    """The neighbours at short motion vectors such as the paper's, as views into one plane per ``dx``.

    A plane has the rows of a chunk and a few more above and below, so that a neighbour at any ``dy`` is a contiguous
    slice. The next chunk reuses the planes.
    """

    def __init__(self, chunk: _Chunk, reach: int, columns: Iterable[int], images: int, rows: int):
        self._reach = reach
        self._rows = rows
        columns = sorted(columns)
        shape = (chunk.planes, len(columns), images, rows + 2 * reach, chunk.value.shape[2])
        self._stacks = chunk.value.new_empty(shape).unbind(0)
        self._planes = dict(zip(columns, zip(*(stack.unbind(0) for stack in self._stacks))))
        self._whole: dict[tuple[int, int], Sequence[Tensor]] = {}
        self._by_image: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}

    def neighbours(self, chunk: _Chunk, vectors: list[list[list[int]]], top: int) -> _Neighbours:
        """Fill the planes for a chunk's rows from ``top`` on; return views that the next call overwrites.

        ``vectors`` are the motion vectors of all images together, or of each image.
        """
        middle = self._planes[0]
        _take_rows(chunk.value, top - self._reach, top + self._rows + self._reach, middle[0])
        for dx, planes in self._planes.items():
            _shift_columns(middle[0], dx, planes[0])
        chunk.complete(*self._stacks)
        if len(vectors) == 1:
            return [[(_ALL, self._at(dy0, dx0), self._at(dy1, dx1))] for dy0, dx0, dy1, dx1 in vectors[0]]
        return self._neighbours_by_image(vectors)

    def _neighbours_by_image(self, vectors: list[list[list[int]]]) -> _Neighbours:
        for timestep in zip(*vectors):
            yield [
                (slice(i, i + 1), self._at_of_images(dy0, dx0)[i], self._at_of_images(dy1, dx1)[i])
                for i, (dy0, dx0, dy1, dx1) in enumerate(timestep)
            ]

    def _at(self, dy: int, dx: int) -> Sequence[Tensor]:
        if (dy, dx) not in self._whole:
            self._whole[dy, dx] = [plane.narrow(1, self._reach + dy, self._rows) for plane in self._planes[dx]]
        return self._whole[dy, dx]

    def _at_of_images(self, dy: int, dx: int) -> list[tuple[Tensor, ...]]:
        if (dy, dx) not in self._by_image:
            self._by_image[dy, dx] = list(zip(*(plane.split(1) for plane in self._at(dy, dx))))
        return self._by_image[dy, dx]


def _planes_on_demand(chunk: _Chunk, vectors: list[list[int]], top: int, bottom: int) -> _Neighbours:
    """Yield neighbours in new planes, because shared planes for many different vectors would need too much memory."""
    shape = (chunk.value.shape[0], bottom - top, chunk.value.shape[2])

    def at(dy: int, dx: int) -> Sequence[Tensor]:
        rows = chunk.value.new_empty(shape)
        _take_rows(chunk.value, top + dy, bottom + dy, rows)
        stacks = chunk.value.new_empty(chunk.planes, 1, *shape).unbind(0)
        _shift_columns(rows, dx, stacks[0][0])
        chunk.complete(*stacks)
        return [stack[0] for stack in stacks]

    for dy0, dx0, dy1, dx1 in vectors:
        yield [(_ALL, at(dy0, dx0), at(dy1, dx1))]


def _write(events: Tensor, chunk: _Chunk, neighbours: _Neighbours, packed: bool) -> None:
    """Write the events between neighbours."""
    if not packed and _writes_directly(chunk.dtype, events.dtype):
        for (on, off), parts in zip(_event_planes(events), neighbours):
            _compare(chunk, parts, on, off)
        return
    scratch = events.new_empty((2, *events.shape[-4:-3], *events.shape[-2:]), dtype=chunk.dtype)
    # PyTorch does not vectorise uint8 to float16; it does vectorise uint8 to float32 and float32 to float16.
    half_from_bytes = events.dtype == torch.float16 and chunk.dtype == torch.uint8
    for t, parts in enumerate(neighbours):
        _compare(chunk, parts, *scratch.unbind(0))
        if packed:
            events.add_(_bytes(scratch).transpose(0, 1), alpha=1 << t)
        else:
            events[t].copy_((scratch.float() if half_from_bytes else scratch).transpose(0, 1))


def _compare(
    chunk: _Chunk, parts: Sequence[tuple[slice, Sequence[Tensor], Sequence[Tensor]]], on: Tensor, off: Tensor
) -> None:
    """Write the events ``[N, rows, W]`` of one timestep."""
    if len(parts) == 1:
        ((part, start, end),) = parts
        chunk.compare(start, end, on, off, part)
        return
    for (part, start, end), on_of_image, off_of_image in zip(parts, on.split(1), off.split(1)):
        chunk.compare(start, end, on_of_image, off_of_image, part)


def _event_planes(events: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Return the ON and the OFF events ``[N, rows, W]`` of each timestep, as views."""
    if events.stride(0) == 2 * events.stride(2):  # one image: all views in one call
        planes = events.transpose(1, 2).flatten(0, 1).unbind(0)
        return zip(planes[::2], planes[1::2])
    return (timestep.unbind(1) for timestep in events.unbind(0))


def _take_rows(value: Tensor, first: int, last: int, out: Tensor) -> None:
    """Copy rows of ``[N, H, W]``, replicating the border."""
    torch.index_select(value, 1, torch.arange(first, last).clamp_(0, value.shape[1] - 1), out=out)


def _shift_columns(value: Tensor, dx: int, out: Tensor) -> None:
    """Copy contiguous ``[N, rows, W]`` to ``out``, shifted by ``dx`` columns, with a replicated border."""
    # One copy moves all rows. It also moves pixels of other rows into the border, which is then overwritten.
    if dx > 0:
        out.view(-1)[:-dx] = value.view(-1)[dx:]
        out[..., -dx:] = value[..., -1:]
    elif dx < 0:
        out.view(-1)[-dx:] = value.view(-1)[:dx]
        out[..., :-dx] = value[..., :1]
    elif out is not value:
        out.copy_(value)


def channel_max(images: Tensor) -> Tensor:
    """Return the HSV value channel of ``[N, C, H, W]``. One pass per channel is faster than a reduction."""
    value = images[:, 0]
    if images.shape[1] > 1:
        value = torch.maximum(value, images[:, 1])
    for channel in range(2, images.shape[1]):
        torch.maximum(value, images[:, channel], out=value)
    return value


def _range(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest value per image. ``aminmax`` over dimensions is ten times slower than this."""
    return value.amin(dim=(1, 2)), value.amax(dim=(1, 2))


def _writes_directly(arithmetic: torch.dtype, events: torch.dtype) -> bool:
    """Return whether PyTorch vectorises a comparison of one dtype whose output has the other."""
    return arithmetic == events or (arithmetic == torch.uint8 and events == torch.bool)


def _bytes(events: Tensor) -> Tensor:
    return events if events.dtype == torch.uint8 else events.bool().view(torch.uint8)


def _scaled(levels: Tensor) -> Tensor:
    return levels.to(torch.float32) * (1 / 255)


@lru_cache(maxsize=1)
def _differences() -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest difference of levels at each distance, from 1 to 256 levels.

    No levels have a distance of 256: the differences are infinite.
    """
    levels = _scaled(torch.arange(256, dtype=torch.uint8))
    differences = [levels[step:] - levels[:-step] for step in range(1, 256)]
    infinite = torch.tensor(math.inf)
    return torch.stack([*(d.min() for d in differences), infinite]), torch.stack(
        [*(d.max() for d in differences), infinite]
    )


def _tie_break_table(step: int, theta: Tensor) -> Tensor:
    """Return the limit of each level of one image, uint8 ``[256]``; some pairs at the distance ``step`` fire."""
    level = torch.arange(256)
    fires = _scaled((level + step).clamp(max=255)) - _scaled(level) >= theta
    return (level + step - fires.long()).clamp_(max=255).to(torch.uint8)


def _ranges(stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide ``range(stop)`` into ranges of ``size`` (at least 1); the last one may be shorter."""
    size = max(size, 1)
    for first in range(0, stop, size):
        yield first, min(first + size, stop)
