"""Statistics of packed events, compared with statistics of the same events as dense tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2e_triton.analysis import EventStatistics, measure_events
from i2e_triton.analysis import events as event_statistics
from i2e_triton.analysis.events import as_json
from i2e_triton.datasets import EventDataset, RecordError
from tests.i2e_triton.analysis.definition import entropy_of
from tests.i2e_triton.datasets.builders import official_record, packed, photograph_events, random_events, write_parquet


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_statistics, "_BATCH_ROWS", 3)


def measured(path: Path, images: list[Tensor], labels: list[int], names: list[str] | None = None) -> EventStatistics:
    """Write events as official records and return their statistics."""
    file = write_parquet(path / "train.parquet", list(map(official_record, images)), labels, names=names)
    done: list[int] = []
    found = measure_events(EventDataset(file, packed=True), done.append)
    assert sum(done) == len(images)
    return found


@pytest.fixture(params=["random", "photographs"])
def images(request: pytest.FixtureRequest, generator: torch.Generator) -> Tensor:
    """Return the events of several images: bool ``[N, T, 2, H, W]``."""
    return random_events(7, generator) if request.param == "random" else photograph_events(24)


def test_counts_and_rates_equal_dense_events(images: Tensor, tmp_path: Path) -> None:
    found = measured(tmp_path, list(images), [0] * len(images))
    timesteps, _, height, width = images.shape[1:]
    assert found.images == len(images)
    assert found.timesteps == timesteps
    assert found.sizes == {(height, width): len(images)}
    assert found.events.tolist() == images.sum((0, 3, 4)).tolist()
    dense = images.double()
    assert_spreads([found.event_rate], dense.mean((1, 2, 3, 4))[:, None])
    # As in the official notebook: images.mean(dim=[2, 3, 4]), then mean(0) and std(0).
    assert_spreads(found.timestep_rates, dense.mean(dim=[2, 3, 4]))
    for polarity in (0, 1):
        assert_spreads([pair[polarity] for pair in found.polarity_rates], dense.mean((3, 4))[:, :, polarity])
    assert found.map is not None
    np.testing.assert_allclose(found.map, dense.mean((0, 1)).numpy(), atol=1e-14)


def assert_spreads(spreads: list, rates: Tensor) -> None:
    """Compare with mean and standard deviation of ``rates`` over dimension 0."""
    assert [spread.mean for spread in spreads] == pytest.approx(rates.mean(0).tolist(), abs=1e-12)
    assert [spread.std for spread in spreads] == pytest.approx(rates.std(0).tolist(), abs=1e-12)


def test_entropies_equal_definition(images: Tensor, tmp_path: Path) -> None:
    found = measured(tmp_path, list(images), [0] * len(images))
    event, polarity, pixel = [], [], []
    for image in images:
        columns = image.flatten(2)  # [T, 2, H * W]
        event.append(entropy_of(image.flatten().tolist()))
        on, off = (entropy_of(map(tuple, columns[:, p].T.tolist())) for p in (0, 1))
        polarity.append((on + off) / 2)
        pixel.append(entropy_of(map(tuple, columns.flatten(0, 1).T.tolist())))
    for spread, values in zip(
        (found.event_entropy, found.polarity_entropy, found.pixel_entropy), (event, polarity, pixel)
    ):
        assert_spreads([spread], torch.tensor(values, dtype=torch.float64)[:, None])


def test_rate_of_a_class_is_the_mean_over_its_images(generator: torch.Generator, tmp_path: Path) -> None:
    images = random_events(8, generator)
    labels = [2, 0, 2, -1, 0, 2, 2, -1]
    found = measured(tmp_path, list(images), labels, names=["cat", "dog", "owl"])
    assert [(label, rate.name, rate.images) for label, rate in found.classes.items()] == [
        (-1, None, 2),
        (0, "cat", 2),
        (2, "owl", 4),
    ]
    for label, rate in found.classes.items():
        rates = images.double().mean((1, 2, 3, 4))[torch.tensor(labels) == label]
        assert_spreads([rate.event_rate], rates[:, None])


def test_images_of_different_sizes_have_equal_weight(generator: torch.Generator, tmp_path: Path) -> None:
    images = [random_events(1, generator, (5, 2, 7, 9))[0] for _ in range(4)]
    images += [random_events(1, generator, (5, 2, 30, 20))[0], torch.zeros(5, 2, 30, 20, dtype=torch.bool)]
    found = measured(tmp_path, images, [0] * 6)
    assert found.sizes == {(7, 9): 4, (30, 20): 2}
    assert found.map is None
    assert found.events.tolist() == sum(image.sum((2, 3)) for image in images).tolist()  # type: ignore[union-attr]
    assert_spreads([found.event_rate], torch.stack([image.double().mean() for image in images])[:, None])
    records = [len(official_record(image)) for image in images]
    assert found.bytes == {
        "dense float32": sum(image.numel() * 4 for image in images) / 6,
        "dense bool": sum(image.numel() for image in images) / 6,
        "packed": sum(packed(image).numel() for image in images) / 6,
        "official record": sum(records) / 6,
    }


def test_images_without_events_have_zero_entropy(tmp_path: Path) -> None:
    found = measured(tmp_path, [torch.zeros(8, 2, 5, 5, dtype=torch.bool)] * 2, [0, 1])
    assert found.event_rate.mean == found.event_rate.std == 0
    assert (found.event_entropy.mean, found.polarity_entropy.mean, found.pixel_entropy.mean) == (0, 0, 0)


def test_json_contains_all_statistics(images: Tensor, tmp_path: Path) -> None:
    found = measured(tmp_path, list(images), list(range(len(images))))
    report = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert report["events"] == found.events.tolist()
    assert report["event_rate"] == {"mean": found.event_rate.mean, "std": found.event_rate.std}
    assert [step["on"]["mean"] for step in report["by_timestep"]] == [on.mean for on, _ in found.polarity_rates]
    assert [step["off"]["std"] for step in report["by_timestep"]] == [off.std for _, off in found.polarity_rates]
    assert [step["mean"] for step in report["by_timestep"]] == [both.mean for both in found.timestep_rates]
    assert [c["mean"] for c in report["by_class"]] == [rate.event_rate.mean for rate in found.classes.values()]
    assert math.isnan(found.classes[0].event_rate.std)
    assert report["by_class"][0]["std"] is None  # a class of one image has no standard deviation
    assert report["entropy_bits"]["pixel"]["mean"] == found.pixel_entropy.mean
    assert report["bytes_per_image"] == found.bytes


def test_more_than_8_or_different_timesteps_are_refused(generator: torch.Generator, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"train\.parquet: row 0: .*9 timesteps"):
        measured(tmp_path, [random_events(1, generator, (9, 2, 3, 3))[0]], [0])
    with pytest.raises(RecordError, match="row 1: the record has 6 timesteps instead of 5"):
        measured(tmp_path, [random_events(1, generator)[0], random_events(1, generator, (6, 2, 7, 9))[0]], [0, 0])


def test_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        measured(tmp_path, [], [])
