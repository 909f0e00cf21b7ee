"""SpikingJelly: the encoder, the data set, integration of frames, and npz files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import encoding, functional, layer, neuron
from spikingjelly.datasets import base, utils
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2e_triton import I2E, convert
from i2e_triton.datasets import EventStream
from i2e_triton.formats import to_event_list
from i2e_triton.integrations.spikingjelly import (
    I2EEncoder,
    NeuromorphicDataset,
    export_npz,
    integrate_events,
)
from tests.i2e_triton.integrations.samples import event_dataset, events_with_gaps, every_gap
from tests.samples import assert_same_events, photograph


@pytest.fixture
def images() -> Tensor:
    return torch.stack([photograph(name)[:, :40, :56] for name in ("astronaut", "coffee")])


class FolderOf32x48(base.NeuromorphicDatasetFolder):  # type: ignore[misc]
    """SpikingJelly's data set, with the size that it needs to integrate frames."""

    @classmethod
    def get_H_W(cls) -> tuple[int, int]:  # noqa: N802
        return 32, 48


def swapped(events: Tensor) -> Tensor:
    """Return the frames of dense events ``[..., 2, H, W]``: the channel is ``p``."""
    return events[..., [1, 0], :, :].float()


def by_column(events: Tensor, timestep_us: int = 1000) -> dict[str, np.ndarray]:
    listed = to_event_list(events, timestep_us)
    return {name: listed[name] for name in "txyp"}


# The encoder


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_encoder_returns_the_events(step_mode: str, images: Tensor) -> None:
    encoder = I2EEncoder(0.07, "alpha-beta-gamma", step_mode=step_mode, timesteps=5, random=False)
    assert isinstance(encoder, encoding.StatelessEncoder)
    assert encoder.step_mode == step_mode
    expected = I2E(0.07, "alpha-beta-gamma", timesteps=5).eval()(images)
    assert_same_events(encoder(images), expected)
    assert_same_events(encoder.eval()(images[0]), expected[:, 0])


def network(*first: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*first, layer.Conv2d(2, 4, 3, stride=2), neuron.LIFNode(v_threshold=0.1), layer.Flatten())


def test_encoder_is_the_first_layer_of_a_multi_step_network(images: Tensor) -> None:
    net = network(I2EEncoder(0.07)).eval()
    functional.set_step_mode(net, "m")
    spikes = net(images)
    assert spikes.shape == (8, 2, 4 * 19 * 27)
    assert 0 < spikes.mean() < 1

    single = network().eval()  # the same weights in step mode "s", one timestep at a time
    assert torch.equal(torch.stack([single(x) for x in I2EEncoder(0.07).eval()(images)]), spikes)

    functional.reset_net(net)
    assert torch.equal(net(images), spikes)


def test_encoder_has_the_state_dict_of_i2e() -> None:
    encoder = I2EEncoder()
    encoder.load_state_dict(I2E(order="beta-alpha-gamma").state_dict())
    assert encoder.order == (2, 3, 0, 1, 4, 5, 6, 7)
    with pytest.raises(ValueError, match="step_mode"):
        I2EEncoder(step_mode="x")


# Integration of event lists


@every_gap
@pytest.mark.parametrize("timestep_us", [1, 1000, 12_345])
def test_frames_of_a_list_are_dense_events_with_swapped_channels(gap: str, timestep_us: int) -> None:
    events = events_with_gaps(gap)
    for arguments in ({"frames_number": 8}, {"duration": timestep_us}, {}):
        frames = integrate_events(by_column(events, timestep_us), 32, 48, end_time=8 * timestep_us, **arguments)
        assert_same_events(torch.from_numpy(frames), swapped(events))


def test_list_without_events_has_frames() -> None:
    frames = integrate_events(to_event_list(torch.zeros(8, 2, 3, 4)), 3, 4)
    assert frames.dtype == np.float32
    assert np.array_equal(frames, np.zeros((8, 2, 3, 4)))


#: Arguments, and the timesteps of each frame.
FRAMES: list[tuple[dict[str, int], list[list[int]]]] = [
    ({"frames_number": 1}, [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ({"frames_number": 3}, [[0, 1, 2], [3, 4, 5], [6, 7]]),
    ({"frames_number": 10}, [[0], [1], [2], [3], [], [4], [5], [6], [7], []]),
    ({"duration": 3000}, [[0, 1, 2], [3, 4, 5], [6, 7]]),
    ({"duration": 7999}, [[0, 1, 2, 3, 4, 5, 6, 7], []]),
    ({"duration": 500}, [[0], [], [1], [], [2], [], [3], [], [4], [], [5], [], [6], [], [7], []]),
]


@pytest.mark.parametrize(("arguments", "timesteps"), FRAMES, ids=str)
def test_frames_count_the_events_of_several_timesteps(
    arguments: dict[str, int], timesteps: list[list[int]], tmp_path: Path
) -> None:
    dataset, events = event_dataset(tmp_path)
    expected = torch.stack([swapped(events[0])[group].sum(0) for group in timesteps])
    frames = integrate_events(by_column(events[0]), 32, 48, **arguments)
    assert_same_events(torch.from_numpy(frames), expected)
    row, _ = NeuromorphicDataset(dataset, "frame", **arguments)[0]  # type: ignore[arg-type]
    assert_same_events(torch.from_numpy(row), expected)


def test_events_outside_of_the_frames_raise_errors() -> None:
    events = by_column(events_with_gaps("no timestep is empty"))
    with pytest.raises(ValueError, match="x must be 0 to 46, got 0 to 47"):
        integrate_events(events, 32, 47)
    with pytest.raises(ValueError, match="t must be 0 to 6999, got 0 to 7000"):
        integrate_events(events, 32, 48, end_time=7000)
    with pytest.raises(ValueError, match="pass either frames_number or duration, got 8 and 1000"):
        integrate_events(events, 32, 48, 8, 1000)


# The data set


def test_data_set_of_events(tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    dataset = NeuromorphicDataset(source, timestep_us=10)
    assert (dataset.classes, dataset.get_H_W()) == (["cat", "dog", "owl", "ant"], (32, 48))
    for row in range(4):
        columns, label = dataset[row]
        assert label == row
        assert list(columns) == ["t", "x", "y", "p"]
        for name, values in by_column(events[row], 10).items():
            assert np.array_equal(columns[name], values)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_data_set_of_frames_in_a_data_loader(workers: int, tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    dataset = NeuromorphicDataset(source, data_type="frame", frames_number=8, split_by="time", timestep_us=10)
    frames, labels = next(iter(DataLoader(dataset, batch_size=4, num_workers=workers)))
    assert_same_events(frames, swapped(events))
    assert labels.tolist() == [0, 1, 2, 3]


def test_wrong_arguments_of_the_data_set_raise_errors(tmp_path: Path) -> None:
    source, _ = event_dataset(tmp_path)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"data_type": "frames"}, 'data_type must be "event" or "frame", got \'frames\''),
        ({"data_type": "frame"}, "pass either frames_number or duration, got None and None"),
        ({"data_type": "frame", "frames_number": 8, "duration": 10}, "pass either .* got 8 and 10"),
        ({"data_type": "frame", "frames_number": 0}, "frames_number must be at least 1, got 0"),
        ({"data_type": "frame", "duration": 0}, "duration must be at least 1, got 0"),
        ({"data_type": "frame", "frames_number": 8, "split_by": "number"}, "split_by must be \"time\", got 'number'"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            NeuromorphicDataset(source, **arguments)


# Files


def test_spikingjelly_data_set_reads_exported_events(tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    export_npz(source, tmp_path / "events_np" / "train")
    raw = FolderOf32x48(tmp_path, train=True)
    assert raw.targets == [0, 1, 2, 3]
    for (columns, _), image in zip(raw, events, strict=True):
        assert all(np.array_equal(columns[name], values) for name, values in by_column(image).items())

    frames = FolderOf32x48(tmp_path, train=True, data_type="frame", custom_integrate_function=integrate_events)
    assert_same_events(torch.from_numpy(np.stack([frames[row][0] for row in range(4)])), swapped(events))
    two = FolderOf32x48(
        tmp_path,
        train=True,
        data_type="frame",
        custom_integrate_function=partial(integrate_events, frames_number=2),
        custom_integrated_frames_dir_name="two",
    )
    assert_same_events(torch.from_numpy(two[1][0]), swapped(events[1]).unflatten(0, (2, 4)).sum(1))


def test_exported_frames(tmp_path: Path) -> None:
    source, events = event_dataset(tmp_path)
    export_npz(EventStream(tmp_path / "events.parquet", shuffle=False), tmp_path / "frames", "frame")
    files = sorted((tmp_path / "frames").rglob("*.npz"))
    assert [str(file.relative_to(tmp_path / "frames")) for file in files] == [
        f"{row}/{row:09d}.npz" for row in range(4)
    ]
    frames = np.stack([utils.load_npz_frames(file) for file in files])
    assert_same_events(torch.from_numpy(frames), swapped(events))
    with pytest.raises(ValueError, match='data_type must be "event" or "frame", got \'x\''):
        export_npz(source, tmp_path, "x")


def test_frames_equal_the_conversion(images: Tensor) -> None:
    events = convert(images[0])
    frames = integrate_events(to_event_list(events), 40, 56)
    assert_same_events(torch.from_numpy(frames), events.flip(1))
