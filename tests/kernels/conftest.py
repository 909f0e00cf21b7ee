"""The backends that run the kernels: Triton's interpreter, compiled code that is executed on the CPU, and a GPU."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import triton
from torch import Tensor
from triton.runtime.errors import InterpreterError

from i2e_triton.ops import operator
from tests.augmented_cases import AugmentedCase, launched_augmentation
from tests.cases import Case, launched_ratio, launched_shifts, on_device, poisoned
from tests.gradient_cases import GradientCase
from tests.kernels import compiled, launching

#: Multiprocessors of the device. With ONE, one program converts a whole image; with MANY, several programs share it.
ONE, MANY = 1, 132
GPU = pytest.param(
    "gpu", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.fixture(scope="session")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Start a process in which Triton interprets kernels: Triton chooses this when it is imported."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            pool.submit(os.getpid).result()
        try:
            assert pool.submit(launching.count_to, 3).result() == 3
        except InterpreterError as error:
            if "only 0-dimensional arrays" not in str(error):
                raise
            pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with NumPy {np.__version__}")
        yield pool


class Backend:
    """Calls the launchers.

    Args:
        name: ``"interpreted"``, ``"compiled"`` or ``"gpu"``.
        interpreter: process of the interpreter, if it is used.
    """

    def __init__(self, name: str, interpreter: ProcessPoolExecutor | None):
        self.name = name
        self._interpreter = interpreter

    def convert(
        self,
        case: Case | AugmentedCase,
        dtype: torch.dtype = torch.bool,
        *,
        packed: bool = False,
        multiprocessors: int = ONE,
        layout: str = "contiguous",
        out: Tensor | None = None,
        constant: bool = True,
        target: str = "sm_90",
    ) -> Tensor:
        """Convert a case into ``out``, or into a poisoned output, as on a GPU with that many multiprocessors.

        If ``constant``, the motion vectors are compiled into the kernel where this is possible.
        """
        out = poisoned(case.expected(dtype, packed=packed), layout) if out is None else out
        given = (out, case.images, launched_shifts(case.shifts, constant), *launched_ratio(case.ratio))
        self._call("convert", given, {"packed": packed, **launched_augmentation(case)}, multiprocessors, target)
        return out

    def unpack(
        self, packed: Tensor, expected: Tensor, offset_dtype: str | None = None, target: str = "sm_90"
    ) -> Tensor:
        """Unpack events into a poisoned output."""
        out = poisoned(expected)
        self._call("unpack", (out, packed), {}, ONE, target, offset_dtype)
        return out

    def gradients(
        self, case: GradientCase, multiprocessors: int = ONE, target: str = "sm_90", offset_dtype: str | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the gradients for the images (None for uint8 images) and for the ratios."""
        images = case.case.images
        for_images = torch.full_like(images, torch.nan) if images.is_floating_point() else None
        for_ratios = case.ratios().fill_(torch.nan)
        arguments, options = case.launched()
        self._call("gradients", (for_images, for_ratios, *arguments), options, multiprocessors, target, offset_dtype)
        return for_images, for_ratios

    def _call(
        self,
        name: str,
        given: tuple[Any, ...],
        options: dict[str, Any],
        multiprocessors: int,
        target: str,
        offset_dtype: str | None = None,
    ) -> None:
        rest = (multiprocessors, offset_dtype)
        if self.name == "compiled":
            with compiled.gpu(target, multiprocessors):
                launching.call(name, given, options, *rest)
            return
        if self._interpreter is not None:
            results = self._interpreter.submit(launching.call, name, given, options, *rest).result()
        else:
            on_gpu = {key: on_device(value, "cuda") for key, value in options.items()}
            results = launching.call(name, tuple(on_device(value, "cuda") for value in given), on_gpu, *rest)
        for receives, result in zip(given, results):
            if receives is not None:
                receives.copy_(result)


@pytest.fixture(scope="session", params=["interpreted", "compiled", GPU])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return each backend. On a GPU, a test takes few seconds; compiled code needs small images."""
    return Backend(request.param, request.getfixturevalue("interpreter") if request.param == "interpreted" else None)


@pytest.fixture
def cuda_implementations() -> Iterator[None]:
    """Use the operators' CUDA implementations for CPU tensors."""
    library = torch.library.Library("i2e_triton", "IMPL")
    for name, implementation in operator.CUDA_IMPLEMENTATIONS.items():
        library.impl(name, implementation, "CPU", allow_override=True)
    yield
    library._destroy()
