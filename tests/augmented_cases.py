"""Augmented conversions to try: boxes within and beyond images of every type, resized up and down, flipped or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, random_shifts, reference
from tests.cases import CONTENTS, IMAGE_DTYPES, LAYOUTS, arrange, filled, pack


@dataclass
class AugmentedCase:
    """Arguments of one conversion; images ``[B, C, H, W]``."""

    images: Tensor
    shifts: Tensor
    crop: Tensor | None = None
    size: tuple[int, int] | None = None
    flip: Tensor | None = None
    interpolation: str = "bilinear"
    ratio: float | Tensor = 0.12

    @property
    def augmentation(self) -> dict[str, Any]:
        """The arguments that a plain conversion does not have."""
        return {"crop": self.crop, "size": self.size, "flip": self.flip, "interpolation": self.interpolation}

    @property
    def nearest(self) -> bool:
        """Whether the kernels take the nearest pixels: where it is asked for, and where no pixel leaves its place."""
        return self.interpolation == "nearest" or (self.crop is None and self.size in (None, self.images.shape[-2:]))

    def expected(self, dtype: torch.dtype = torch.bool, *, packed: bool = False) -> Tensor:
        """Events of the specification, dense in a type or packed."""
        events = reference.convert(self.images, self.ratio, self.shifts, **self.augmentation)
        return pack(events) if packed else events.to(dtype)


def boxes(batch: int, generator: torch.Generator, reach: int = 20, longest: int = 60) -> Tensor:
    """Boxes ``[batch, 4]`` that begin and end within and beyond small images."""
    place = torch.randint(-reach, 2 * reach, (batch, 2), generator=generator)
    return torch.cat([place, torch.randint(1, longest, (batch, 2), generator=generator)], dim=1)


def flips(batch: int, generator: torch.Generator) -> Tensor:
    """Which images are mirrored, ``[batch]``."""
    return torch.rand(batch, generator=generator) < 0.5


@st.composite
def augmented_cases(draw: st.DrawFn, side: int = 40, batch: int = 3) -> AugmentedCase:
    """Draw conversions of images to augmented ones, both up to so many pixels wide and high."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1), label="seed"))
    size = st.integers(1, side) | st.sampled_from([s for s in (1, 2, 4, 8, 16, 31, 32, 33) if s <= side])
    height, width = draw(size), draw(size)
    # convert refuses more than 4 channels with a width of 3 or 4: these are channels in the last dimension.
    channels = draw(st.sampled_from([1, 2, 3, 4] if width in (3, 4) else [1, 2, 3, 4, 6]))
    shape = (draw(st.integers(1, batch)), channels, height, width)
    images = filled(shape, draw(st.sampled_from(IMAGE_DTYPES)), draw(st.sampled_from(CONTENTS)), generator)
    images = arrange(images, draw(st.sampled_from(LAYOUTS)))
    ratio = torch.rand(shape[0], generator=generator) * 0.3 if draw(st.booleans()) else 0.12
    integer = draw(st.sampled_from([torch.int8, torch.int16, torch.int32, torch.int64]))
    return AugmentedCase(
        images,
        random_shifts(shape[0], generator) if draw(st.booleans()) else canonical_shifts(),
        boxes(shape[0], generator).to(integer) if draw(st.booleans()) else None,
        (draw(size), draw(size)),
        flips(shape[0], generator) if draw(st.booleans()) else None,
        draw(st.sampled_from(["bilinear", "bilinear", "nearest"])),
        ratio,
    )
