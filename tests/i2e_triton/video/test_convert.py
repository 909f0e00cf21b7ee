from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2e_triton import convert, unpack, video
from i2e_triton.formats import to_event_list
from i2e_triton.video import Frame
from tests.i2e_triton.video.clips import moving_photograph, write_clip
from tests.samples import noise


def frames_of(images: Tensor, times: list[int] | None = None) -> list[Frame]:
    return [Frame(time, image) for time, image in zip(times or range(0, 10_000 * len(images), 10_000), images)]


def test_each_frame_is_converted_as_an_image(tmp_path: Path) -> None:
    pictures = torch.stack([torch.from_numpy(picture) for picture in moving_photograph(7)]).movedim(-1, 1)
    clip = write_clip(tmp_path / "a.mkv", moving_photograph(7))
    found = list(video.events(video.VideoReader(clip), ratio=0.1))
    assert torch.equal(torch.stack([each.packed for each in found]), convert(pictures, 0.1, packed=True))
    assert [each.time_us for each in found] == [40_000 * n for n in range(7)]


def test_batches_and_changes_of_the_size_do_not_change_the_events(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2e_triton.video.convert.BATCH_PIXELS", 700)
    images = [*noise((5, 3, 16, 20), torch.uint8, generator), *noise((2, 3, 8, 20), torch.uint8, generator)]
    images.append(noise((1, 30, 30), torch.float32, generator))  # larger than a batch
    found = list(video.events((Frame(n, image) for n, image in enumerate(images)), 0.2, timesteps=3))
    assert len(found) == len(images)
    for image, each in zip(images, found):
        assert torch.equal(each.packed, convert(image, 0.2, timesteps=3, packed=True))
        assert each.timesteps == 3
        assert each.image is image


def test_durations_last_until_the_next_frame() -> None:
    found = list(video.events(frames_of(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), [0, 10, 50, 50])))
    assert [each.duration_us for each in found] == [10, 40, 0, 0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_between_frames_compares_consecutive_frames(
    dtype: torch.dtype, ratio: float, generator: torch.Generator
) -> None:
    images = noise((6, 3, 11, 9), dtype, generator)
    found = list(video.events(frames_of(images), ratio, between_frames=True))
    values = images.to(torch.float32) * torch.tensor(1 / 255) if dtype == torch.uint8 else images
    values = values.amax(1)
    assert [each.time_us for each in found] == [10_000 * n for n in range(1, 6)]
    for before, after, each in zip(values, values[1:], found):
        pair = torch.stack([before, after])
        theta = (pair.max() - pair.min()) * torch.tensor(ratio)
        change = after - before
        expected = torch.stack([(change >= theta) & (change > 0), (-change >= theta) & (change < 0)])
        assert torch.equal(unpack(each.packed, 1, torch.bool)[0], expected)


def test_between_frames_leaves_out_frames_of_another_size() -> None:
    images = [torch.zeros(1, side, side, dtype=torch.uint8) for side in (4, 4, 5, 5)]
    found = list(video.events((Frame(n, image) for n, image in enumerate(images)), between_frames=True))
    assert [each.time_us for each in found] == [1, 3]


def test_the_timesteps_of_a_frame_share_its_duration(generator: torch.Generator) -> None:
    (found, _) = video.events(frames_of(noise((2, 3, 8, 8), torch.uint8, generator), [0, 8_000]), timesteps=4)
    expected = to_event_list(unpack(found.packed, 4, torch.bool), timestep_us=2_000)
    assert len(expected) > 20
    assert (found.event_list() == expected).all()


def test_no_frames_give_no_events() -> None:
    assert not list(video.events([]))
    assert not list(video.events([], between_frames=True))
