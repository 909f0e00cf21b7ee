"""The unpack kernel writes each bit of its bytes to its timestep, on each backend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import EVENT_DTYPES, LAYOUTS, arrange, unpacked
from tests.kernels.conftest import Backend
from tests.kernels.test_compile import NVIDIA
from tests.kernels.test_convert import PHASES
from tests.samples import assert_same_events, noise

EXAMPLES = {"interpreted": 60, "compiled": 8, "gpu": 100}


def test_equals_the_bits(backend: Backend) -> None:
    @settings(max_examples=EXAMPLES[backend.name], phases=PHASES)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(st.integers(1, 3), st.just(2), st.integers(1, 40), st.integers(1, 40)),
        timesteps=st.integers(1, 8),
        dtype=st.sampled_from(EVENT_DTYPES),
        layout=st.sampled_from(LAYOUTS),
        offset_dtype=st.sampled_from([None, "int64"]) if backend.name != "compiled" else st.none(),
        target=st.sampled_from(NVIDIA),
    )
    def check(
        seed: int, shape: tuple[int, ...], timesteps: int, dtype: torch.dtype, layout: str, **options: Any
    ) -> None:
        packed = arrange(noise(shape, torch.uint8, torch.Generator().manual_seed(seed)), layout)
        expected = unpacked(packed, timesteps, dtype)
        assert_same_events(backend.unpack(packed, expected, **options), expected)

    check()


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 1), (5, 2, 1, 97), (1, 2, 97, 1), (2, 19, 23), (3, 2, 16, 16)])
def test_every_dtype_and_shape(
    backend: Backend, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> None:
    packed = noise(shape, torch.uint8, generator)
    # The second tensor is not contiguous: it has gaps between its rows.
    for layout in (packed, torch.cat([packed, packed], dim=-1)[..., : shape[-1]]):
        expected = unpacked(layout, 7, dtype)
        assert_same_events(backend.unpack(layout, expected), expected)


def test_bytes_at_any_address(backend: Backend, generator: torch.Generator) -> None:
    packed = noise((2 * 12 * 16 + 3,), torch.uint8, generator)[3:].view(1, 2, 12, 16)
    expected = unpacked(packed, 5, torch.float32)
    assert_same_events(backend.unpack(packed, expected), expected)
