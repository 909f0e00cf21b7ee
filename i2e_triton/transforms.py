"""The conversion as a ``torchvision.transforms.v2`` transform.

Needs torchvision: ``pip install i2e-triton[vision]``.
"""

from __future__ import annotations

from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform
from torchvision.transforms.v2.functional import is_pure_tensor

from i2e_triton.checks import check_format, check_ratio, check_timesteps
from i2e_triton.functional import convert
from i2e_triton.shifts import DEFAULT_ORDER, Order, candidate_shifts, draw_shifts


class ImageToEvents(Transform):
    """Turn the images of a sample into events and leave boxes, masks, labels and the rest alone.

    An image is what torchvision takes for one: a PIL image, a :class:`torchvision.tv_tensors.Image`, or else the
    first plain tensor of the sample. Works per image in a DataLoader worker and on whole batches.

    Args:
        ratio: sensitivity of the threshold; 0.12 at 224x224, 0.07 at 128x128.
        order: of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: how many of them.
        random: draw the motion vectors anew for every call, the paper's random selection; one draw serves all images of
            a sample.
        dtype: of dense events.
        packed: return packed events.

    Shape:
        image ``[C, H, W]`` to events ``[T, 2, H, W]`` (packed: ``[2, H, W]``), and batch ``[B, C, H, W]`` to
        ``[T, B, 2, H, W]`` (packed: ``[B, 2, H, W]``), as plain tensors.

    Raises:
        TypeError: if the ratio is not a number, the timesteps not an integer, ``dtype`` not a type of events, or
            ``packed`` not a bool.
        ValueError: if the ratio, the order, the timesteps or an image are unfit.
    """

    _transformed_types = (PIL.Image.Image, tv_tensors.Image, is_pure_tensor)

    def __init__(
        self,
        ratio: float = 0.12,
        *,
        order: Order = DEFAULT_ORDER,
        timesteps: int = 8,
        random: bool = False,
        dtype: torch.dtype = torch.float32,
        packed: bool = False,
    ):
        super().__init__()
        self.ratio = check_ratio(ratio)
        self.order = order
        self.timesteps = check_timesteps(timesteps)
        self.random = random
        self.dtype = dtype
        self.packed = packed
        check_format(dtype, packed, self.timesteps)
        self._candidates = candidate_shifts(order, timesteps)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the motion vectors of one sample."""
        return {"shifts": draw_shifts(self._candidates) if self.random else self._candidates[0]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Tensor:
        """Convert one image, or one batch of images."""
        image = inpt.as_subclass(Tensor) if isinstance(inpt, Tensor) else inpt
        shifts = params["shifts"].to(image.device) if isinstance(image, Tensor) else params["shifts"]
        return convert(image, self.ratio, shifts=shifts, dtype=self.dtype, packed=self.packed)
