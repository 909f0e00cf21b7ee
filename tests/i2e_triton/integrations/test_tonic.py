"""Event lists in Tonic: the transform, the data set, and Tonic's frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tonic
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from i2e_triton import convert
from i2e_triton.datasets import ImageEventDataset
from i2e_triton.formats import EVENT_DTYPE, from_event_list, to_event_list
from i2e_triton.integrations.tonic import EventListDataset, ImageToEventList
from tests.i2e_triton.datasets.small_set import Small, write_small
from tests.i2e_triton.formats.events import dense_events
from tests.i2e_triton.integrations.samples import EMPTY, event_dataset, events_with_gaps, every_gap
from tests.samples import PHOTOGRAPHS, assert_same_events, photograph, photograph_path


def to_frame(events: Tensor, timestep_us: int) -> tonic.transforms.ToFrame:
    """Return Tonic's transform with the arguments that the documentation names."""
    timesteps, _, height, width = events.shape
    return tonic.transforms.ToFrame(
        sensor_size=(width, height, 2), time_window=timestep_us, start_time=0, end_time=timesteps * timestep_us
    )


def assert_frames(frames: np.ndarray, events: Tensor) -> None:
    """Assert that frames are dense events with the channels swapped."""
    assert_same_events(torch.from_numpy(frames), events[:, [1, 0]].to(torch.int16))


def test_dtype_equals_tonic() -> None:
    assert tonic.io.events_struct == EVENT_DTYPE


@given(events=dense_events(timesteps=12), timestep_us=st.sampled_from([1, 7, 1000, 12_345, 10**9]))
def test_frames_are_dense_events_with_swapped_channels(events: Tensor, timestep_us: int) -> None:
    assume(bool(events.any()))
    assert_frames(to_frame(events, timestep_us)(to_event_list(events, timestep_us)), events)


@every_gap
@pytest.mark.parametrize("timestep_us", [1, 1000])
def test_frames_keep_empty_timesteps(gap: str, timestep_us: int) -> None:
    events = events_with_gaps(gap)
    assert_frames(to_frame(events, timestep_us)(to_event_list(events, timestep_us)), events)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_transform_lists_the_events_of_an_image(name: str) -> None:
    image = photograph(name)[:, :90, :70]
    events = convert(image, 0.07, timesteps=5, dtype=torch.bool)
    transform = ImageToEventList(0.07, timesteps=5, timestep_us=20)
    listed = transform(image)
    assert listed.dtype == EVENT_DTYPE
    assert np.array_equal(listed, to_event_list(events, 20))
    assert np.array_equal(transform(image.permute(1, 2, 0).numpy()), listed)
    composed = tonic.transforms.Compose([transform, to_frame(events, 20)])
    assert_frames(composed(image), events)


def test_transform_of_an_image_file_with_an_order() -> None:
    with PIL.Image.open(photograph_path("rocket")) as file:
        image = file.convert("RGB").resize((64, 48))
        listed = ImageToEventList(order="alpha-beta-gamma")(image)
    other = ImageToEventList(order="αβγ")(np.asarray(image))
    assert np.array_equal(listed, other)
    assert not np.array_equal(listed, ImageToEventList()(image))


def test_random_transform_draws_for_every_image() -> None:
    image = photograph("coffee")[:, :90, :70]
    torch.manual_seed(0)
    transform = ImageToEventList(random=True)
    drawn = {transform(image).tobytes() for _ in range(4)}
    assert len(drawn) == 4


def test_p_is_1_where_a_pixel_becomes_brighter() -> None:
    image = torch.zeros(1, 1, 8)
    image[..., 4:] = 1  # a canonical vector from left to right
    listed = ImageToEventList(order="alpha-beta-gamma", timesteps=1)(image)
    assert listed.tolist() == [(3, 0, 0, True)]


def test_wrong_arguments_raise_errors() -> None:
    with pytest.raises(ValueError, match="ratio must be in"):
        ImageToEventList(12)
    with pytest.raises(ValueError, match="timestep_us must be at least 1, got 0"):
        ImageToEventList(timestep_us=0)
    with pytest.raises(ValueError, match=r"of one image .* got shape \[8, 2, 2, 4, 4\]"):
        ImageToEventList()(torch.zeros(2, 3, 4, 4))


def test_data_set_of_event_lists(tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    dataset = EventListDataset(source, timestep_us=50)
    assert isinstance(dataset, tonic.Dataset)
    assert (len(dataset), dataset.targets, dataset.classes) == (4, [0, 1, 2, 3], ["cat", "dog", "owl", "ant"])
    assert dataset.sensor_size == (48, 32, 2)
    assert dataset.ordering == ("x", "y", "t", "p")
    for row in range(len(dataset)):
        listed, label = dataset[row]
        assert listed.dtype == dataset.dtype
        assert label == row
        assert_same_events(from_event_list(listed, 8, (32, 48), 50), events[row])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_frames_of_a_data_set_in_a_data_loader(workers: int, tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    dataset = EventListDataset(source, transform=to_frame(events[0], 1000))
    frames, labels = next(iter(DataLoader(dataset, batch_size=4, num_workers=workers)))
    assert_same_events(frames, events[:, :, [1, 0]].to(torch.int16))
    assert labels.tolist() == [0, 1, 2, 3]


def test_transforms_of_a_data_set(tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)

    def both(listed: Any, label: Any) -> tuple[Any, Any]:
        return listed + 1, label * 10

    dataset = EventListDataset(source, transform=len, target_transform=str, transforms=both)
    assert dataset[1] == (int(events[1].sum()) + 1, "1" * 10)
    assert dataset.__getitems__([3, 1]) == [dataset[3], dataset[1]]


def test_official_data_set(tmp_path: Path, generator: torch.Generator) -> None:
    events = write_small(tmp_path, generator)
    dataset = EventListDataset(Small(tmp_path, train=False))
    assert (len(dataset), dataset.targets, dataset.sensor_size) == (4, [0, 1, 2, 0], (32, 32, 2))
    for row, (listed, _) in enumerate(dataset.__getitems__(range(4))):
        assert_same_events(from_event_list(listed, 8, (32, 32)), events[row])


def test_images_that_are_converted_when_they_are_read(tmp_path: Path) -> None:
    for number, name in enumerate(("astronaut", "rocket")):
        file = tmp_path / str(number) / photograph_path(name).name
        file.parent.mkdir()
        shutil.copy(photograph_path(name), file)
    source = ImageEventDataset(tmp_path, size=(40, 30), ratio=0.07)
    dataset = EventListDataset(source)
    assert (dataset.targets, dataset.sensor_size) == ([0, 1], (30, 40, 2))
    for row, (listed, _) in enumerate(dataset.__getitems__([0, 1])):
        assert_same_events(from_event_list(listed, 8, (40, 30)), source[row][0].bool())


@pytest.mark.parametrize("gap", EMPTY)
def test_data_set_in_tonic_caches(gap: str, tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    row = list(EMPTY).index(gap)
    cached = tonic.DiskCachedDataset(EventListDataset(source), cache_path=str(tmp_path / "cache"))
    for _ in range(2):  # written, then read
        listed, label = cached[row]
        assert label == row
        assert_frames(to_frame(events[row], 1000)(listed), events[row])
