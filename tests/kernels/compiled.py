"""The kernels as they are compiled for a GPU, executed on the CPU instruction by instruction."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ahead_of_time import TARGETS, Launch, compile_launch, recording
from i2e_triton.kernels import launch
from tests.augmented_cases import AugmentedCase
from tests.cases import Case, poisoned
from tests.ptx.instructions import parse
from tests.ptx.machine import WARP, Memory

_parse = cache(parse)
#: What the launcher allocates, in which there may be anything.
_ALLOCATED = ("plane", "silent", "ranges")


def convert(
    case: Case,
    dtype: torch.dtype = torch.bool,
    *,
    packed: bool = False,
    multiprocessors: int = 1,
    layout: str = "contiguous",
    target: str = "sm_90",
) -> Tensor:
    """Convert into a poisoned output, as on a GPU of a kind with so many multiprocessors."""
    out = poisoned(case.expected(dtype, packed=packed), layout)
    with recording(multiprocessors, WARP) as launches:
        launch.convert_into(out, case.images, case.shifts, *_ratios(case.ratio), packed=packed)
    return run(launches, target, out)


def convert_augmented(
    case: AugmentedCase,
    dtype: torch.dtype = torch.bool,
    *,
    packed: bool = False,
    multiprocessors: int = 1,
    layout: str = "contiguous",
    target: str = "sm_90",
) -> Tensor:
    """Convert augmented images into a poisoned output, as on such a GPU."""
    out = poisoned(case.expected(dtype, packed=packed), layout)
    given = (out, case.images, case.crop, case.flip, case.shifts, *_ratios(case.ratio))
    with recording(multiprocessors, WARP) as launches:
        launch.convert_augmented_into(*given, nearest=case.nearest, packed=packed)
    return run(launches, target, out)


def unpack_into(out: Tensor, packed: Tensor, target: str = "sm_90") -> Tensor:
    """Spread packed events as on a GPU of a kind, and return ``out``."""
    with recording(1, WARP) as launches:
        launch.unpack_into(out, packed)
    return run(launches, target, out)


def run(launches: Sequence[Launch], target: str, out: Tensor) -> Tensor:
    """Compile launches for a target, run all their programs on the tensors that they were given, and return ``out``."""
    for one in launches[:1]:
        for name in _ALLOCATED:
            if isinstance(allocated := one.arguments.get(name), Tensor):
                _bytes(allocated)[:] = np.random.default_rng().integers(0, 256, _bytes(allocated).size)
    for one in launches:
        _run(one, target)
    return out


def _run(one: Launch, target: str) -> None:
    kernel = compile_launch(one, TARGETS[target])
    program = _parse(kernel.asm["ptx"])
    given = [one.arguments[name] for name, kind in kernel.src.signature.items() if kind != "constexpr"]
    memory = Memory({value.untyped_storage().data_ptr(): _bytes(value) for value in given if isinstance(value, Tensor)})
    values = [value.data_ptr() if isinstance(value, Tensor) else value for value in given]
    (programs,) = one.grid
    for block in range(programs):
        program.run(block, WARP * one.arguments["num_warps"], values, memory, kernel.metadata.shared)


def _ratios(ratio: float | Tensor) -> tuple[Tensor | None, float]:
    return (ratio, 0.0) if isinstance(ratio, Tensor) else (None, ratio)


def _bytes(tensor: Tensor) -> np.ndarray:
    """All bytes of a tensor's storage."""
    storage = tensor.untyped_storage()
    where: Any = ctypes.c_uint8 * storage.nbytes()
    return np.frombuffer(where.from_address(storage.data_ptr()), dtype=np.uint8)
