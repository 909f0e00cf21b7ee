"""Compile the kernels for a GPU, and execute the compiled code on the CPU, instruction by instruction.

Triton's own launcher specialises and compiles them as on a GPU. Only the launch itself is replaced.
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
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver

from benchmarks.roofline.ahead_of_time import TARGETS, TargetDriver
from i2e_triton.kernels import launch
from tests.ptx.instructions import parse
from tests.ptx.machine import WARP, Memory

_parse, _data_ptr = cache(parse), Tensor.data_ptr
#: The arguments that kernels write to. The memory of all others is read-only.
_WRITTEN = (
    *("events", "planes", "ranges_ptr", "out_ptr", "state_ptr", "crop_ptr", "flip_ptr"),
    *("sums_ptr", "out", "ratios_out_ptr"),
)


@contextlib.contextmanager
def gpu(target: str = "sm_90", multiprocessors: int = 1) -> Iterator[list[str]]:
    """Run kernels that are launched on CPU tensors as on a GPU; yield the list of the names of launched kernels.

    Tensors that the launcher allocates are filled with NaN or the greatest integer.
    """
    launched: list[str] = []

    def run(kernel: Any) -> _Runner:
        launched.append(kernel.metadata.name)
        return _Runner(kernel)

    with (
        mock.patch.object(driver, "_active", TargetDriver(TARGETS[target])),
        mock.patch.object(CompiledKernel, "_init_handles"),  # no device to load the kernel to
        mock.patch.object(CompiledKernel, "run", property(run)),
        mock.patch.object(launch, "_device", return_value=(multiprocessors, WARP)),
        mock.patch.object(Tensor, "data_ptr", lambda tensor: _Address.of(tensor)),
        _filled_allocations(),
    ):
        yield launched


@contextlib.contextmanager
def _filled_allocations() -> Iterator[None]:
    """Fill allocated tensors with NaN or the greatest integer, which PyTorch does in deterministic mode."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class _Runner:
    """Runs all programs of a compiled kernel, one after the other."""

    def __init__(self, kernel: Any):
        self.program = _parse(kernel.asm["ptx"])
        self.signature = kernel.src.signature
        self.threads = WARP * kernel.metadata.num_warps
        self.shared = kernel.metadata.shared

    def __call__(self, programs: int, y: int, z: int, *given: Any) -> None:
        assert y == z == 1
        _stream, _function, _metadata, _launch_metadata, _enter, _exit, *arguments = given
        parameters = [
            (name, _Address.of(value) if isinstance(value, Tensor) else value)
            for (argument, types), given_value in zip(self.signature.items(), arguments, strict=True)
            for name, value in _parameters(argument, types, given_value)
        ]
        memory = Memory(
            {
                value.storage.data_ptr(): _bytes(value.storage, name in _WRITTEN)
                for name, value in parameters
                if isinstance(value, _Address)
            }
        )
        values = [value for _, value in parameters]
        for block in np.random.default_rng().permutation(programs).tolist():
            self.program.run(block, self.threads, values, memory, self.shared)


class _Address(int):
    """An address that knows its memory. The sum of an address and an offset is an address."""

    storage: torch.UntypedStorage

    @classmethod
    def of(cls, tensor: Tensor) -> _Address:
        """Return the address of a tensor's first element."""
        return cls._in(tensor.untyped_storage(), _data_ptr(tensor))

    @classmethod
    def _in(cls, storage: torch.UntypedStorage, address: int) -> _Address:
        self = cls(address)
        self.storage = storage
        return self

    def __add__(self, offset: int) -> _Address:
        return self._in(self.storage, int(self) + offset)


def _parameters(name: str, types: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of the compiled kernel for one argument: one per field of a tuple, none for a constant."""
    if isinstance(types, tuple):
        for field_type, field in zip(types, value, strict=True):
            yield from _parameters(name, field_type, field)
    elif types != "constexpr":
        yield name, value


def _bytes(storage: torch.UntypedStorage, writeable: bool) -> np.ndarray:
    """Return a storage as an array of bytes that shares its memory."""
    array_type: Any = ctypes.c_uint8 * storage.nbytes()
    array = np.frombuffer(array_type.from_address(storage.data_ptr()), dtype=np.uint8)
    array.flags.writeable = writeable
    return array
