"""The conversion as a ``torchvision.transforms.v2`` transform.

Needs torchvision: ``pip install 'i2e-triton[vision]'``.
"""

from __future__ import annotations

from typing import Any

import numpy
import PIL.Image
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform
from torchvision.transforms.v2.functional import is_pure_tensor

from i2e_triton.checks import check_format, check_ratio, check_timesteps
from i2e_triton.draws import draw_shifts, source_of
from i2e_triton.functional import convert
from i2e_triton.images import as_image_tensor
from i2e_triton.layout import check_layout
from i2e_triton.shifts import DEFAULT_ORDER, Order, canonical_shifts, group_numbers


class ImageToEvents(Transform):
    """Convert the images of a sample to events; boxes, masks, labels and everything else pass through unchanged.

    As in torchvision, images are PIL images and :class:`torchvision.tv_tensors.Image`. In a sample without these, the
    first plain tensor or NumPy array is the image. The transform accepts single images, for example in DataLoader
    workers, and batches.

    Args:
        ratio: event threshold in [0, 1], as a fraction of the range of the image's values. The paper uses 0.12 at
            224x224 and 0.07 at 128x128.
        order: order of the timesteps; see :func:`i2e_triton.canonical_shifts`.
        timesteps: number of timesteps T, 1 to 8. The first T motion vectors of ``order`` are used.
        random: draw new motion vectors for every sample (the paper's random selection). All images of a sample share
            them.
            The seed of the draw is drawn from PyTorch's default generator, which differs between DataLoader workers.
        dtype: dtype of dense events.
        packed: return packed events.
        layout: order of the dimensions of dense events; see :func:`i2e_triton.convert`.

    Shape:
        image ``[C, H, W]`` to events ``[T, 2, H, W]`` (packed: ``[2, H, W]``), and batch ``[B, C, H, W]`` to
        ``[T, B, 2, H, W]`` (packed: ``[B, 2, H, W]``), as plain tensors.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the ratio, the order, the timesteps or an image is not valid.

    Example:
        >>> from torchvision.transforms import v2
        >>> transform = v2.Compose([v2.Resize((128, 128)), i2e_triton.transforms.ImageToEvents(ratio=0.07)])
        >>> transform(torch.rand(3, 200, 300)).shape
        torch.Size([8, 2, 128, 128])
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
        layout: str = "TBCHW",
    ):
        super().__init__()
        self.ratio = check_ratio(ratio)
        self.order = order
        self.timesteps = check_timesteps(timesteps)
        self.random = random
        self.dtype = dtype
        self.packed = packed
        self.layout = layout
        check_layout(layout)
        check_format(dtype, packed, self.timesteps)
        self._groups = group_numbers(order, timesteps)
        self._canonical = canonical_shifts(order, timesteps)

    def forward(self, *inputs: Any) -> Any:
        """Convert the images of a sample."""
        # Without another image, torchvision transforms the first plain tensor; it ignores NumPy arrays.
        leaves, structure = tree_flatten(inputs)
        if not any(isinstance(leaf, (PIL.Image.Image, tv_tensors.Image, tv_tensors.Video)) for leaf in leaves):
            first = next((i for i, x in enumerate(leaves) if isinstance(x, numpy.ndarray) or is_pure_tensor(x)), None)
            if first is not None:
                leaves[first] = as_image_tensor(leaves[first])
                inputs = tree_unflatten(leaves, structure)
        return super().forward(*inputs)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the motion vectors of one sample."""
        device = self._canonical.device
        return {"shifts": draw_shifts(source_of(device), None, self._groups) if self.random else self._canonical}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Tensor:
        """Convert one image or one batch of images."""
        image = inpt.as_subclass(Tensor) if isinstance(inpt, Tensor) else inpt
        shifts = params["shifts"].to(image.device) if isinstance(image, Tensor) else params["shifts"]
        return convert(image, self.ratio, shifts=shifts, dtype=self.dtype, packed=self.packed, layout=self.layout)
