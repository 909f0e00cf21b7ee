"""Arguments of conversions for property tests: images of every dtype, layout and content, and shifts and ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import ORDERS, canonical_shifts, random_shifts, reference
from tests.samples import extremes, noise, poison_for

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
EVENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)
LAYOUTS = ("contiguous", "channels_last", "sliced", "expanded", "transposed", "offset")
CONTENTS = ("noise", "extremes", "flat", "nan", "inf", "-inf")


@dataclass
class Case:
    """Arguments of one conversion: images ``[B, C, H, W]``, shifts, and one ratio or one per image, ``[B]``."""

    images: Tensor
    shifts: Tensor
    ratio: float | Tensor

    @property
    def packable(self) -> bool:
        """Return whether there are at most 8 timesteps, so that the events can be packed."""
        return self.shifts.shape[-2] <= 8

    def expected(self, dtype: torch.dtype = torch.bool, *, packed: bool = False) -> Tensor:
        """Return the events by the reference implementation, dense or packed."""
        events = reference.convert(self.images, self.ratio, self.shifts)
        return pack(events) if packed else events.to(dtype)


def on_device(value: Any, device: str) -> Any:
    """Return a tensor on a device, with the same strides and alignment, and anything else unchanged."""
    if not isinstance(value, Tensor):
        return value
    memory = value.new_empty(0).set_(value.untyped_storage())
    return memory.to(device).as_strided(value.shape, value.stride(), value.storage_offset())


def pack(events: Tensor) -> Tensor:
    """Return dense events ``[T, B, 2, H, W]`` as bytes ``[B, 2, H, W]``, timestep ``t`` in bit ``t``."""
    packed = torch.zeros(events.shape[1:], dtype=torch.uint8)
    for t, timestep in enumerate(events):
        packed |= timestep.to(torch.uint8) << t
    return packed


def unpacked(packed: Tensor, timesteps: int, dtype: torch.dtype) -> Tensor:
    """Return packed events as contiguous dense events; the inverse of :func:`pack`."""
    return torch.stack([(packed >> t) & 1 for t in range(timesteps)]).contiguous().to(dtype)


def launched_shifts(shifts: Tensor, constant: bool) -> Tensor | tuple[tuple[int, ...], ...]:
    """Return the argument ``shifts`` of ``launch.convert_into``.

    If ``constant``, it is a tuple where this is possible, which is compiled into the kernel, and otherwise a tensor.
    """
    if constant and shifts.dim() == 2 and len(shifts) <= 8 and bool(((shifts >= -1) & (shifts <= 1)).all()):
        return tuple(map(tuple, shifts.tolist()))
    return shifts


def launched_ratio(ratio: float | Tensor) -> tuple[Tensor | None, float]:
    """Return the two arguments of ``launch.convert_into`` for a ratio: a tensor with one ratio per image, or a number.

    The tensor is None if the ratio is a number, and the number is not used if the ratio is a tensor.
    """
    return (ratio, 0.0) if isinstance(ratio, Tensor) else (None, ratio)


def poisoned(expected: Tensor, layout: str = "contiguous") -> Tensor:
    """Return a tensor that differs from ``expected`` in every element.

    The layout is ``"contiguous"``, or ``"strided"``, which has permuted strides and gaps between elements.
    """
    if layout == "contiguous":
        return poison_for(expected)
    larger = expected.new_empty(*expected.shape[:-1], 2 * expected.shape[-1]).transpose(0, 1).contiguous()
    return larger.transpose(0, 1)[..., ::2].copy_(poison_for(expected))


def arrange(images: Tensor, layout: str) -> Tensor:
    """Return images in one of :data:`LAYOUTS`; ``expanded`` repeats the first image and channel."""
    match layout:
        case "channels_last":
            return images.contiguous(memory_format=torch.channels_last)
        case "sliced":
            return images.repeat_interleave(2, 2).repeat_interleave(3, 3)[:, :, ::2, ::3]
        case "expanded":
            return images[:1, :1].expand_as(images)
        case "transposed":
            return images.transpose(2, 3).contiguous().transpose(2, 3)
        case "offset":
            return torch.cat([images.new_zeros(1), images.flatten()])[1:].view(images.shape)
    return images


def filled(shape: tuple[int, ...], dtype: torch.dtype, content: str, generator: torch.Generator) -> Tensor:
    """Return images with one of :data:`CONTENTS`, or with ``"few levels"``; uint8 images are always finite."""
    if content == "few levels":
        return noise((6,), dtype, generator)[torch.randint(6, shape, generator=generator)]
    if content == "flat":
        return noise((shape[0], 1, 1, 1), dtype, generator).expand(shape).contiguous()
    if dtype == torch.uint8 or content == "noise":
        return noise(shape, dtype, generator)
    if content == "extremes":
        return extremes(shape, dtype, generator)
    images = noise(shape, dtype, generator)
    pixel = tuple(int(torch.randint(size, (), generator=generator)) for size in shape)
    images[pixel] = float(content)
    return images


def pairs_at(distances: Tensor) -> Tensor:
    """Return an image ``[1, 3, 512]`` for each distance of grey levels: uint8 ``[N, 1, 3, 512]``.

    All pairs of levels that have this distance, or one less or more, are adjacent. Thresholds that round to the
    distance decide only about these pairs.
    """
    start = torch.arange(256).view(1, 1, 256)
    end = start + distances[:, None, None] + torch.tensor([-1, 0, 1])[:, None]
    return torch.stack([start.expand_as(end), end.clamp(0, 255)], dim=3).flatten(2)[:, None].to(torch.uint8)


def ratio_on_a_tie(images: Tensor, generator: torch.Generator) -> float:
    """Return a ratio for which theta is, except for rounding, a difference of two pixels of the first image."""
    value = reference.scale(images[:1]).amax(1).flatten().double()
    spread = float(value.max() - value.min())
    first, second = value[torch.randint(len(value), (2,), generator=generator)].tolist()
    return abs(first - second) / spread if 0 < spread < torch.inf else 0.5


@st.composite
def cases(draw: st.DrawFn, side: int = 40, batch: int = 3) -> Case:
    """Draw the arguments of a conversion of up to ``batch`` images that are at most ``side`` pixels high and wide."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1), label="seed"))
    size = st.integers(1, side) | st.sampled_from(
        [s for s in (1, 2, 3, 4, 8, 12, 13, 16, 31, 32, 33, 36, 40) if s <= side]
    )
    shape = (draw(st.integers(1, batch)), draw(st.integers(1, 4)), draw(size), draw(size))
    dtype = draw(st.sampled_from(IMAGE_DTYPES) | st.just(torch.uint8))
    images = filled(shape, dtype, draw(st.sampled_from([*CONTENTS, "few levels"])), generator)
    images = arrange(images, draw(st.sampled_from(LAYOUTS)))
    return Case(images, _draw_shifts(draw, shape, generator), _draw_ratio(draw, images, generator))


def _draw_shifts(draw: st.DrawFn, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    batch = shape[0]
    kind = draw(st.sampled_from(["canonical", "random", "random per image", "long", "long per image", "enormous"]))
    timesteps = draw(st.integers(1, 8))
    order = draw(st.sampled_from(list(ORDERS)))
    match kind:
        case "canonical":
            return canonical_shifts(order, timesteps)
        case "random":
            return random_shifts(generator=generator, order=order, timesteps=timesteps)
        case "random per image":
            return random_shifts(batch, generator, order=order, timesteps=timesteps)
        case "enormous":  # longer than the image, so that shifted pixels are border pixels
            reach = 100
        case _:
            reach = 3
    length = draw(st.integers(1, 10))
    size = (batch, length, 4) if kind == "long per image" else (length, 4)
    integer = draw(st.sampled_from([torch.int8, torch.int16, torch.int32, torch.int64]))
    return torch.randint(-reach, reach + 1, size, generator=generator).to(integer)


def _draw_ratio(draw: st.DrawFn, images: Tensor, generator: torch.Generator) -> float | Tensor:
    kind = draw(st.sampled_from(["usual", "any", "tie", "per image", "per image, double"]))
    if kind == "usual":
        return draw(st.sampled_from([0.0, 0.07, 0.1, 0.12, 0.15, 0.25, 0.5, 1.0]))
    if kind == "any":
        return draw(st.floats(0, 1))
    if kind == "tie":
        return ratio_on_a_tie(images, generator)
    ratios = torch.rand(len(images), generator=generator, dtype=torch.float64) * 0.5
    return ratios if kind == "per image, double" else ratios.float()
