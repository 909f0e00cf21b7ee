"""Augmented conversions for tests: images of every dtype, cropped inside and outside, enlarged, reduced and flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, random_shifts, reference
from tests.cases import CONTENTS, IMAGE_DTYPES, LAYOUTS, Case, arrange, filled, pack


@dataclass
class AugmentedCase:
    """The arguments of one augmented conversion; images ``[B, C, H, W]``."""

    images: Tensor
    shifts: Tensor
    crop: Tensor | None = None
    size: tuple[int, int] | None = None
    flip: Tensor | None = None
    interpolation: str = "bilinear"
    ratio: float | Tensor = 0.12

    @property
    def augmentation(self) -> dict[str, Any]:
        """The arguments of ``convert`` that describe the augmentation."""
        return {"crop": self.crop, "size": self.size, "flip": self.flip, "interpolation": self.interpolation}

    @property
    def nearest(self) -> bool:
        """Whether the operator uses nearest interpolation: if it is requested, or if images are only flipped."""
        return self.interpolation == "nearest" or (self.crop is None and self.size in (None, self.images.shape[-2:]))

    def expected(self, dtype: torch.dtype = torch.bool, *, packed: bool = False) -> Tensor:
        """Return the events of the reference, dense with a dtype or packed."""
        events = reference.convert(self.images, self.ratio, self.shifts, **self.augmentation)
        return pack(events) if packed else events.to(dtype)


def launched_augmentation(case: Case | AugmentedCase) -> dict[str, Any]:
    """Return the arguments of ``launch.convert_into`` that describe the augmentation."""
    if isinstance(case, Case):
        return {}
    return {"crop": case.crop, "flip": case.flip, "nearest": case.nearest}


def boxes(batch: int, generator: torch.Generator, reach: int = 20, longest: int = 60) -> Tensor:
    """Return random boxes ``[batch, 4]`` that begin and end inside or outside of small images."""
    corner = torch.randint(-reach, 2 * reach, (batch, 2), generator=generator)
    return torch.cat([corner, torch.randint(1, longest, (batch, 2), generator=generator)], dim=1)


def flips(batch: int, generator: torch.Generator) -> Tensor:
    """Return a random bool for each image, ``[batch]``."""
    return torch.rand(batch, generator=generator) < 0.5


@st.composite
def augmented_cases(draw: st.DrawFn, side: int = 40, batch: int = 3) -> AugmentedCase:
    """Draw augmented conversions; raw and augmented images are at most ``side`` pixels wide and high."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1), label="seed"))
    size = st.integers(1, side) | st.sampled_from([s for s in (1, 2, 4, 8, 16, 31, 32, 33) if s <= side])
    height, width = draw(size), draw(size)
    # convert rejects more than 4 channels if the width is 3 or 4, because then the last dimension looks like channels.
    channels = draw(st.sampled_from([1, 2, 3, 4] if width in (3, 4) else [1, 2, 3, 4, 6]))
    shape = (draw(st.integers(1, batch)), channels, height, width)
    images = filled(shape, draw(st.sampled_from(IMAGE_DTYPES)), draw(st.sampled_from(CONTENTS)), generator)
    images = arrange(images, draw(st.sampled_from(LAYOUTS)))
    ratio = torch.rand(shape[0], generator=generator) * 0.3 if draw(st.booleans()) else 0.12
    box_dtype = draw(st.sampled_from([torch.int8, torch.int16, torch.int32, torch.int64]))
    return AugmentedCase(
        images,
        random_shifts(shape[0], generator) if draw(st.booleans()) else canonical_shifts(),
        boxes(shape[0], generator).to(box_dtype) if draw(st.booleans()) else None,
        (draw(size), draw(size)),
        flips(shape[0], generator) if draw(st.booleans()) else None,
        draw(st.sampled_from(["bilinear", "bilinear", "nearest"])),
        ratio,
    )
