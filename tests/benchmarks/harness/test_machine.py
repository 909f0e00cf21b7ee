"""Tests of the fields of a row that describe the machine. They do not contain its host name."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.harness import machine


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor: 0\nmodel name\t: Intel(R) Xeon(R) 8481C CPU\nmodel\t: 143\n", "Intel(R) Xeon(R) 8481C CPU"),
        ("cpu family: 6\nmodel: 17\nmodel name: AMD EPYC\n\nmodel name: other\n", "AMD EPYC (family 6, model 17)"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", platform.machine()),
    ],
)
def test_cpu_model_is_read_from_cpuinfo(cpuinfo: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert machine.cpu_model(file) == expected
    assert machine.cpu_model(tmp_path / "missing") == platform.machine()


def test_slug_is_lower_case_with_hyphens() -> None:
    assert machine.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert machine.slug("Intel(R) Xeon(R) CPU @ 2.00GHz, 2 cores") == "intel-r-xeon-r-cpu-2-00ghz-2-cores"


def test_environment_describes_the_machine() -> None:
    fields = machine.environment("cpu")
    assert fields["device"] == fields["cpu"] == machine.device_name("cpu")
    assert fields["kind"] == "cpu"
    assert fields["driver"] is None
    assert fields["torch"] == torch.__version__
    assert fields["python"] == platform.python_version()
    assert str(fields["date"]).endswith("+00:00")
    assert isinstance(fields["load"], float)
    assert not [value for value in fields.values() if platform.node() in str(value)], "the host name is private"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    result = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_commit_is_dirty_if_code_changes_but_not_if_outputs_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)

    def commit() -> dict[str, str | bool | None]:
        machine._run.cache_clear()
        return machine.commit()

    assert commit() == {"commit": None, "dirty": None}
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit() == {"commit": head, "dirty": False}
    for output in ("benchmarks/results/a.json", "benchmarks/plots/a.png", "benchmarks/REPORT.md"):
        path = tmp_path / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("output of a run")
    assert commit() == {"commit": head, "dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert commit() == {"commit": head, "dirty": True}


def test_last_level_cache_is_plausible() -> None:
    assert 256 * 1024 <= machine.last_level_cache("cpu") <= 4 * 2**30
