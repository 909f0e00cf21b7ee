"""A process in which Triton interprets the kernels. Triton decides this when it is imported, once per process."""

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

from tests.augmented_cases import AugmentedCase, launched_augmentation
from tests.cases import Case, launched_ratio, poisoned

Interpreter = Callable[..., Tensor]


@pytest.fixture(scope="session")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Start a process with Triton's interpreter."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            pool.submit(os.getpid).result()
        try:
            from tests.kernels.interpreted import (
                count_to,
            )  # imported here only to name it: it runs in the other process

            assert pool.submit(count_to, 3).result() == 3
        except InterpreterError as error:
            if "only 0-dimensional arrays" not in str(error):
                raise
            pytest.skip(f"the interpreter of Triton {triton.__version__} does not run with NumPy {np.__version__}")
        yield pool


@pytest.fixture(scope="session")
def interpret(interpreter: ProcessPoolExecutor) -> Interpreter:
    """Convert a case with the interpreted kernels, into a poisoned output."""

    def run(
        case: Case | AugmentedCase,
        dtype: torch.dtype = torch.bool,
        *,
        packed: bool = False,
        multiprocessors: int = 1,
        layout: str = "contiguous",
        out: Tensor | None = None,
    ) -> Tensor:
        from tests.kernels.interpreted import (
            convert_into,
        )  # imported here only to name it: it runs in the other process

        if out is None:
            out = poisoned(case.expected(dtype, packed=packed), layout)
        given = (out, case.images, case.shifts, *launched_ratio(case.ratio), multiprocessors)
        return interpreter.submit(convert_into, *given, packed=packed, **launched_augmentation(case)).result()

    return run
