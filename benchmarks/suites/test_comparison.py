"""Comparison of this package with other methods on the same images, on the same device, in the same run.

Each method allocates its result. ODG and the emulator are defined for one image, so they convert one image at a time;
the others convert a batch.
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
from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import (
    FORMATS,
    INPUTS,
    PAIRS,
    RATIO,
    batches_beyond_cache,
    cycle_calls,
    event_bytes,
    expected_events,
    image_bytes,
    random_images,
)
from i2e_triton import convert, reference

_SIZE = 224
_BATCH = {"cpu": 32, "cuda": 128}
_FEW_IMAGES = 16  # for the methods that convert one image at a time
_NO_COMPILER = not any(shutil.which(compiler) for compiler in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def ours() -> Iterator[Any]:
    """Yield the parameters (device, content, input, format)."""
    for device in _BATCH:
        yield from (device_param(device, "photographs", *pair) for pair in PAIRS)
        yield from (device_param(device, "noise", "uint8", format) for format in ("float32", "bool", "packed"))


@pytest.mark.parametrize(("device", "content", "input", "format"), list(ours()))
def test_ours(measure: Callable[..., None], device: str, content: str, input: str, format: str) -> None:
    """Measure this package."""
    compare(measure, "ours", lambda images: convert(images, RATIO, **FORMATS[format]), device, content, input, format)


def official_cases() -> Iterator[Any]:
    """Yield the parameters (device, compiled, tf32, content, input). On CUDA, PyTorch's default is tf32."""
    for compiled in (False, True):
        for input in INPUTS:
            yield device_param("cpu", compiled, False, "photographs", input)
            yield from (device_param("cuda", compiled, tf32, "photographs", input) for tf32 in (True, False))
    yield from (device_param(device, False, False, "noise", "uint8") for device in _BATCH)


@pytest.mark.parametrize(("device", "compiled", "tf32", "content", "input"), list(official_cases()))
def test_official(
    measure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    compiled: bool,
    tf32: bool,
    content: str,
    input: str,
) -> None:
    """Measure the official formulation, in eager mode or with torch.compile."""
    if compiled and _NO_COMPILER:
        pytest.skip("torch.compile needs a C++ compiler")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    weight = official.motion_weight(device)
    method, convert_batch = "official", official.convert
    if compiled:
        torch.compiler.reset()
        method, convert_batch = "official, compiled", torch.compile(official.convert, dynamic=False, fullgraph=True)
    method += ", tf32" if tf32 else ""
    compare(measure, method, lambda images: convert_batch(images, weight, RATIO), device, content, input, "float32")


@pytest.mark.parametrize("content", ["photographs", "noise"])
@pytest.mark.parametrize("device", [device_param(device) for device in _BATCH])
@pytest.mark.parametrize(("method", "convert_image"), [("ODG", odg.convert), ("emulator", emulator.convert)])
def test_image_by_image(
    measure: Callable[..., None], device: str, method: str, convert_image: Callable[[Tensor], object], content: str
) -> None:
    """Measure ODG and the emulator."""
    compare(measure, method, lambda images: list(map(convert_image, images)), device, content, "uint8", None)


@cache
def uint8_images(device: str, content: str) -> Tensor:
    """Return the images that all methods convert on a device."""
    return random_images(_BATCH[device], _SIZE, "uint8", device, content)


def compare(
    measure: Callable[..., None],
    method: str,
    convert_batch: Callable[[Tensor], object],
    device: str,
    content: str,
    input: str,
    format: str | None,
) -> None:
    """Check the events of one method and measure it.

    Args:
        measure: the fixture ``measure``.
        method: name of the method in rows.
        convert_batch: converts images ``[B, 3, H, W]``.
        device: device of the images.
        content: ``"photographs"`` or ``"noise"``.
        input: dtype of the images, ``"uint8"`` or ``"float32"``.
        format: format of the events, or None if the method returns coordinates, which are not checked.
    """
    images = uint8_images(device, content)[: None if format else _FEW_IMAGES]
    images = images if input == "uint8" else reference.scale(images)
    moved = image_bytes(len(images), _SIZE, input) + (event_bytes(len(images), _SIZE, format) if format else 0)
    batches = [images.clone() for _ in range(batches_beyond_cache(device, moved))]
    more: dict[str, float] = {}
    if format is not None:
        actual, expected = convert_batch(images), expected_events(images, format)
        assert isinstance(actual, Tensor)
        assert actual.dtype == expected.dtype
        more["differing"] = float((actual.cpu() != expected).double().mean())
        # On CUDA, cuDNN may choose a convolution that is not exact, so the other methods may differ.
        assert more["differing"] == 0 or (device == "cuda" and method != "ours")
    measure(
        "comparison",
        {"method": method, "input": input, "format": format, "content": content, "batch": len(images), "size": _SIZE},
        cycle_calls([partial(convert_batch, batch) for batch in batches], keep=device == "cuda"),
        device=device,
        images=len(images),
        bytes_moved=moved if format else None,
        memory_call=lambda: convert_batch(images if format else images[:1]),
        **more,
    )
