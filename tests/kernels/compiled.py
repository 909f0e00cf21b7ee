"""The kernels as they are compiled for a GPU, executed on the CPU instruction by instruction.

Triton launches them as it would on such a GPU: it chooses what to compile for from the arguments that it is given. Only
what comes after is replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver

from benchmarks.roofline.ahead_of_time import TARGETS
from i2e_triton.kernels import launch
from tests.augmented_cases import AugmentedCase
from tests.cases import Case, launched_ratio, poisoned
from tests.ptx.instructions import parse
from tests.ptx.machine import WARP, Memory

_parse = cache(parse)
#: What kernels write to; nothing else may be written.
_WRITTEN = ("out", "plane", "silent", "ranges")


@contextlib.contextmanager
def gpu(target: str = "sm_90", multiprocessors: int = 1) -> Iterator[list[str]]:
    """Make the CPU such a GPU, for what is launched; return the names of the kernels that were.

    Memory that the launcher allocates is poisoned.
    """
    launched: list[str] = []

    def run(kernel: Any) -> _Runner:
        launched.append(kernel.metadata.name)
        return _Runner(kernel)

    with (
        mock.patch.object(driver, "_active", _Driver(TARGETS[target])),
        mock.patch.object(CompiledKernel, "_init_handles"),  # there is no device to load it to
        mock.patch.object(CompiledKernel, "run", property(run)),
        mock.patch.object(launch, "_device", return_value=(multiprocessors, WARP)),
        _poison(),
    ):
        yield launched


@contextlib.contextmanager
def _poison() -> Iterator[None]:
    """Fill what is allocated with NaN and with the greatest integer, as PyTorch does in deterministic mode."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class _Driver:
    """What Triton asks before it launches; a target of its own is a device of its own."""

    def __init__(self, target: GPUTarget):
        self.target = target

    def get_current_device(self) -> int:
        return int(self.target.arch)

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


class _Runner:
    """A compiled kernel that runs all its programs, one after the other."""

    def __init__(self, kernel: Any):
        self.program = _parse(kernel.asm["ptx"])
        self.signature = kernel.src.signature
        self.threads = WARP * kernel.metadata.num_warps
        self.shared = kernel.metadata.shared

    def __call__(self, programs: int, y: int, z: int, *given: Any) -> None:
        assert y == z == 1
        _stream, _function, _metadata, _launch_metadata, _enter, _exit, *arguments = given
        named = zip(self.signature.items(), arguments, strict=True)
        passed = {name: value for (name, kind), value in named if kind != "constexpr"}
        memory = Memory(
            {
                value.untyped_storage().data_ptr(): _bytes(value, name in _WRITTEN)
                for name, value in passed.items()
                if isinstance(value, Tensor)
            }
        )
        values = [value.data_ptr() if isinstance(value, Tensor) else value for value in passed.values()]
        for block in np.random.default_rng().permutation(programs).tolist():
            self.program.run(block, self.threads, values, memory, self.shared)


def _bytes(tensor: Tensor, writeable: bool) -> np.ndarray:
    """All bytes of a tensor's storage."""
    storage = tensor.untyped_storage()
    where: Any = ctypes.c_uint8 * storage.nbytes()
    array = np.frombuffer(where.from_address(storage.data_ptr()), dtype=np.uint8)
    array.flags.writeable = writeable
    return array


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
    with gpu(target, multiprocessors):
        launch.convert_into(out, case.images, case.shifts, *launched_ratio(case.ratio), packed=packed)
    return out


def convert_augmented(
    case: AugmentedCase,
    dtype: torch.dtype = torch.bool,
    *,
    multiprocessors: int = 1,
    target: str = "sm_90",
) -> Tensor:
    """Convert augmented images into a poisoned output, as on such a GPU."""
    out = poisoned(case.expected(dtype))
    given = (out, case.images, case.crop, case.flip, case.shifts, *launched_ratio(case.ratio))
    with gpu(target, multiprocessors):
        launch.convert_augmented_into(*given, nearest=case.nearest, packed=False)
    return out


def unpack_into(out: Tensor, packed: Tensor, target: str = "sm_90") -> Tensor:
    """Spread packed events as on a GPU of a kind, and return ``out``."""
    with gpu(target):
        launch.unpack_into(out, packed)
    return out
