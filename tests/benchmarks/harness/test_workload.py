"""The images and conversions that the suites measure."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from unittest import mock

import pytest
import torch

from benchmarks.harness import workload
from benchmarks.harness.workload import (
    FORMATS,
    PAIRS,
    Conversions,
    batches_beyond_cache,
    cycle_calls,
    event_bytes,
    expected_events,
    image_bytes,
    poison,
    random_images,
)
from i2e_triton import convert
from i2e_triton.reference import scale
from tests.samples import assert_same_events


@pytest.fixture
def small_cache(one_thread: None) -> Iterator[None]:
    """Set the cache size so that a few small batches do not fit."""
    with mock.patch.object(workload, "last_level_cache", return_value=100_000):
        yield


def test_random_images_are_photographs_or_noise() -> None:
    def roughness(images: torch.Tensor) -> list[float]:
        """Return the mean absolute difference between horizontal neighbours of each image."""
        return images.float().diff(dim=3).abs().mean(dim=(1, 2, 3)).tolist()

    photographs, noise, mixed = (random_images(8, 64, "uint8", "cpu", c) for c in ("photographs", "noise", "mixed"))
    assert max(roughness(photographs)) < 40 < 75 < min(roughness(noise))
    assert max(roughness(mixed[::2])) < 40 < 75 < min(roughness(mixed[1::2]))
    assert not torch.equal(mixed, random_images(8, 64, "uint8", "cpu"))


def test_float_images_are_scaled_uint8_images() -> None:
    images = random_images(3, 16, "float32", "cpu")
    assert images.dtype == torch.float32
    levels = (images * 255).round()
    assert torch.equal(scale(levels.to(torch.uint8)), images)


@pytest.mark.parametrize(("input", "format"), PAIRS)
def test_image_and_event_bytes_equal_the_sizes_of_tensors(input: str, format: str) -> None:
    images = random_images(2, 9, input, "cpu")
    events = convert(images, **FORMATS[format])
    assert image_bytes(2, 9, input) == images.numel() * images.element_size()
    assert event_bytes(2, 9, format) == events.numel() * events.element_size()


@pytest.mark.parametrize("format", FORMATS)
def test_expected_events_equal_converted_events(format: str) -> None:
    images = random_images(3, 24, "uint8", "cpu")
    assert_same_events(convert(images, 0.12, **FORMATS[format]), expected_events(images, format))


def test_batches_beyond_cache_fill_twice_the_cache() -> None:
    with mock.patch.object(workload, "last_level_cache", return_value=1000):
        assert batches_beyond_cache("cpu", 100) == 20
        assert batches_beyond_cache("cpu", 300) == 7
        assert batches_beyond_cache("cpu", 10**6) == 2  # at least two
        assert batches_beyond_cache("cpu", 1) == 256  # at most 256


def test_cycle_calls_repeats_the_calls_in_order() -> None:
    log: list[int] = []
    call = cycle_calls([lambda n=n: log.append(n) for n in range(3)])  # type: ignore[misc]
    for _ in range(7):
        call()
    assert log == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("keep", [False, True])
def test_cycle_calls_keeps_results_until_the_next_turn_if_asked(keep: bool) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def make() -> torch.Tensor:
        result = torch.ones(1)
        alive.append(weakref.ref(result))
        return result

    call = cycle_calls([make, make], keep=keep)
    for _ in range(5):
        call()
    assert [bool(ref()) for ref in alive] == ([False, False, False, True, True] if keep else [False] * 5)


@pytest.mark.parametrize(("input", "format"), PAIRS)
def test_conversions_write_the_expected_events(input: str, format: str, small_cache: None) -> None:
    conversions = Conversions("cpu", input, format, batch=2, size=20)
    assert len(conversions.calls) > 2
    conversions.check()
    assert conversions.bytes_moved == image_bytes(2, 20, input) + event_bytes(2, 20, format)
    call, per_call = conversions.call_for("eager")
    assert per_call == 1
    for events in conversions._events:
        events.copy_(poison(events))
    for _ in conversions.calls:
        call()
    for images, events in zip(conversions._images, conversions._events):
        assert_same_events(events, expected_events(images, format))


@pytest.mark.parametrize("format", FORMATS)
def test_check_fails_if_an_event_is_wrong_or_not_written(format: str, small_cache: None) -> None:
    conversions = Conversions("cpu", "uint8", format, batch=40, size=12)
    correct_call, events = conversions.calls[0], conversions._events[0].view(-1)

    def call_with_one_error() -> None:
        correct_call()
        events[0] = 1 - events[0].to(torch.uint8)

    for wrong in (call_with_one_error, lambda: None):
        conversions.calls = [wrong]
        with pytest.raises(AssertionError, match="events differ from the reference"):
            conversions.check()


def test_conversions_free_their_memory_without_garbage_collection(small_cache: None) -> None:
    conversions = Conversions("cpu", "uint8", "bool", batch=2, size=12)
    call, _ = conversions.call_for("eager")
    call()
    events = weakref.ref(conversions._events[0])
    gc.disable()  # with a reference cycle, gigabytes of GPU memory would stay allocated until a collection
    try:
        del conversions, call
        assert events() is None
    finally:
        gc.enable()
