"""The fast CPU path: convert images by comparing shifted planes, without a convolution; and unpack events.

The events equal those of the reference bit for bit. ``cpu_arithmetic.py`` has the comparisons.

The work is divided into chunks that fit in the last-level cache: several small images, or some rows of a large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from i2e_triton.ops.cpu_arithmetic import Chunk, Floats, GreyLevels

# Pixels of a chunk, per thread. Smaller chunks need more calls, and write to each memory page of the output several
# times. Larger ones do not fit in the cache.
_CHUNK_PIXELS = 512 * 1024
# Width in pixels from which rows are compared one by one.
_WIDE = 64


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
    arithmetic = GreyLevels if images.dtype == torch.uint8 else Floats
    pixels = _CHUNK_PIXELS * torch.get_num_threads()
    planes = _Planes(microsaccades, min(height, max(1, pixels // width)))
    images_per_chunk = pixels // (height * width) if planes.shared or len(microsaccades) == 1 else 1
    for first, last in _ranges(batch, images_per_chunk):
        chunk = arithmetic(_part(images, 0, first, last), _part(ratio, 0, first, last))
        events = _part(out, 0 if packed else 1, first, last)
        vectors = microsaccades[first:last] if len(microsaccades) > 1 else microsaccades
        for top, bottom in _ranges(height, pixels // width):
            _write(_part(events, -2, top, bottom), chunk, planes.neighbours(chunk, vectors, top, bottom), packed)


def _part(tensor: Tensor, dim: int, first: int, last: int) -> Tensor:
    """Return a part of a tensor, without the 3 us of a view if it is the whole."""
    return tensor if last - first == tensor.shape[dim] else tensor.narrow(dim, first, last - first)


def clamped(vectors: list[list[int]], dy: int, dx: int) -> list[list[int]]:
    """Return motion vectors clamped to the size of the image: a longer one reaches the same border."""
    if all(-dy <= y0 <= dy and -dx <= x0 <= dx and -dy <= y1 <= dy and -dx <= x1 <= dx for y0, x0, y1, x1 in vectors):
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
        self._reach = max([abs(dy) for vector in vectors for dy in vector[::2]])
        self._columns = sorted({0, *[dx for vector in vectors for dx in vector[1::2]]})
        self._by_size: dict[tuple[int, int], _SharedPlanes] = {}  # by number of images and rows
        self.shared = len(self._columns) <= 3 and self._reach <= rows // 4 + 1

    def neighbours(self, chunk: Chunk, vectors: list[list[list[int]]], top: int, bottom: int) -> _Neighbours:
        """Return the neighbours of the rows from ``top`` to ``bottom``, which the next call overwrites."""
        if not self.shared:
            return _planes_on_demand(chunk, vectors[0], top, bottom)
        images, rows = chunk.value.shape[0], bottom - top
        if (images, rows) not in self._by_size:
            self._by_size[images, rows] = _SharedPlanes(chunk, self._reach, self._columns, rows)
        return self._by_size[images, rows].neighbours(chunk, vectors, top)


class _SharedPlanes:
    """The neighbours at short motion vectors such as the paper's, as views into a plane with a border.

    PyTorch compares contiguous planes at once, and others row by row. This costs 4 ns per row on one EPYC core, which
    is too much for narrow images. They have one plane per ``dx`` instead, with a border above and below only, of which
    a neighbour is a contiguous slice. The next chunk reuses the planes.
    """

    def __init__(self, chunk: Chunk, reach: int, columns: list[int], rows: int):
        self._reach = reach
        self._rows = rows
        images, _, width = chunk.value.shape
        side = max(abs(dx) for dx in columns)
        shape = (images, rows + 2 * reach, width + 2 * side)
        stacks = chunk.value.new_empty(chunk.planes, *shape).unbind(0)
        self._inner = stacks[0].narrow(2, side, width)
        self._borders = (
            (stacks[0].narrow(2, 0, side), self._inner.narrow(2, 0, 1)),
            (stacks[0].narrow(2, side + width, side), self._inner.narrow(2, width - 1, 1)),
        )
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._planes = {dx: [stack.narrow(2, side + dx, width) for stack in stacks] for dx in columns}
        if width < _WIDE:
            levels = [self._planes[dx][0] for dx in columns]
            stacks = chunk.value.new_empty(chunk.planes, len(columns), *self._inner.shape).unbind(0)
            self._planes = dict(zip(columns, map(list, zip(*(stack.unbind(0) for stack in stacks)))))
            self._copies = [(self._planes[dx][0], part) for dx, part in zip(columns, levels)]
        self._stacks = stacks
        self._whole: dict[tuple[int, int], Sequence[Tensor]] = {}
        self._by_image: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}

    def neighbours(self, chunk: Chunk, vectors: list[list[list[int]]], top: int) -> _Neighbours:
        """Fill the planes for a chunk's rows from ``top`` on; return views that the next call overwrites.

        ``vectors`` are the motion vectors of all images together, or of each image.
        """
        _take_rows(chunk.value, top - self._reach, top + self._rows + self._reach, self._inner)
        for border, column in self._borders:
            border.copy_(column)
        for plane, part in self._copies:
            plane.copy_(part)
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


def _planes_on_demand(chunk: Chunk, vectors: list[list[int]], top: int, bottom: int) -> _Neighbours:
    """Yield neighbours in new planes, because shared planes for many different vectors would need too much memory."""
    shape = (chunk.value.shape[0], bottom - top, chunk.value.shape[2])

    def at(dy: int, dx: int) -> Sequence[Tensor]:
        rows = chunk.value.new_empty(shape)
        _take_rows(chunk.value, top + dy, bottom + dy, rows)
        planes = chunk.value.new_empty(chunk.planes, *shape).unbind(0)
        _shift_columns(rows, dx, planes[0])
        chunk.complete(*planes)
        return planes

    for dy0, dx0, dy1, dx1 in vectors:
        yield [(_ALL, at(dy0, dx0), at(dy1, dx1))]


def _write(events: Tensor, chunk: Chunk, neighbours: _Neighbours, packed: bool) -> None:
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
    chunk: Chunk, parts: Sequence[tuple[slice, Sequence[Tensor], Sequence[Tensor]]], on: Tensor, off: Tensor
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


def _writes_directly(arithmetic: torch.dtype, events: torch.dtype) -> bool:
    """Return whether PyTorch vectorises a comparison of one dtype whose output has the other."""
    return arithmetic == events or (arithmetic == torch.uint8 and events == torch.bool)


def _bytes(events: Tensor) -> Tensor:
    return events if events.dtype == torch.uint8 else events.bool().view(torch.uint8)


def _ranges(stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide ``range(stop)`` into ranges of ``size`` (at least 1); the last one may be shorter."""
    size = max(size, 1)
    for first in range(0, stop, size):
        yield first, min(first + size, stop)
