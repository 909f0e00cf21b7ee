from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
import faery
import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton import unpack
from i2e_triton.datasets import EventDataset
from i2e_triton.formats import load_event_list
from i2e_triton.video import Frame, FrameEvents, events
from i2e_triton.video.writing import WRITERS, write_video_events
from i2e_triton.visualize.drawing import PALETTE
from tests.i2e_triton.video.clips import HEIGHT, WIDTH, moving_photograph

TIMES = [0, 40_000, 50_000, 200_000, 240_000]


@pytest.fixture(scope="module")
def found() -> list[FrameEvents]:
    """Return the events of five frames at irregular times."""
    pictures = [torch.from_numpy(picture).movedim(-1, 0) for picture in moving_photograph(5)]
    return list(events(Frame(time, picture) for time, picture in zip(TIMES, pictures)))


def written(path: Path, found: list[FrameEvents]) -> Path:
    write_video_events(path, found)
    return path


def all_events(found: list[FrameEvents]) -> np.ndarray:
    return np.concatenate([each.event_list() for each in found])


def test_parquet_has_a_row_and_a_time_for_each_frame(found: list[FrameEvents], tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", found)
    dataset = EventDataset(path, packed=True)
    assert dataset.timesteps == 8
    assert torch.equal(
        torch.stack([dataset[row][0] for row in range(len(found))]), torch.stack([each.packed for each in found])
    )
    assert pq.read_table(path)["time_us"].to_pylist() == TIMES


@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_event_lists_are_read_back(found: list[FrameEvents], tmp_path: Path, suffix: str) -> None:
    assert (load_event_list(written(tmp_path / f"a{suffix}", found)) == all_events(found)).all()


def test_h5_is_written_in_chunks(found: list[FrameEvents], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2e_triton.video.writing._H5_CHUNK", 1000)
    assert (load_event_list(written(tmp_path / "a.h5", found)) == all_events(found)).all()


@pytest.mark.parametrize("suffix", [".aedat4", ".raw", ".dat"])
def test_camera_files_are_read_by_faery(found: list[FrameEvents], tmp_path: Path, suffix: str) -> None:
    stream = faery.events_stream_from_file(written(tmp_path / f"a{suffix}", found))
    read = np.concatenate(list(stream))
    assert stream.dimensions() == (WIDTH, HEIGHT)
    for name in "xytp":
        assert (read[name] == all_events(found)[name]).all()


def test_gif_shows_the_next_timestep_of_each_frame(found: list[FrameEvents], tmp_path: Path) -> None:
    with PIL.Image.open(written(tmp_path / "a.gif", found)) as gif:
        assert gif.n_frames == len(found)
        for number, each in enumerate(found):
            gif.seek(number)
            on, off = unpack(each.packed, 8, torch.uint8)[number]
            expected = np.array(PALETTE, np.uint8)[(on + 2 * off).numpy()]
            assert np.array_equal(np.array(gif.convert("RGB")), expected)
            if number:  # the duration of the frame before
                gif.seek(number - 1)
                assert gif.info["duration"] * 1000 == TIMES[number] - TIMES[number - 1]


def test_mp4_shows_the_frame_beside_its_events(found: list[FrameEvents], tmp_path: Path) -> None:
    with av.open(str(written(tmp_path / "a.mp4", found))) as container:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [round(time * 1_000_000) for time, _ in pictures] == TIMES
    for each, (_, picture) in zip(found, pictures):
        left, right = picture[:HEIGHT, :WIDTH], picture[:HEIGHT, WIDTH + 4 : 2 * WIDTH + 4]
        assert np.abs(left.astype(int) - each.image.movedim(0, -1).numpy()).mean() < 12  # H.264 is lossy
        assert right.mean() > left.mean()  # the background is white


@pytest.mark.parametrize("suffix", WRITERS)
def test_nothing_remains_if_reading_fails(found: list[FrameEvents], tmp_path: Path, suffix: str) -> None:
    def failing() -> Iterator[FrameEvents]:
        yield from found[:2]
        raise ValueError("broken")

    (tmp_path / f"a{suffix}").write_bytes(b"old")
    with pytest.raises(ValueError, match="broken"):
        write_video_events(tmp_path / f"a{suffix}", failing())
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_bytes() == b"old"


def test_wrong_suffixes_and_videos_without_frames_are_refused(found: list[FrameEvents], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the suffix must be one of \.parquet, .*, got 'a\.npz'"):
        write_video_events(tmp_path / "a.npz", found)
    with pytest.raises(ValueError, match="no frame"):
        write_video_events(tmp_path / "a.csv", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".parquet", ".h5", pytest.param(".csv", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_video(found: list[FrameEvents], tmp_path: Path, suffix: str) -> None:
    def repeated(times: int) -> Iterator[FrameEvents]:
        for n in range(times):
            yield found[n % 5]._replace(time_us=40_000 * n)

    def peak(times: int) -> int:
        tracemalloc.start()
        write_video_events(tmp_path / f"a{suffix}", repeated(times))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(5)  # imports
    assert peak(600) < 1.5 * peak(150)
