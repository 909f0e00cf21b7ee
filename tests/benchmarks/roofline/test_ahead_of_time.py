"""Tests of recorded kernel launches and of their compilation without a GPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks.roofline.ahead_of_time import TARGETS, compile_launch, launches, machine_code, resources
from benchmarks.roofline.loops import loops


def test_launches_record_the_arguments_of_a_conversion() -> None:
    images = torch.zeros(2, 5, 33, 47, dtype=torch.float16).transpose(2, 3)
    for launch in launches(images, torch.bfloat16, timesteps=3):
        planes = launch.arguments["planes"]
        assert planes.ptr.dtype == torch.float16
        assert (planes.height, planes.width) == (47, 33)
        if "images" in launch.arguments:
            assert launch.arguments["images"].ptr.dtype == images.dtype
            assert launch.arguments["images"].stride_x == 47
        if "events" in launch.arguments:
            assert launch.arguments["events"].ptr.bytes == 3 * 2 * 2 * 47 * 33 * 2
            assert launch.arguments["shifts"].timesteps == 3


@pytest.mark.parametrize(("offset", "width"), [(0, 8), (1, 1)])
def test_width_of_loads_depends_on_the_alignment_of_the_image(offset: int, width: int) -> None:
    """A load reads eight pixels if the image starts at a multiple of 16 bytes, otherwise one pixel."""
    memory = torch.zeros(3 * 224 * 224 + 16, dtype=torch.uint8)
    start = -memory.data_ptr() % 16 + offset
    image = memory[start : start + 3 * 224 * 224].view(1, 3, 224, 224)
    (launch,) = launches(image.expand(128, -1, -1, -1), torch.uint8)
    found = loops(compile_launch(launch, TARGETS["sm_90"]))
    (reading,) = [loop for loop in found if loop.function == "measure"]
    assert set(reading.loads) == {width}


def test_machine_code_and_resources_are_read() -> None:
    (launch,) = launches(torch.zeros(1, 1, 8, 8).expand(200, -1, -1, -1), torch.float32)
    kernel = compile_launch(launch, TARGETS["sm_80"])
    code = machine_code(kernel)
    assert any(line.endswith("EXIT") for line in code)
    assert any(line.startswith("LDG.E") for line in code)
    assert not any("/*" in line or ";" in line for line in code)
    usage = resources(kernel)
    assert set(usage) == {"REG", "STACK", "SHARED", "LOCAL"}
    assert 8 <= usage["REG"] <= 255
