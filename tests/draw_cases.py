"""Arguments of the operators that draw random numbers, and the kernels that compute them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from i2e_triton.ops import draw

#: Name of the operator and the arguments after ``batch``.
DRAWS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "words": ("draw_words", (64, 3)),
    "last blocks": ("draw_words", (2**16 - 2, 2)),
    "crop": ("draw_crop", ((32, 48), 0.3, (30, 40), 4)),
    "only crop": ("draw_crop", ((32, 48), 0.0, (32, 48), 0)),
    "resized crop": ("draw_resized_crop", ((32, 48), 0.5, (0.08, 1.0), (3 / 4, 4 / 3))),
    "large resized crop": ("draw_resized_crop", ((3000, 4000), 1.0, (0.08, 1.0), (0.1, 10.0))),
    "central crop": ("draw_resized_crop", ((4, 30), 0.5, (0.9, 1.0), (3 / 4, 4 / 3))),
    "one area and ratio": ("draw_resized_crop", ((30, 20), 0.5, (0.5, 0.5), (1.0, 1.0))),
    "shifts": ("draw_shifts", ((4, 5, 6, 7, 0, 1, 2, 3),)),
    "five shifts": ("draw_shifts", ((7, 0, 3, 2, 6),)),
}


def with_operator(name: str, state: Tensor, rows: Tensor | None, seed_offset: int, batch: int) -> tuple[Tensor, ...]:
    """Draw with the operator, on the device of the state."""
    operator, arguments = DRAWS[name]
    return _as_tuple(getattr(torch.ops.i2e_triton, operator)(state, rows, seed_offset, batch, *arguments))


def with_kernel(name: str, state: Tensor, rows: Tensor | None, seed_offset: int, batch: int) -> tuple[Tensor, ...]:
    """Draw with the kernel from tensors on the CPU, and return the state as well."""
    operator, arguments = DRAWS[name]
    return *_as_tuple(draw.CUDA_IMPLEMENTATIONS[operator](state, rows, seed_offset, batch, *arguments)), state


def _as_tuple(drawn: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (drawn,) if isinstance(drawn, Tensor) else drawn
