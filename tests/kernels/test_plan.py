"""Launch plans: what reaches the driver equals Triton's usual launch, and a plan is used only where it is valid.

The launches run with a stub of the CUDA driver, in a process of its own. It needs a C compiler.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.harness import stub_driver

pytest.importorskip("triton.backends.nvidia")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Return the results of ``stubbed.py``."""
    try:
        return json.loads(stub_driver.run("tests.kernels.stubbed"))
    except stub_driver.NoCompilerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case", ["uint8 to bool", "misaligned", "two launches", "strided and packed", "unpacked"])
def test_plan_launches_what_triton_launches(results: dict[str, Any], case: str) -> None:
    compared = results["compared"][case]
    assert len(compared["usual"]) == (2 if case == "two launches" else 1)
    assert compared["first"] == compared["usual"]
    assert compared["again"] == compared["usual"]


def test_plan_follows_the_device_and_the_stream(results: dict[str, Any]) -> None:
    (stream, plans), *others = results["several_devices"]
    assert others == [[stream + 1, plans + 1], [stream, plans + 1]]


def test_launch_hooks_are_called(results: dict[str, Any]) -> None:
    assert results["hooked"] == ["unpack_kernel"]


def test_another_setting_makes_another_plan(results: dict[str, Any]) -> None:
    assert results["settings"] == 2


def test_another_alignment_makes_another_plan(results: dict[str, Any]) -> None:
    assert results["alignments"] == 2


def test_plan_keeps_no_tensor_alive(results: dict[str, Any]) -> None:
    assert results["kept_alive"] == 0


def test_threads_share_a_plan(results: dict[str, Any]) -> None:
    assert results["threads"]
