"""The conversion as an ``nn.Module``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from i2e_triton.checks import check_format, check_ratio, check_timesteps
from i2e_triton.draws import SeededModule, default_device, draw_shifts
from i2e_triton.functional import convert
from i2e_triton.images import Images, as_image_tensor
from i2e_triton.layout import check_layout
from i2e_triton.shifts import (
    DEFAULT_ORDER,
    ORDERS,
    Order,
    candidate_shifts,
    canonical_shifts,
    complete_order,
    convolution_weight,
    group_numbers,
    order_of_weight,
)
from i2e_triton.surrogate import Surrogate, check_surrogate

#: The smallest learned ratio. Below it, every change of a grey level is an event.
_SMALLEST_RATIO = 1 / 256


class I2E(SeededModule):
    """Convert images to events, with random motion vectors in training mode and canonical ones in evaluation mode.

    A drop-in replacement for the official module: same argument names, same output, same ``state_dict``. The buffer
    ``weight`` ``[8, 1, 3, 3]`` contains the canonical motion vectors as convolution kernels. Loading a checkpoint sets
    ``order`` to the order of its ``weight``. Autocast and ``.half()`` do not change the events: only the dtype of the
    images matters.

    Args:
        ratio: event threshold in [0, 1], as a fraction of the range of the image's values. The paper uses 0.12 at
            224x224 and 0.07 at 128x128.
        order: order of the eight groups of motion vectors, one group per timestep: distinct group numbers 0 to 7, a
            name, or an official number 0 to 5; see :func:`i2e_triton.canonical_shifts`. It needs at least
            ``timesteps`` groups; ``weight`` contains all eight, with the missing groups at the end. Default:
            ``(4, 5, 6, 7, 0, 1, 2, 3)``, which is gamma-alpha-beta.
        shuffle: official name of ``order``.
        padding_mode: padding at the border of the image. Only ``"replicate"``, which the paper uses, is supported.
        timesteps: number of timesteps T, 1 to 8. The first T groups of ``order`` are used.
        random: draw motion vectors in training mode (the paper's random selection).
        per_sample: draw for each image of a batch. Default: draw once per batch, as the official code does.
        dtype: dtype of dense events.
        packed: return packed events.
        layout: order of the dimensions of dense events; see :func:`i2e_triton.convert`.
        learn_ratio: make ``ratio`` a parameter that starts at the given ratio; needs ``surrogate``. The conversion uses
            the nearest value from 1/256 to 1, and the gradient is that at this value. Exclude the parameter from
            weight decay. The ``state_dict`` then contains ``ratio``; one without it does not change the ratio.
        surrogate: derivative of the step function in the backward pass; see :func:`i2e_triton.convert`.
        seed: draw from random numbers of the module's own, 0 to 2^64 - 1. None: draw from PyTorch's default generator;
            see :mod:`i2e_triton.draws`. With a seed, the ``state_dict`` also contains ``random_state``, which the
            official module does not load with ``strict=True``.

    Shape:
        images ``[B, C, H, W]`` to events ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]``; without the batch dimension
        for a single image. A module on the CPU also accepts PIL images and NumPy arrays, as
        :func:`i2e_triton.convert` does.

    Raises:
        TypeError: if an argument has the wrong type, or both ``order`` and ``shuffle`` are given.
        ValueError: if the ratio, the order, the timesteps or the images are not valid, or the surrogate is missing or
            cannot be used.

    Example:
        >>> network = nn.Sequential(i2e_triton.I2E(ratio=0.07), nn.Flatten(0, 1), nn.Conv2d(2, 64, 3, padding=1))
        >>> network(torch.rand(4, 3, 32, 32)).shape
        torch.Size([32, 64, 32, 32])
    """

    ratio: float | Tensor
    weight: Tensor
    candidates: Tensor

    def __init__(
        self,
        ratio: float = 0.12,
        order: Order | None = None,
        *,
        shuffle: Order | None = None,
        padding_mode: str = "replicate",
        timesteps: int = 8,
        random: bool = True,
        per_sample: bool = False,
        dtype: torch.dtype = torch.float32,
        packed: bool = False,
        layout: str = "TBCHW",
        learn_ratio: bool = False,
        surrogate: Surrogate | None = None,
        seed: int | None = None,
    ):
        super().__init__(seed)
        if padding_mode != "replicate":
            raise ValueError(f"padding_mode must be 'replicate', got {padding_mode!r}")
        if order is None:
            order = (4, 5, 6, 7, 0, 1, 2, 3) if shuffle is None else shuffle
        elif shuffle is not None:
            raise TypeError(
                f"shuffle is the official name of order; pass one, got order={order!r}, shuffle={shuffle!r}"
            )
        self.ratio = check_ratio(ratio)
        self.surrogate = surrogate
        self.order = order
        self.timesteps = check_timesteps(timesteps)
        self.random = random
        self.per_sample = per_sample
        self.dtype = dtype
        self.packed = packed
        self.layout = layout
        check_layout(layout)
        event_dtype = check_format(dtype, packed, self.timesteps)
        device = default_device()  # "meta" under torch.device("meta")
        if surrogate is not None:
            check_surrogate(surrogate, event_dtype, packed, None)
        if learn_ratio:
            if surrogate is None:
                raise ValueError("learn_ratio needs a surrogate, such as surrogate=i2e_triton.Surrogate('atan')")
            self.ratio = nn.Parameter(torch.tensor(self.ratio, dtype=torch.float32, device=device))
        self.register_buffer("weight", _canonical_weight(self.order).to(device))
        self.register_buffer("candidates", candidate_shifts(self.order, timesteps, device=device), persistent=False)
        self._groups = group_numbers(self.order, self.timesteps)

    @property
    def shuffle(self) -> Order:
        """The official name of ``order``."""
        return self.order

    def forward(self, images: Images) -> Tensor:
        """Convert a batch or a single image; see the class for the shapes."""
        images = as_image_tensor(images)
        if self.training and self.random:
            batch = images.shape[0] if self.per_sample and images.dim() == 4 else None
            shifts: Tensor | None = draw_shifts(self.source(images.device), batch, self._groups)
        else:  # the canonical motion vectors; the kernels are specialised for those of the default order
            default = self._groups == ORDERS[DEFAULT_ORDER][: self.timesteps]
            shifts = None if default else self.candidates[0]
        ratio = self.ratio
        if isinstance(ratio, Tensor):
            used = ratio.clamp(_SMALLEST_RATIO, 1).detach()
            # The difference is 0, and passes the gradient: a ratio that left the range can return.
            ratio = (used + (ratio - ratio.detach())).expand(images.shape[0] if images.dim() == 4 else 1)
        return convert(
            images,
            ratio,
            shifts=shifts,
            timesteps=self.timesteps,
            dtype=self.dtype,
            packed=self.packed,
            layout=self.layout,
            surrogate=self.surrogate,
        )

    def extra_repr(self) -> str:
        """Return the arguments, for ``repr``."""
        ratio = "learned" if isinstance(self.ratio, Tensor) else self.ratio
        return (
            f"ratio={ratio}, order={self.order}, timesteps={self.timesteps}, random={self.random}, "
            f"per_sample={self.per_sample}, dtype={self.dtype}, packed={self.packed}, layout={self.layout}"
            + (f", surrogate={self.surrogate}" if self.surrogate else "")
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
        """Load ``weight`` and set ``order`` to its order.

        A weight of zeros does not change the order: the official module saves zeros before its first forward. Without a
        ``ratio``, as in an official ``state_dict``, a learned ratio does not change.
        """
        if isinstance(self.ratio, Tensor):
            state_dict = {prefix + "ratio": self.ratio.detach(), **state_dict}
        key = prefix + "weight"
        loaded = state_dict.get(key)
        if isinstance(loaded, Tensor) and loaded.shape == self.weight.shape and not loaded.is_meta:
            if bool(loaded.any()):
                try:
                    self.order = order_of_weight(loaded)
                except ValueError as error:
                    error_msgs.append(f"{key}: {error}")
                    return
            else:
                state_dict = {**state_dict, key: _canonical_weight(self.order).to(loaded)}
            self._groups = group_numbers(self.order, self.timesteps)
            candidates = candidate_shifts(self.order, self.timesteps, device="cpu")
            if self.candidates.is_meta:
                self.candidates = candidates.to(loaded.device)
            else:
                self.candidates.copy_(candidates)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _canonical_weight(order: Order) -> Tensor:
    return convolution_weight(canonical_shifts(complete_order(order), device="cpu"))
