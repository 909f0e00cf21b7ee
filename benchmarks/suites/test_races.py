"""This package against the other methods: the same images on the same device in the same run.

Whoever is called allocates the result. Methods that do the same work in batches get a batch; ODG and the emulator work
through it image by image, as they are defined.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import emulator, odg, official
from benchmarks.harness.devices import on
from benchmarks.harness.workload import (
    FORMATS,
    INPUTS,
    RATIO,
    batches_beyond_cache,
    event_bytes,
    expected_events,
    fresh_images,
    image_bytes,
    in_turn,
)
from i2e_triton import convert, reference

_SIZE = 224
_BATCH = {"cpu": 32, "cuda": 128}
_ONE_BY_ONE = 16  # images of a batch, for the methods that go through it image by image
_DEVICES = tuple(_BATCH)

Convert = Callable[[Tensor], object]


@cache
def images_of_this_run(device: str, content: str) -> Tensor:
    """The images that all methods convert on a device: uint8."""
    return fresh_images(_BATCH[device], _SIZE, "uint8", device, content)


def ours() -> Iterator[Any]:
    """Parameter sets (device, content, input, format)."""
    for device in _DEVICES:
        yield from (on(device, "photographs", input, format) for input in INPUTS for format in FORMATS)
        yield from (on(device, "noise", "uint8", format) for format in ("float32", "bool", "packed"))


@pytest.mark.parametrize(("device", "content", "input", "format"), list(ours()))
def test_ours(measure: Callable[..., None], device: str, content: str, input: str, format: str) -> None:
    """This package, in each format."""
    race(measure, "ours", lambda images: convert(images, RATIO, **FORMATS[format]), device, content, input, format)


def formulations() -> Iterator[Any]:
    """Parameter sets (device, tf32, content, input); tf32 exists on CUDA alone, and is what PyTorch starts with."""
    for input in INPUTS:
        yield on("cpu", False, "photographs", input)
        yield from (on("cuda", tf32, "photographs", input) for tf32 in (True, False))
    yield from (on(device, False, "noise", "uint8") for device in _DEVICES)


@pytest.mark.parametrize(("device", "tf32", "content", "input"), list(formulations()))
def test_published(
    measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, device: str, tf32: bool, content: str, input: str
) -> None:
    """The published formulation, op by op."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    weight = official.motion_weight(device)
    method = "published, tf32" if tf32 else "published"
    race(measure, method, lambda images: official.convert(images, weight, RATIO), device, content, input, "float32")


@pytest.mark.skipif(
    not any(shutil.which(compiler) for compiler in (os.environ.get("CXX", "g++"), "g++", "clang++")),
    reason="torch.compile needs a C++ compiler",
)
@pytest.mark.parametrize(
    ("device", "tf32", "content", "input"), [case for case in formulations() if "noise" not in case.values]
)
def test_published_compiled(
    measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, device: str, tf32: bool, content: str, input: str
) -> None:
    """The published formulation under torch.compile."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    weight = official.motion_weight(device)
    torch.compiler.reset()
    compiled = torch.compile(official.convert, dynamic=False, fullgraph=True)
    method = "published, compiled, tf32" if tf32 else "published, compiled"
    race(measure, method, lambda images: compiled(images, weight, RATIO), device, content, input, "float32")


@pytest.mark.parametrize("content", ["photographs", "noise"])
@pytest.mark.parametrize("device", [on(device) for device in _DEVICES])
@pytest.mark.parametrize(("method", "convert_image"), [("ODG", odg.convert), ("emulator", emulator.convert)])
def test_image_by_image(
    measure: Callable[..., None], device: str, method: str, convert_image: Convert, content: str
) -> None:
    """ODG and the emulator, whose events are coordinates."""

    def convert_batch(images: Tensor) -> list[object]:
        return [convert_image(image) for image in images]

    race(measure, method, convert_batch, device, content, "uint8", None)


def race(
    measure: Callable[..., None],
    method: str,
    convert_batch: Convert,
    device: str,
    content: str,
    input: str,
    format: str | None,
) -> None:
    """Measure one contender.

    Args:
        measure: the fixture.
        method: its name in rows.
        convert_batch: converts images ``[B, 3, H, W]``.
        device: where.
        content: of the images.
        input: their type.
        format: of its events; None for events of its own kind, which are compared with nothing.
    """
    images = images_of_this_run(device, content)[: None if format else _ONE_BY_ONE]
    images = images if input == "uint8" else reference.scale(images)
    moved = image_bytes(len(images), _SIZE, input) + (event_bytes(len(images), _SIZE, format) if format else 0)
    batches = [images.clone() for _ in range(batches_beyond_cache(device, moved))]
    more: dict[str, float] = {}
    if format is not None:
        actual = convert_batch(images)
        assert isinstance(actual, Tensor)
        more["differing"] = differing(actual, expected_events(images, format))
        # On a GPU the published formulation is as exact as the convolution that cuDNN picks.
        assert more["differing"] == 0 or (device == "cuda" and method != "ours")
    measure(
        "races",
        {"method": method, "input": input, "format": format, "content": content, "batch": len(images), "size": _SIZE},
        in_turn([partial(convert_batch, batch) for batch in batches], keep=device == "cuda"),
        device=device,
        images=len(images),
        bytes_moved=moved if format else None,
        alone=lambda: convert_batch(images if format else images[:1]),
        **more,
    )


def differing(actual: Tensor, expected: Tensor) -> float:
    """Share of the elements of events that differ."""
    assert actual.dtype == expected.dtype
    return float((actual.cpu() != expected).double().mean())
