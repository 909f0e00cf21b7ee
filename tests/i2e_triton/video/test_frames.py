from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from i2e_triton.video import VideoReader
from tests.i2e_triton.video.clips import HEIGHT, WIDTH, moving_photograph, write_clip

#: The rotation by 90 degrees in the header of a track: a matrix of 16.16 fixed-point numbers.
_ROTATED = b"".join(number.to_bytes(4, "big", signed=True) for number in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def h264_clip(path: Path, frames: int) -> Path:
    """Write a video in which at most 10 frames depend on a damaged one."""
    return write_clip(path, moving_photograph(frames), codec="libx264", stored_as="yuv420p", options={"g": "10"})


def test_frames_and_times_are_those_of_the_file(tmp_path: Path) -> None:
    pictures, times = moving_photograph(5), [0, 40, 55, 300, 310]
    with VideoReader(write_clip(tmp_path / "a.mkv", pictures, times_ms=times)) as reader:
        frames = list(reader)
    assert [frame.time_us for frame in frames] == [1000 * time for time in times]
    for picture, frame in zip(pictures, frames):
        assert np.array_equal(frame.image.movedim(0, -1).numpy(), picture)
    assert reader.problem is None


@pytest.mark.parametrize("width", [17, 61])
def test_rows_of_any_length_are_read(width: int, tmp_path: Path) -> None:
    pictures = [np.ascontiguousarray(picture[:, :width]) for picture in moving_photograph(2)]
    frames = list(VideoReader(write_clip(tmp_path / "a.mkv", pictures)))
    for picture, frame in zip(pictures, frames):
        assert np.array_equal(frame.image.movedim(0, -1).numpy(), picture)


def test_times_begin_at_the_first_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", moving_photograph(2), times_ms=[5000, 5100])
    assert [frame.time_us for frame in VideoReader(clip)] == [0, 100_000]


def test_grey_video_has_one_channel(tmp_path: Path) -> None:
    grey = [picture[..., 0] for picture in moving_photograph(2)]
    frames = list(VideoReader(write_clip(tmp_path / "a.mkv", grey, stored_as="gray", given_as="gray")))
    assert all(np.array_equal(frame.image[0].numpy(), picture) for frame, picture in zip(frames, grey))


@pytest.mark.parametrize(("stored_as", "channels"), [("yuv420p10le", 3), ("gray10le", 1)])
def test_10_bit_video_keeps_its_precision(tmp_path: Path, stored_as: str, channels: int) -> None:
    levels = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    clip = write_clip(tmp_path / "a.mkv", [levels], stored_as=stored_as, given_as="gray16le")
    (frame,) = VideoReader(clip)
    assert frame.image.shape == (channels, HEIGHT, WIDTH)
    assert frame.image.dtype == torch.float32
    assert len(frame.image[0].unique()) > 512  # 8 bits have 256 levels, 10 bits in the range of video have 877
    assert (frame.image[0] - torch.from_numpy(levels / 65535)).abs().max() < 0.01


def test_frames_are_rotated_as_the_container_says(tmp_path: Path) -> None:
    clip = h264_clip(tmp_path / "a.mp4", 2)
    upright = [frame.image for frame in VideoReader(clip)]
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + len(_ROTATED)] = _ROTATED
    clip.write_bytes(content)
    rotated = [frame.image for frame in VideoReader(clip)]
    assert rotated[0].shape == (3, WIDTH, HEIGHT)
    # The matrix rotates clockwise: the left column becomes the top row.
    assert all(torch.equal(after, before.rot90(-1, (-2, -1))) for before, after in zip(upright, rotated))


def test_a_damaged_packet_is_left_out_and_reported(tmp_path: Path) -> None:
    clip = h264_clip(tmp_path / "a.mp4", 60)
    intact = list(VideoReader(clip))
    content = bytearray(clip.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    clip.write_bytes(content)
    reader = VideoReader(clip)
    frames = list(reader)
    assert 40 < len(frames) < 60
    assert re.search(r"a\.mp4: damaged (at|after) 1\.\d\d\d s", reader.problem or "")
    assert [frame.time_us for frame in frames[:20]] == [frame.time_us for frame in intact[:20]]
    assert all(torch.equal(frame.image, before.image) for frame, before in zip(frames[:20], intact))


def test_a_truncated_video_keeps_its_frames_and_is_reported(tmp_path: Path) -> None:
    clip = h264_clip(tmp_path / "a.mkv", 100)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    reader = VideoReader(clip)
    frames = list(reader)
    assert 30 < len(frames) < 70
    assert re.search(r"a\.mkv: breaks off after \d\.\d\d\d s of 4\.000 s", reader.problem or "")


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.mp4: cannot be opened as a video"):
        VideoReader(tmp_path / "a.mp4")


def test_a_missing_camera_is_reported() -> None:
    with pytest.raises(OSError, match="camera 97: cannot be opened"):
        VideoReader(camera=97)


def test_a_path_or_a_camera_is_needed() -> None:
    with pytest.raises(ValueError, match="either the path of a video or the number of a camera"):
        VideoReader()
