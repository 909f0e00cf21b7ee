"""Host time of calls, measured with a stub of the CUDA driver."""

from __future__ import annotations

import json
import subprocess
import sys
from unittest import mock

import pytest

from benchmarks.harness import stub_driver

KEYS = {
    *("batch", "single", "out", "augmented", "augmented_drawn"),
    *("unpack", "module_train", "module_eval", "official"),
}


@pytest.mark.slow
def test_json_has_the_time_of_every_case() -> None:
    pytest.importorskip("triton.backends.nvidia")
    command = [sys.executable, "-m", "benchmarks.host_time", "--json"]
    times = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert times.keys() == KEYS
    assert all(0 < microseconds < 1e5 for microseconds in times.values())


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    with mock.patch("shutil.which", return_value=None), pytest.raises(stub_driver.NoCompilerError, match="install gcc"):
        stub_driver.run("benchmarks.host_time")
