"""The unpack kernel, run in Triton's interpreter, writes each bit of its bytes to its timestep."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts
from tests.cases import EVENT_DTYPES, LAYOUTS, Case, arrange, poisoned, unpacked
from tests.samples import assert_same_events, noise, photograph


def unpack_interpreted(
    interpreter: ProcessPoolExecutor, packed: Tensor, timesteps: int, dtype: torch.dtype, offset_dtype: str = "int32"
) -> tuple[Tensor, Tensor]:
    """Unpack with the interpreted kernel into a poisoned output; return it and the expected events."""
    # Only to send the function's name: it runs in the other process.
    from tests.kernels.interpreted import unpack_into

    expected = unpacked(packed, timesteps, dtype)
    return interpreter.submit(unpack_into, poisoned(expected), packed, offset_dtype).result(), expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.just(2), st.integers(1, 40), st.integers(1, 40)),
    timesteps=st.integers(1, 8),
    dtype=st.sampled_from(EVENT_DTYPES),
    layout=st.sampled_from(LAYOUTS),
    offset_dtype=st.sampled_from(["int32", "int64"]),
)
def test_equals_the_bits(
    interpreter: ProcessPoolExecutor,
    seed: int,
    shape: tuple[int, ...],
    timesteps: int,
    dtype: torch.dtype,
    layout: str,
    offset_dtype: str,
) -> None:
    packed = arrange(noise(shape, torch.uint8, torch.Generator().manual_seed(seed)), layout)
    assert_same_events(*unpack_interpreted(interpreter, packed, timesteps, dtype, offset_dtype))


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 2, 1, 1), (2, 1, 1), (2, 37, 41), (5, 2, 1, 977), (1, 2, 977, 1), (3, 2, 64, 64), (2, 2, 67, 131)]
)
def test_every_dtype_and_shape(
    interpreter: ProcessPoolExecutor, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> None:
    packed = noise(shape, torch.uint8, generator)
    # The second tensor is not contiguous: it has gaps between its rows.
    for layout in (packed, torch.cat([packed, packed], dim=-1)[..., : shape[-1]]):
        assert_same_events(*unpack_interpreted(interpreter, layout, 8, dtype))


def test_bytes_at_any_address(interpreter: ProcessPoolExecutor, generator: torch.Generator) -> None:
    memory = noise((2 * 12 * 16 + 3,), torch.uint8, generator)
    assert_same_events(*unpack_interpreted(interpreter, memory[3:].view(1, 2, 12, 16), 5, torch.float32))


def test_events_of_a_photograph(interpreter: ProcessPoolExecutor) -> None:
    case = Case(photograph("coffee")[None, :, 100:200, 100:220], canonical_shifts(), 0.12)
    events, _ = unpack_interpreted(interpreter, case.expected(packed=True), 8, torch.float32)
    assert 0.003 < events.mean() < 0.3
    assert_same_events(events, case.expected(torch.float32))
