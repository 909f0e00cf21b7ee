from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from i2e_triton import convert, video
from i2e_triton.datasets import EventDataset
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.video.clips import moving_photograph, write_clip


def rows_of(path: Path) -> torch.Tensor:
    dataset = EventDataset(path, packed=True)
    return torch.stack([dataset[row][0] for row in range(len(dataset))])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mkv", moving_photograph(6))


def test_video_is_converted_and_read_back(i2e: I2E, clip: Path, tmp_path: Path) -> None:
    done = i2e("video", clip, "-o", tmp_path / "a.parquet", "--ratio", 0.1, "--timesteps", 4)
    pictures = torch.stack([torch.from_numpy(picture) for picture in moving_photograph(6)]).movedim(-1, 1)
    expected = convert(pictures, 0.1, timesteps=4)
    assert torch.equal(rows_of(tmp_path / "a.parquet"), convert(pictures, 0.1, timesteps=4, packed=True))
    events = int(expected.sum())
    rate = f"{events / expected.numel():.2%}"
    assert done.out.endswith(f"a.parquet: 6 frames, 0.240 s, {events:,} events, rate {rate}\n")
    assert (done.status, done.err) == (0, "")


def test_first_frames_and_differences_between_frames(i2e: I2E, clip: Path, tmp_path: Path) -> None:
    i2e("video", clip, "-o", tmp_path / "a.parquet", "--between-frames", "--frames", 4)
    frames = list(video.VideoReader(clip))[:4]
    expected = [each.packed for each in video.events(frames, between_frames=True)]
    assert EventDataset(tmp_path / "a.parquet").timesteps == 1
    assert torch.equal(rows_of(tmp_path / "a.parquet"), torch.stack(expected))


def test_a_damaged_video_is_written_and_reported(i2e: I2E, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_photograph(100))
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    done = i2e("video", clip, "-o", tmp_path / "a.parquet")
    assert done.status == 1
    assert "clip.mkv: breaks off after" in done.err
    assert "frames that could be decoded are converted" in done.err
    assert 30 < len(EventDataset(tmp_path / "a.parquet")) < 70


def test_ctrl_c_ends_the_video(i2e: I2E, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = video.VideoReader._decoded

    def with_signal(reader: video.VideoReader) -> object:
        for number, frame in enumerate(decoded(reader)):
            if number == 3:
                signal.raise_signal(signal.SIGINT)
            yield frame

    monkeypatch.setattr(video.VideoReader, "_decoded", with_signal)
    done = i2e("video", clip, "-o", tmp_path / "a.parquet")
    assert done.status == 0
    assert len(EventDataset(tmp_path / "a.parquet")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mkv", "-o", "a.gif"], "missing.mkv: cannot be opened"),
        (["-o", "a.gif"], "either IN or --camera N"),
        (["clip.mkv", "--camera", "0", "-o", "a.gif"], "either IN or --camera N"),
        (["clip.mkv", "-o", "a.npz"], "suffix must be one of"),
        (["clip.mkv", "-o", "clip.mkv.mp4", "--device", "tpu"], "must be auto, cpu, cuda"),
        (["--camera", "97", "-o", "a.gif"], "camera 97: cannot be opened"),
    ],
)
def test_errors(i2e: I2E, clip: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(clip.parent)
    done = i2e("video", *arguments)
    assert done.status in (1, 2)
    assert message in " ".join(done.err.split())
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mkv"]


def test_the_video_itself_is_not_overwritten(i2e: I2E, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_photograph(2), codec="libx264", stored_as="yuv420p")
    content = clip.read_bytes()
    assert i2e("video", clip, "-o", clip).status == 2
    assert clip.read_bytes() == content
