"""Tests of calibration: event rates are compared with those of the reference implementation."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import canonical_shifts, reference
from i2e_triton.analysis import calibration
from i2e_triton.analysis.calibration import (
    RATIOS,
    STEPS,
    CurvePoint,
    ImageSample,
    find_ratio,
    read_sample,
    sample_images,
    sample_rows,
)
from i2e_triton.shifts import DEFAULT_ORDER
from i2e_triton.sources import prepare
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, png, some_images
from tests.samples import PHOTOGRAPHS, noise, resized_photograph

CPU = torch.device("cpu")


def sample_of(images: Tensor, order: str = DEFAULT_ORDER, timesteps: int = 8) -> ImageSample:
    sample = ImageSample(canonical_shifts(order, timesteps), CPU)
    sample.add(images)
    return sample


def curve_of(sample: ImageSample) -> list[CurvePoint]:
    return [sample.measure(ratio) for ratio in RATIOS]


def photographs(size: int = 40) -> Tensor:
    return torch.stack([resized_photograph(name, size) for name in PHOTOGRAPHS])


def event_rates(images: Tensor, ratio: float, order: str = DEFAULT_ORDER, timesteps: int = 8) -> Tensor:
    """Return the float64 event rate of each image, computed by the reference implementation."""
    return reference.convert(images, ratio, canonical_shifts(order, timesteps)).double().mean((0, 2, 3, 4))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.0666, 0.2])
def test_found_ratio_gives_the_target_rate(rate: float) -> None:
    images = photographs()
    sample = sample_of(images)
    found = find_ratio(sample, curve_of(sample), rate)
    rates = event_rates(images, found.ratio)
    assert found.event_rate.mean == pytest.approx(float(rates.mean()), abs=1e-14)
    assert found.event_rate.std == pytest.approx(float(rates.std()), abs=1e-14)
    for step in (-1, 1):
        neighbor = float(event_rates(images, found.ratio + step / STEPS).mean())
        assert abs(found.event_rate.mean - rate) <= abs(neighbor - rate)
    assert found.event_rate.mean == pytest.approx(rate, rel=0.03)


@settings(max_examples=10, deadline=None)
@given(rate=st.floats(0, 0.4), seed=st.integers(0, 2**32), levels=st.sampled_from([2, 7, 256]))
def test_no_other_ratio_is_closer_to_the_target_rate(rate: float, seed: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, levels, (2, 3, 6, 7), dtype=torch.uint8, generator=generator)
    sample = sample_of(images)
    curve = curve_of(sample)
    means = [float(event_rates(images, step / STEPS).mean()) for step in range(0, STEPS + 1, 97)]
    if not curve[-1].event_rate.mean <= rate <= curve[0].event_rate.mean:
        with pytest.raises(ValueError, match="no ratio gives"):
            find_ratio(sample, curve, rate)
        return
    found = find_ratio(sample, curve, rate)
    assert found.event_rate.mean == pytest.approx(float(event_rates(images, found.ratio).mean()), abs=1e-14)
    assert abs(found.event_rate.mean - rate) <= min(abs(mean - rate) for mean in means) + 1e-14


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_curve_decreases_and_equals_the_reference(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((5, 1 if dtype == torch.float32 else 3, 12, 15), dtype, generator)
    curve = curve_of(sample_of(images, "alpha-beta-gamma", 5))
    means = [point.event_rate.mean for point in curve]
    rates = torch.stack([event_rates(images, ratio, "alpha-beta-gamma", 5) for ratio in RATIOS])
    assert means == pytest.approx(rates.mean(1).tolist(), abs=1e-14)
    assert [point.event_rate.std for point in curve] == pytest.approx(rates.std(1).tolist(), abs=1e-14)
    assert means == sorted(means, reverse=True)


def test_rates_at_the_ends_of_the_curve_are_possible() -> None:
    sample = sample_of(photographs())
    curve = curve_of(sample)
    for point in (curve[0], curve[-1]):
        assert find_ratio(sample, curve, point.event_rate.mean).event_rate == point.event_rate


@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_error_for_an_impossible_rate_states_the_possible_rates(rate: float) -> None:
    images = photographs()
    sample = sample_of(images)
    highest = float(event_rates(images, 0).mean())
    with pytest.raises(
        ValueError, match=rf"event rate of {rate:.2%}; choose a rate from .* to {highest:.2%} \(at ratio 0\)$"
    ):
        find_ratio(sample, curve_of(sample), rate)


def test_flat_images_cannot_be_calibrated() -> None:
    sample = sample_of(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"choose a rate from 0\.00% \(at ratio 1\) to 0\.00% \(at ratio 0\)"):
        find_ratio(sample, curve_of(sample), 0.0)


def read(source: MemorySource, count: int = 100, size: tuple[int, int] | None = (10, 12)) -> ImageSample:
    return read_sample(
        source,
        count,
        size=size,
        rule="bicubic",
        shifts=canonical_shifts(),
        device=CPU,
        rows_done=lambda rows: None,
    )


def test_sample_stores_value_channels_and_counts_unreadable_images() -> None:
    images = [resized_photograph(name, 12) for name in PHOTOGRAPHS]
    sample = read(MemorySource([*map(png, images), DAMAGED]), size=None)
    assert (sample.images, sample.unreadable, sample.nbytes) == (4, 1, 4 * 144)
    assert sample.measure(0.1).event_rate.mean == pytest.approx(
        float(event_rates(torch.stack(images), 0.1).mean()), abs=1e-14
    )


def test_images_of_different_sizes_have_equal_weight(generator: torch.Generator) -> None:
    images = [noise((3, 5 + row, 9), torch.uint8, generator) for row in range(4)]
    rates = torch.cat([event_rates(image[None], 0.2) for image in images])
    spread = read(MemorySource(list(map(png, images))), size=None).measure(0.2).event_rate
    assert spread.mean == pytest.approx(float(rates.mean()), abs=1e-14)
    assert spread.std == pytest.approx(float(rates.std()), abs=1e-14)


def test_sample_larger_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_LARGEST_SAMPLE_BYTES", 4 * 120 - 1)
    source = MemorySource([png(resized_photograph(name, 12)) for name in PHOTOGRAPHS])
    with pytest.raises(ValueError, match=r"the first 4 images of the sample take more than .*; resize them, or use"):
        read(source)
    assert read(source, 3).images == 3


def test_source_without_readable_images_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the 2 images of the sample is readable"):
        read(MemorySource([DAMAGED, DAMAGED]))


@given(rows=st.integers(1, 10_000), count=st.integers(1, 300))
def test_sample_rows_are_evenly_spaced(rows: int, count: int) -> None:
    chosen = sample_rows(rows, count)
    assert len(chosen) == min(rows, count)
    steps = [after - before for before, after in pairwise(chosen)]
    assert all(1 <= step <= rows // count + 1 for step in steps)
    ends = chosen[0], rows - 1 - chosen[-1]
    assert abs(ends[0] - ends[1]) <= 1
    if count >= rows:
        assert chosen == list(range(rows))
    assert sample_rows(0, count) == []


def test_sample_images_are_prepared_in_row_order(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_BATCH_ROWS", 2)
    files = [png(image) for image in some_images(9, generator)]
    files[4] = DAMAGED
    done: list[int] = []
    batches = list(sample_images(MemorySource(files), 5, (6, 7), "bilinear", done.append))
    rows = [0, 2, 4, 6, 8]
    assert done == [2, 2, 1]
    assert [list(batch.damaged) for batch in batches] == [[], [0], []]
    prepared = [image for batch in batches for _, images in batch.groups for image in images]
    wanted = [prepare(files[row], (6, 7), "bilinear") for row in rows if row != 4]
    assert all(torch.equal(image, expected) for image, expected in zip(prepared, wanted, strict=True))
