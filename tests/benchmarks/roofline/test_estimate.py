"""Tests of the lower bounds on the time of a conversion."""

from __future__ import annotations

import pytest
import torch

from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches
from benchmarks.roofline.estimate import (
    H100,
    Gpu,
    copy_seconds,
    issue_seconds,
    kernel_costs,
    reading_instructions,
    writing_instructions,
)
from benchmarks.roofline.loops import Loop, loops

PAIRS = [("float32", "float32"), ("uint8", "float32"), ("uint8", "bfloat16"), ("uint8", "bool"), ("uint8", "packed")]


@pytest.mark.parametrize(
    ("input", "format", "microseconds"),
    [(*pair, time) for pair, time in zip(PAIRS, (1.27, 1.12, 0.59, 0.32, 0.084))],
)
def test_copy_seconds_equal_bytes_divided_by_the_copy_rate(input: str, format: str, microseconds: float) -> None:
    assert copy_seconds(input, format, H100) * 1e6 == pytest.approx(microseconds, rel=0.01)


def test_issue_seconds_equal_a_calculation_by_hand() -> None:
    # 224 * 224 pixels are 1568 warps, which execute 15680 instructions. The GPU issues 2 * 4 instructions per cycle.
    gpu = Gpu("two multiprocessors", "sm_90", multiprocessors=2, issue_rate=4, clock=1e6, copy_rate=1.0)
    assert issue_seconds(10, gpu) == pytest.approx(15680 / 8 / 1e6)


def test_reading_instructions_are_those_of_the_shortest_loop() -> None:
    wide = Loop("measure", ["LDG.E.64 R1"] * 3 + ["VIMNMX R1"] * 21)  # 24 instructions read 8 pixels of 3 channels
    narrow = Loop("measure", ["LDG.E.U8 R1"] * 3 + ["VIMNMX R1"] * 3)  # 6 instructions read 1 pixel
    other = Loop("_measure_border", ["LDG.E.U8 R1"] * 3)
    assert reading_instructions([narrow, wide, other], "uint8") == 3
    assert reading_instructions([other], "uint8") is None


def test_writing_counts_an_inner_loop_once_per_timestep() -> None:
    timestep = Loop("_emit_pixels", ["STG.E.128 R1"] * 2 + ["FADD R1"] * 8)  # ON and OFF of 4 pixels
    tile = Loop("_emit_pixels", ["IADD3 R1"] * 12, [timestep])
    assert writing_instructions([tile], "float32") == (12 + 8 * 10) / 4


def test_packed_events_are_stored_once_after_the_timesteps() -> None:
    timestep = Loop("emit_swar", ["LOP3 R1"] * 10)
    tile = Loop("emit_swar", ["STG.E R1"] * 4 + ["IADD3 R1"] * 6, [timestep])  # 16 bytes: ON and OFF of 8 pixels
    assert writing_instructions([tile], "packed") == (10 + 8 * 10) / 8
    assert writing_instructions([Loop("write_silent_levels", ["STG.E R1"])], "packed") is None


@pytest.mark.parametrize(("input", "format"), [("float32", "float32"), ("uint8", "packed")])
def test_large_batches_use_one_kernel_and_one_image_uses_two(input: str, format: str) -> None:
    (whole,) = kernel_costs(input, format, 128, H100)
    measure, emit = kernel_costs(input, format, 1, H100)
    assert whole.reading is not None
    assert whole.writing is not None
    assert measure.reading is not None
    assert emit.writing is not None
    assert measure.writing is None
    assert emit.reading is None
    assert 10 < whole.reading < whole.writing < 1000


@pytest.mark.parametrize(("input", "format"), PAIRS)
def test_loads_and_stores_of_a_loop_cover_its_block(input: str, format: str) -> None:
    images = torch.zeros(1, 3, 224, 224, dtype=getattr(torch, input)).expand(128, -1, -1, -1)
    dtype = torch.uint8 if format == "packed" else getattr(torch, format)
    (launch,) = launches(images, dtype, packed=format == "packed")
    code = loops(compile_launch(launch, TARGETS["sm_90"]))
    arguments = launch.arguments
    threads = 32 * arguments["num_warps"]
    reading = [loop for loop in code if loop.function == "measure"]
    fastest = min(reading, key=lambda loop: reading_instructions([loop], input) or 0)
    read = arguments["MEASURE_BLOCK_Y"] * arguments["MEASURE_BLOCK_X"] * 3 * images.element_size()
    assert sum(fastest.loads) * threads == read
    writing = [loop for loop in code if loop.function in ("emit_swar", "_emit_pixels")]
    fastest = min(writing, key=lambda loop: writing_instructions([loop], format) or 0)
    stored = sum(fastest.stores) + 8 * sum(width for inner in fastest.inner for width in inner.stores)
    pixels = arguments["EMIT_BLOCK_Y"] * arguments["EMIT_BLOCK_X"] * (4 if arguments["SWAR"] else 1)
    assert stored * threads == pixels * 2 * (1 if format == "packed" else 8 * dtype.itemsize)
