from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
import torch
from torch import Tensor

import i2e_triton
from i2e_triton.cli import info, options, probe
from i2e_triton.install_hints import triton_command
from i2e_triton.ops import operator
from tests.i2e_triton.cli.conftest import I2E

GPU = SimpleNamespace(name="NVIDIA Imaginary", major=9, minor=0, total_memory=80 * 2**30)
HAS_TRITON = importlib.util.find_spec("triton") is not None


def facts_in(text: str) -> dict[str, str]:
    """Parse the report: a name in the first 17 columns, then its value; further lines of a value are indented."""
    facts: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        head, value = line[:17].strip(), line[17:]
        name = head or name
        facts[name] = value if head else facts[name] + "\n" + value
    return facts


@pytest.fixture
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there is a GPU, and that the kernels load."""
    monkeypatch.setattr(options, "load_kernels", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: GPU)


@pytest.fixture
def probe_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Replace the Python interpreter that runs the probe by a shell script."""

    def install(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


@pytest.fixture
def fast_probe(probe_script: Callable[[str], None]) -> None:
    """Replace the probe by a script that prints its argument."""
    probe_script('echo "tried $3"')


@pytest.mark.usefixtures("no_devices", "fast_probe")
def test_versions_and_platform(i2e: I2E) -> None:
    finished = i2e("info")
    assert (finished.status, finished.err) == (0, "")
    facts = facts_in(finished.out)
    assert facts["i2e-triton"] == i2e_triton.__version__
    assert facts["python"].split()[0] == platform.python_version()
    assert facts["platform"] == platform.platform()
    assert facts["torch"] == torch.__version__
    assert facts["numpy"] == np.__version__
    assert facts["pillow"] == PIL.__version__
    assert facts["torchvision"] == importlib.metadata.version("torchvision")
    assert facts["CUDA runtime"].split()[0] == (torch.version.cuda or "none")
    assert facts["CUDA devices"] == "none"
    assert facts["CPU code path"] == f"vectorised PyTorch, {torch.get_num_threads()} threads"
    if HAS_TRITON:
        assert facts["triton"] == importlib.metadata.version("triton")


@pytest.mark.parametrize(
    ("script", "reported"),
    [
        ("echo 'LLVM ERROR: out of registers' >&2; kill -ABRT $$", "no: exit status -6\nLLVM ERROR: out of registers"),
        ("exec sleep 60", "no: no result after 0.2 s"),
    ],
)
@pytest.mark.usefixtures("one_gpu")
def test_crash_and_timeout_of_a_conversion_are_reported(
    script: str, reported: str, i2e: I2E, probe_script: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "_TIMEOUT_S", 0.2 if "sleep" in script else 60)
    probe_script(script)
    finished = i2e("info")
    assert finished.status == 0
    assert facts_in(finished.out)["cuda:0 converts"] == reported


@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
def test_old_triton_is_reported_with_the_error_of_a_conversion(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    monkeypatch.setattr(triton, "__version__", "3.2.0")
    for name in [name for name in sys.modules if name.startswith("i2e_triton.kernels")]:
        monkeypatch.delitem(sys.modules, name)
    operator.load_kernels.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: GPU)
    facts = facts_in(i2e("info").out)
    with pytest.raises(
        ValueError, match=r"need Triton 3\.6 or newer, found 3\.2\.0: pip install --upgrade torch"
    ) as raised:
        operator.load_kernels()
    assert facts["CUDA code path"] == f"not available: {raised.value}"
    assert facts["--device auto"] == "the CPU"
    assert "cuda:0 converts" not in facts


@pytest.mark.usefixtures("no_devices")
def test_triton_that_cannot_be_imported_is_reported(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "HAS_TRITON", True)
    monkeypatch.setitem(sys.modules, "triton", None)
    finished = i2e("info")
    assert finished.status == 0
    assert facts_in(finished.out)["triton"].startswith("cannot be imported: ")


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
@pytest.mark.usefixtures("no_devices")
def test_platforms_without_triton_are_reported(i2e: I2E, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(info, "HAS_TRITON", False)
    monkeypatch.setattr(operator, "HAS_TRITON", False)
    operator.load_kernels.cache_clear()
    facts = facts_in(i2e("info").out)
    assert facts["triton"] == "not installed"
    problem = "not available: events cannot be computed on a CUDA device without Triton:"
    assert facts["CUDA code path"].startswith(problem)
    assert triton_command() in facts["CUDA code path"]
    assert ("it exists for Linux only (on Windows, use WSL)" in facts["CUDA code path"]) == (platform != "linux")
    assert facts["--device auto"] == "the CPU"


@pytest.mark.usefixtures("one_gpu", "fast_probe")
def test_devices_are_described_and_probed(i2e: I2E) -> None:
    facts = facts_in(i2e("info").out)
    assert facts["cuda:0"] == "NVIDIA Imaginary, sm_90, 80.0 GiB"
    assert "CUDA devices" not in facts
    assert facts["CUDA code path"] == "fused Triton kernel"
    assert facts["--device auto"] == "the GPU"
    assert facts["cuda:0 converts"] == "tried cuda:0"


@pytest.mark.usefixtures("one_gpu", "fast_probe")
def test_rocm_is_reported(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    facts = facts_in(i2e("info").out)
    assert facts["CUDA runtime"] == "none (ROCm 6.4)"
    assert facts["CUDA code path"] == "fused Triton kernel, never tested on an AMD GPU"


@pytest.mark.usefixtures("one_gpu", "fast_probe")
def test_problems_of_devices_and_packages_are_reported(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> object:
        raise RuntimeError(f"CUDA error: {device} is on fire")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    monkeypatch.setattr(info, "_PACKAGES", ("no-such-package",))
    facts = facts_in(i2e("info").out)
    assert facts["cuda:0"] == "cannot be used: CUDA error: cuda:0 is on fire"
    assert facts["no-such-package"] == "not installed"


@pytest.mark.usefixtures("no_devices", "fast_probe")
def test_only_triton_and_cuda_variables_are_printed(i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(info.os.environ):
        if name.startswith(("TRITON_", "CUDA_", "PTXAS")):
            monkeypatch.delenv(name)
    assert facts_in(i2e("info").out)["environment"] == "no TRITON_ or CUDA_ variables"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    out = i2e("info").out
    assert facts_in(out)["environment"] == "CUDA_VISIBLE_DEVICES="
    assert "hush" not in out


def test_probe_compares_the_events_with_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.convert_on("cpu") == "ok, the same events as on the CPU"
    convert = probe.convert
    calls: list[int] = []

    def wrong_at_the_second_call(images: Tensor, dtype: torch.dtype) -> Tensor:
        events = convert(images, dtype=dtype)
        calls.append(1)
        if len(calls) == 2:
            events[3, 2, 1, 60, 66] ^= True
        return events

    monkeypatch.setattr(probe, "convert", wrong_at_the_second_call)
    assert probe.convert_on("cpu") == f"WRONG: 1 of {8 * 4 * 2 * 61 * 67} events differ from the CPU"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_info_on_a_gpu(i2e: I2E) -> None:
    facts = facts_in(i2e("info").out)
    assert facts["cuda:0"].startswith(torch.cuda.get_device_name(0))
    assert facts["cuda:0 converts"] == "ok, the same events as on the CPU"
    assert facts["CUDA driver"].startswith("up to CUDA ")
