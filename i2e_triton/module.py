"""The conversion as a module, in the place of the published one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from i2e_triton.checks import check_format, check_ratio, check_timesteps
from i2e_triton.functional import convert
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.shifts import (
    Order,
    candidate_shifts,
    canonical_shifts,
    complete_order,
    convolution_weight,
    draw_shifts,
    order_of_weight,
)


class I2E(nn.Module):
    """Convert images to events: random selection while training, canonical motion vectors while evaluating.

    Takes the published module's place: same arguments by name, same output, same ``state_dict``. Its parameter-like
    buffer ``weight`` ``[8, 1, 3, 3]`` is the canonical microsaccade as a convolution; a checkpoint brings its own
    order along. Autocast and ``.half()`` leave the conversion exact: only the images' own type matters.

    Args:
        ratio: sensitivity of the threshold; 0.12 at 224x224, 0.07 at 128x128.
        shuffle: order of the timesteps: groups 0 to 7 as published, a name, or a published number 0 to 5; see
            :func:`i2e_triton.canonical_shifts`. As many groups as there are timesteps will do; ``weight`` holds the
            others after them.
        padding_mode: what lies beyond the border; ``"replicate"``, the paper's, is the only one.
        timesteps: how many of them, as a prefix.
        random: whether ``train()`` draws motion vectors (the paper's random selection).
        per_sample: draw for every image of a batch, instead of once for the batch as published.
        dtype: of dense events.
        packed: return packed events.

    Shape:
        images ``[B, C, H, W]`` to events ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]``. Without the batch dimension
        for a single image; what :func:`i2e_triton.convert` takes besides tensors, for a module on the CPU.

    Raises:
        TypeError: if the ratio is not a number, the timesteps not an integer, ``dtype`` not a type of events, or
            ``packed`` not a bool.
        ValueError: if the ratio, the order, the timesteps or the images are unfit.
    """

    weight: Tensor
    candidates: Tensor

    def __init__(
        self,
        ratio: float = 0.12,
        shuffle: Order = (4, 5, 6, 7, 0, 1, 2, 3),
        *,
        padding_mode: str = "replicate",
        timesteps: int = 8,
        random: bool = True,
        per_sample: bool = False,
        dtype: torch.dtype = torch.float32,
        packed: bool = False,
    ):
        super().__init__()
        if padding_mode != "replicate":
            raise ValueError(f"padding_mode must be 'replicate', got {padding_mode!r}")
        self.ratio = check_ratio(ratio)
        self.shuffle = shuffle
        self.timesteps = check_timesteps(timesteps)
        self.random = random
        self.per_sample = per_sample
        self.dtype = dtype
        self.packed = packed
        check_format(dtype, packed, self.timesteps)
        device = torch.get_default_device()  # "meta" where modules are made without data
        self.register_buffer("weight", _canonical_weight(shuffle).to(device))
        self.register_buffer("candidates", candidate_shifts(shuffle, timesteps, device=device), persistent=False)

    def forward(self, images: Images) -> Tensor:
        """Convert a batch or an image; see the class for shapes."""
        images = as_image_tensor(images)
        if self.training and self.random:
            batch = images.shape[0] if self.per_sample and images.dim() == 4 else None
            shifts = draw_shifts(self.candidates, batch)
        else:
            shifts = self.candidates[0]
        return convert(images, self.ratio, shifts=shifts, dtype=self.dtype, packed=self.packed)

    def extra_repr(self) -> str:
        """Show the settings in ``repr``."""
        return (
            f"ratio={self.ratio}, shuffle={self.shuffle}, timesteps={self.timesteps}, random={self.random}, "
            f"per_sample={self.per_sample}, dtype={self.dtype}, packed={self.packed}"
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load ``weight`` and take on the order that it holds; a published module that never ran holds zeros."""
        key = prefix + "weight"
        loaded = state_dict.get(key)
        if isinstance(loaded, Tensor) and loaded.shape == self.weight.shape and not loaded.is_meta:
            if bool(loaded.any()):
                try:
                    self.shuffle = order_of_weight(loaded)
                except ValueError as error:
                    error_msgs.append(f"{key}: {error}")
                    return
            else:
                state_dict = {**state_dict, key: _canonical_weight(self.shuffle).to(loaded)}
            candidates = candidate_shifts(self.shuffle, self.timesteps, device="cpu")
            if self.candidates.is_meta:
                self.candidates = candidates.to(loaded.device)
            else:
                self.candidates.copy_(candidates)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _canonical_weight(order: Order) -> Tensor:
    return convolution_weight(canonical_shifts(complete_order(order), device="cpu"))
