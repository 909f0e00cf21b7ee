"""Floors of a conversion, from its bytes and its instructions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.roofline.ahead_of_time import launches
from benchmarks.roofline.floors import H100, Gpu, byte_floor, figures, issue_floor, reading_phase, writing_phase
from benchmarks.roofline.instructions import Instruction, Loop

PAIRS = [("float32", "float32"), ("uint8", "float32"), ("uint8", "bfloat16"), ("uint8", "bool"), ("uint8", "packed")]


@pytest.mark.parametrize(
    ("input", "format", "microseconds"),
    [*((*pair, time) for pair, time in zip(PAIRS, (1.27, 1.12, 0.59, 0.32, 0.084)))],
)
def test_byte_floors_are_those_of_the_design(input: str, format: str, microseconds: float) -> None:
    assert byte_floor(input, format, H100) * 1e6 == pytest.approx(microseconds, rel=0.01)


def test_issue_floor_by_hand() -> None:
    # 224 * 224 pixels are 1568 warps; 10 instructions each are 15680, of which 2 * 4 are issued in a cycle.
    gpu = Gpu("two multiprocessors", "sm_90", multiprocessors=2, issued=4, clock=1e6, copied=1.0)
    assert issue_floor(10, gpu) == pytest.approx(15680 / 8 / 1e6)


def loop(function: str, texts: list[str], inner: list[Loop] | None = None) -> Loop:
    own = [Instruction(text, ("kernel", "emit", function)) for text in texts]
    return Loop(0, 0, own, inner or [])


def test_reading_takes_the_shorter_of_two_loops() -> None:
    wide = loop("measure", ["LDG.E.64 R1"] * 3 + ["VIMNMX R1"] * 21)  # 8 pixels of 3 channels in 24 instructions
    narrow = loop("measure", ["LDG.E.U8 R1"] * 3 + ["VIMNMX R1"] * 3)  # 1 pixel in 6
    other = loop("_measure_border", ["LDG.E.U8 R1"] * 3)
    phase = reading_phase([narrow, wide, other], "uint8")
    assert phase is not None
    assert phase.instructions == 3
    assert phase.accesses == Counter({8: 3})
    assert reading_phase([other], "uint8") is None


def test_writing_goes_over_the_timesteps() -> None:
    timestep = loop("_emit_pixels", ["STG.E.128 R1"] * 2 + ["FADD R1"] * 8)  # ON and OFF of 4 pixels
    tile = loop("_emit_pixels", ["IADD3 R1"] * 12, [timestep])
    phase = writing_phase([tile], "float32")
    assert phase is not None
    assert phase.instructions == (12 + 8 * 10) / 4
    assert phase.accesses == Counter({16: 16})


def test_packed_events_are_written_after_the_timesteps() -> None:
    timestep = loop("emit_words", ["LOP3 R1"] * 10)
    tile = loop("emit_words", ["STG.E R1"] * 4 + ["IADD3 R1"] * 6, [timestep])  # 16 bytes: ON and OFF of 8 pixels
    phase = writing_phase([tile], "packed")
    assert phase is not None
    assert phase.instructions == (10 + 8 * 10) / 8
    assert writing_phase([loop("write_silent_levels", ["STG.E R1"])], "packed") is None


@pytest.mark.parametrize(("input", "format"), PAIRS)
def test_the_kernels_have_both_phases(input: str, format: str, tmp_path: Path) -> None:
    (whole,) = figures(input, format, 128, H100, tmp_path)
    measure, emit = figures(input, format, 1, H100, tmp_path)
    assert whole.reading is not None
    assert whole.writing is not None
    assert measure.reading is not None
    assert emit.writing is not None
    assert measure.writing is None
    assert emit.reading is None
    assert whole.instructions == whole.reading.instructions + whole.writing.instructions
    assert 10 < whole.reading.instructions < whole.writing.instructions < 1000


@pytest.mark.parametrize(("input", "format"), PAIRS)
def test_accesses_fit_the_blocks_that_are_launched(input: str, format: str, tmp_path: Path) -> None:
    images = torch.zeros(1, 3, 224, 224, dtype=getattr(torch, input)).expand(128, -1, -1, -1)
    dtype = torch.uint8 if format == "packed" else getattr(torch, format)
    (launch,) = launches(images, dtype, packed=format == "packed")
    (kernel,) = figures(input, format, 128, H100, tmp_path)
    assert kernel.reading is not None
    assert kernel.writing is not None
    arguments = launch.arguments
    threads = 32 * arguments["num_warps"]
    read = sum(width * count for width, count in kernel.reading.accesses.items()) * threads
    assert read == arguments["MEASURE_Y"] * arguments["MEASURE_X"] * 3 * images.element_size()
    written = sum(width * count for width, count in kernel.writing.accesses.items()) * threads
    pixels = arguments["EMIT_Y"] * arguments["EMIT_X"] * (4 if arguments["WORDS"] else 1)
    assert written == pixels * 2 * (1 if format == "packed" else 8 * dtype.itemsize)
