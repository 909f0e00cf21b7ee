"""The section of the report that comes from compiling alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.report.on_paper import on_paper
from benchmarks.roofline.floors import H100, byte_floor, figures, issue_floor


@pytest.mark.parametrize("gpu", [H100, dataclasses.replace(H100, multiprocessors=66, clock=1e9, copied=1e12)])
def test_every_figure_is_worked_out(gpu: object, tmp_path: Path) -> None:
    assert isinstance(gpu, type(H100))
    _, resources, assumptions, floors = on_paper(gpu, tmp_path)
    (kernel,) = figures("uint8", "packed", 128, gpu, tmp_path)
    (line,) = [line for line in resources.splitlines() if line.startswith("| uint8 → packed, 128 images |")]
    for part in (f"`{kernel.kernel}`", kernel.registers, f"{kernel.shared} B", f"{kernel.spilled} B"):
        assert f"| {part} |" in line
    (line,) = [line for line in floors.splitlines() if line.startswith("| uint8 → packed |")]
    issue, copy = issue_floor(kernel.instructions, gpu), byte_floor("uint8", "packed", gpu)
    assert f"| {issue * 1e6:.3f} µs | {copy * 1e6:.3f} µs | {min(1, copy / issue):.0%} |" in line
    assert f"{gpu.clock / 1e9:.3f} GHz" in assumptions
    assert f"{gpu.copied / 1e12:.1f} TB/s" in assumptions


def test_one_image_takes_two_kernels(tmp_path: Path) -> None:
    _, resources, *_ = on_paper(H100, tmp_path)
    lines = [line for line in resources.splitlines() if line.startswith("| uint8 → bool, 1 image |")]
    assert ["`measure_kernel`" in line for line in lines] == [True, False]
    assert ["`emit_kernel`" in line for line in lines] == [False, True]
    assert lines[0].count("–") == lines[1].count("–") == 1, "one reads images, the other writes events"
