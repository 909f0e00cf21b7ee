"""A process in which Triton interprets the kernels: it chooses so when it is imported, once for a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.cases import Case, poisoned

Interpreter = Callable[..., Tensor]


@pytest.fixture(scope="session")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """One process with Triton's interpreter."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            pool.submit(os.getpid).result()
        yield pool


@pytest.fixture(scope="session")
def interpret(interpreter: ProcessPoolExecutor) -> Interpreter:
    """Convert a case with the interpreted kernels, into a poisoned output."""

    def run(
        case: Case,
        dtype: torch.dtype = torch.bool,
        *,
        packed: bool = False,
        multiprocessors: int = 1,
        layout: str = "contiguous",
        out: Tensor | None = None,
    ) -> Tensor:
        from tests.kernels.interpreted import convert_into  # named here, run there

        if out is None:
            out = poisoned(case.expected(dtype, packed=packed), layout)
        ratios = case.ratio if isinstance(case.ratio, Tensor) else None
        ratio = 0.0 if isinstance(case.ratio, Tensor) else case.ratio
        work = interpreter.submit(convert_into, out, case.images, case.shifts, ratios, ratio, packed, multiprocessors)
        return work.result()

    return run
