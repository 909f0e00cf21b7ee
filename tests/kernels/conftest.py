"""Fixtures that run kernels in Triton's interpreter. It needs its own process: Triton chooses it at import time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import numpy as np
import pytest
import torch
import triton
from torch import Tensor
from triton.runtime.errors import InterpreterError

from i2e_triton.ops import operator
from tests.augmented_cases import AugmentedCase, launched_augmentation
from tests.cases import Case, launched_ratio, launched_shifts, poisoned

Interpreter = Callable[..., Tensor]


@pytest.fixture(scope="session")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Start a process in which Triton interprets kernels."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            pool.submit(os.getpid).result()
        try:
            # Only to send the function's name: it runs in the other process.
            from tests.kernels.interpreted import count_to

            assert pool.submit(count_to, 3).result() == 3
        except InterpreterError as error:
            if "only 0-dimensional arrays" not in str(error):
                raise
            pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with NumPy {np.__version__}")
        yield pool


@pytest.fixture(scope="session")
def interpret(interpreter: ProcessPoolExecutor) -> Interpreter:
    """Return a function that converts a case with the interpreted kernels, into a poisoned output.

    If ``constant``, the motion vectors are constants of the kernel where this is possible.
    """

    def run(
        case: Case | AugmentedCase,
        dtype: torch.dtype = torch.bool,
        *,
        packed: bool = False,
        multiprocessors: int = 1,
        layout: str = "contiguous",
        out: Tensor | None = None,
        constant: bool = True,
    ) -> Tensor:
        # Only to send the function's name: it runs in the other process.
        from tests.kernels.interpreted import convert_into

        if out is None:
            out = poisoned(case.expected(dtype, packed=packed), layout)
        given = (out, case.images, launched_shifts(case.shifts, constant), *launched_ratio(case.ratio), multiprocessors)
        return interpreter.submit(convert_into, *given, packed=packed, **launched_augmentation(case)).result()

    return run


@pytest.fixture
def cuda_implementations() -> Iterator[None]:
    """Use the operators' CUDA implementations for CPU tensors."""
    library = torch.library.Library("i2e_triton", "IMPL")
    for name, implementation in operator.CUDA_IMPLEMENTATIONS.items():
        library.impl(name, implementation, "CPU", allow_override=True)
    yield
    library._destroy()
