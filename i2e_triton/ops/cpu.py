"""The fast CPU path: convert images by comparing shifted planes, without a convolution; and unpack events.

The events equal those of the reference bit for bit. ``cpu_arithmetic.py`` has the comparisons.

The work is divided into chunks that fit in the last-level cache: several small images, or some rows of a large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from i2e_triton.ops.cpu_arithmetic import Chunk, Floats, GreyLevels

# Pixels of a chunk, per thread. Smaller chunks need more calls, and write to each memory page of the output several
# times. Larger ones do not fit in the cache.
_CHUNK_PIXELS = 512 * 1024
# Width in pixels from which rows are compared one by one.
_WIDE = 64
# Largest shift in pixels for which all neighbours are made at once.
_SHORT = 2


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
    reach = max(abs(shift) for vectors in microsaccades for vector in vectors for shift in vector)
    # One image at a time if the neighbours are made for each motion vector and the images have different ones.
    images_per_chunk = pixels // (height * width) if reach <= _SHORT or len(microsaccades) == 1 else 1
    for first, last in _ranges(batch, images_per_chunk):
        chunk = arithmetic(_part(images, 0, first, last), _part(ratio, 0, first, last))
        events = _part(out, 0 if packed else 1, first, last)
        vectors = microsaccades[first:last] if len(microsaccades) > 1 else microsaccades
        for top, bottom in _ranges(height, pixels // width):
            neighbours = (_ShortNeighbours if reach <= _SHORT else _Neighbours)(chunk, top, bottom, reach)
            _write(_part(events, -2, top, bottom), chunk, neighbours, vectors, packed)


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


class _Neighbours:
    """The neighbours of some rows of a chunk: their planes, moved by one end of a motion vector."""

    def __init__(self, chunk: Chunk, top: int, bottom: int, reach: int):
        self._chunk, self._top, self._bottom = chunk, top, bottom

    def at(self, dy: int, dx: int) -> Sequence[Tensor]:
        """Return the planes of all images, each ``[N, rows, W]``."""
        value = self._chunk.value
        return self._chunk.planes(_window(value, self._top + dy, self._bottom + dy, dx, value.shape[2] + dx))

    def of_image(self, image: int, dy: int, dx: int) -> Sequence[Tensor]:
        """Return the planes of one image, each ``[1, rows, W]``."""
        return self.at(dy, dx)  # the chunk has one image


class _ShortNeighbours(_Neighbours):
    """The neighbours at short motion vectors such as the paper's: views into planes with a border.

    PyTorch compares contiguous planes at once, and others row by row. This costs 4 ns per row on one EPYC core, which
    is too much for narrow images. They have one plane per ``dx`` instead, with a border above and below only, of which
    a neighbour is a contiguous slice.
    """

    def __init__(self, chunk: Chunk, top: int, bottom: int, reach: int):
        self._reach = reach
        width = chunk.value.shape[2]
        padded = chunk.planes(_window(chunk.value, top - reach, bottom + reach, -reach, width + reach))
        self._shape = (chunk.value.shape[0], bottom - top, width)
        # For each dx: contiguous planes, and the column in which a neighbour starts.
        self._planes: dict[int, tuple[Sequence[Tensor], int]] = {
            dx: (padded, reach + dx) for dx in range(-reach, reach + 1)
        }
        if width < _WIDE:
            for dx, (planes, column) in self._planes.items():
                self._planes[dx] = [plane.narrow(2, column, width).contiguous() for plane in planes], 0
        self._views: dict[tuple[int, int], Sequence[Tensor]] = {}
        self._views_of_images: dict[tuple[int, int], list[tuple[Tensor, ...]]] = {}

    def at(self, dy: int, dx: int) -> Sequence[Tensor]:
        """Return the planes of all images, each ``[N, rows, W]``."""
        if (dy, dx) not in self._views:
            planes, column = self._planes[dx]
            strides = planes[0].stride()
            first = (self._reach + dy) * strides[1] + column
            # as_strided takes half the time of two calls of narrow.
            self._views[dy, dx] = [plane.as_strided(self._shape, strides, first) for plane in planes]
        return self._views[dy, dx]

    def of_image(self, image: int, dy: int, dx: int) -> Sequence[Tensor]:
        """Return the planes of one image, each ``[1, rows, W]``."""
        if (dy, dx) not in self._views_of_images:
            self._views_of_images[dy, dx] = list(zip(*(plane.split(1) for plane in self.at(dy, dx))))
        return self._views_of_images[dy, dx][image]


def _window(value: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Return rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of ``[N, H, W]``; replicate the border."""
    borders = []
    for dim, start, stop in ((2, left, right), (1, top, bottom)):
        length = value.shape[dim]
        first, last = min(max(start, 0), length - 1), max(min(stop, length), 1)
        value = _part(value, dim, first, last)
        borders += [first - start, stop - last]  # one is negative if the window is outside the image; pad() removes it
    return pad(value[None], borders, mode="replicate")[0]


def _write(events: Tensor, chunk: Chunk, neighbours: _Neighbours, vectors: list[list[list[int]]], packed: bool) -> None:
    """Write the events of some rows. ``vectors`` are the motion vectors of all images together, or of each image."""
    timesteps = zip(*vectors)
    if not packed and _writes_directly(chunk.dtype, events.dtype):
        for (on, off), timestep in zip(_event_planes(events), timesteps):
            _compare(chunk, neighbours, timestep, on, off)
        return
    scratch = events.new_empty((2, *events.shape[-4:-3], *events.shape[-2:]), dtype=chunk.dtype)
    # PyTorch does not vectorise uint8 to float16; it does vectorise uint8 to float32 and float32 to float16.
    half_from_bytes = events.dtype == torch.float16 and chunk.dtype == torch.uint8
    for t, timestep in enumerate(timesteps):
        _compare(chunk, neighbours, timestep, *scratch.unbind(0))
        if packed:
            events.add_(_bytes(scratch).transpose(0, 1), alpha=1 << t)
        else:
            events[t].copy_((scratch.float() if half_from_bytes else scratch).transpose(0, 1))


def _compare(chunk: Chunk, neighbours: _Neighbours, vectors: Sequence[Sequence[int]], on: Tensor, off: Tensor) -> None:
    """Write the events ``[N, rows, W]`` of one timestep, at one motion vector for all images or one for each."""
    if len(vectors) == 1:
        dy0, dx0, dy1, dx1 = vectors[0]
        chunk.compare(neighbours.at(dy0, dx0), neighbours.at(dy1, dx1), on, off, slice(None))
        return
    for i, (vector, on_of_image, off_of_image) in enumerate(zip(vectors, on.split(1), off.split(1))):
        dy0, dx0, dy1, dx1 = vector
        start, end = neighbours.of_image(i, dy0, dx0), neighbours.of_image(i, dy1, dx1)
        chunk.compare(start, end, on_of_image, off_of_image, slice(i, i + 1))


def _event_planes(events: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Return the ON and the OFF events ``[N, rows, W]`` of each timestep, as views."""
    if events.stride(0) == 2 * events.stride(2):  # one image: all views in one call
        planes = events.transpose(1, 2).flatten(0, 1).unbind(0)
        return zip(planes[::2], planes[1::2])
    return (timestep.unbind(1) for timestep in events.unbind(0))


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
