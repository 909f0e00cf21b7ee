"""The commands and examples of ``docs/recordings-and-video.md`` run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tonic.datasets

from tests.i2e_triton.cli.conftest import I2E, i2e
from tests.i2e_triton.recordings.files import random_events, write_recording
from tests.i2e_triton.video.clips import moving_photograph, write_clip

__all__ = ["i2e"]
TEXT = (Path(__file__).parents[3] / "docs" / "recordings-and-video.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_commands_and_examples_run(i2e: I2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)
    write_recording(tmp_path / "recording.aedat4", random_events(1000, 200_000))
    for name in ("cat", "dog"):
        for number in range(10):
            write_recording(tmp_path / "recordings" / name / f"{number}.raw", random_events(100, 10_000, number))
    events = random_events(100, 10_000)
    events["x"] %= 34
    write_recording(tmp_path / "data" / "NMNIST" / "Test" / "3" / "1.bin", events)
    write_clip(tmp_path / "clip.mp4", moving_photograph(3), codec="libx264", stored_as="yuv420p")
    assert [language for language, _ in BLOCKS] == ["sh", "python", "python", "sh", "python"]
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "recordings-and-video.md", "exec"), {})
            continue
        for command in block.splitlines():
            name, *arguments = shlex.split(command)
            assert name == "i2e"
            assert i2e(*arguments).status == 0, command
