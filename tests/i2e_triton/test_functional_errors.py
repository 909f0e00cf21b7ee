"""Wrong arguments raise an error before anything is converted. The message names the value and the remedy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from i2e_triton import canonical_shifts, convert, event_rate, pack, random_shifts, unpack
from i2e_triton.ops import operator

IMAGES = torch.zeros(2, 3, 4, 5)
SHIFTS = canonical_shifts()

#: Arguments that replace those of ``convert(IMAGES)``, the error, and a pattern of its message.
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "images of int64": ({"images": IMAGES.long()}, TypeError, r"uint8, float16.*float64, got torch\.int64.*\.to\("),
    "images of bool": ({"images": IMAGES.bool()}, TypeError, r"uint8, float16.*float64, got torch\.bool.*\.to\("),
    "images of complex64": ({"images": IMAGES.to(torch.complex64)}, TypeError, r"float64, got torch\.complex64"),
    "images in a list": (
        {"images": [IMAGES]}, TypeError, r"a tensor, a NumPy array or a PIL image, got list; .*torch\.stack"
    ),
    "images in a tuple": ({"images": (IMAGES,)}, TypeError, r"got tuple; .*torch\.stack"),
    "path as str": ({"images": "a/photo.png"}, TypeError, r"got str 'a/photo\.png'; .*PIL\.Image\.open"),
    "path as Path": ({"images": Path("a/photo.png")}, TypeError, r"got PosixPath 'a/photo\.png'; .*PIL\.Image\.open"),
    "one RGB image with channels last": (
        {"images": torch.zeros(6, 5, 3)}, ValueError, r"got shape \[6, 5, 3\].*use images\.permute\(2, 0, 1\)"
    ),
    "RGBA images with channels last": (
        {"images": torch.zeros(2, 6, 5, 4)}, ValueError, r"got shape \[2, 6, 5, 4\].*images\.permute\(0, 3, 1, 2\)"
    ),
    "images without channels": ({"images": IMAGES[0, 0]}, ValueError, r"\[C, H, W\].*got shape \[4, 5\].*unsqueeze"),
    "images of 5 dimensions": ({"images": IMAGES[None]}, ValueError, r"\[B, C, H, W\], got shape \[1, 2, 3, 4, 5\]"),
    "images of 1 dimension": ({"images": IMAGES[0, 0, 0]}, ValueError, r"\[C, H, W\].*got shape \[5\]"),
    "0 channels": ({"images": IMAGES[:, :0]}, ValueError, r"one channel and one pixel, got shape \[2, 0, 4, 5\]"),
    "height 0": ({"images": IMAGES[:, :, :0]}, ValueError, r"one pixel, got shape \[2, 3, 0, 5\]"),
    "width 0": ({"images": IMAGES[..., :0]}, ValueError, r"one pixel, got shape \[2, 3, 4, 0\]"),
    "sparse images": ({"images": IMAGES.to_sparse()}, TypeError, "dense.*got torch.sparse_coo"),
    "negative ratio": ({"ratio": -0.1}, ValueError, r"in \[0, 1\], got -0\.1"),
    "ratio above 1": ({"ratio": 12}, ValueError, r"in \[0, 1\], got 12; did you mean 0\.12\?"),
    "ratio slightly above 1": ({"ratio": 1.01}, ValueError, r"in \[0, 1\], got 1\.01"),
    "ratio far above 1": ({"ratio": 1e300}, ValueError, r"in \[0, 1\], got 1e\+300; the paper uses 0\.05 to 0\.20"),
    "ratio above 1 in a tensor": (
        {"ratio": torch.tensor([0.1, 7.0])}, ValueError, r"got for image 1: 7; did you mean 0\.07\?"
    ),
    "tuple of ratios": ({"ratio": (0.1, 0.2)}, TypeError, r"got tuple \(0\.1, 0\.2\); .* a tensor \[B\]"),
    "NumPy ratios": ({"ratio": np.array([0.1, 0.2])}, TypeError, r"got ndarray array.*; .* a tensor \[B\]"),
    "infinite ratio": ({"ratio": float("inf")}, ValueError, r"in \[0, 1\], got inf"),
    "NaN ratio": ({"ratio": float("nan")}, ValueError, r"in \[0, 1\], got nan"),
    "ratio above the largest float": ({"ratio": 10**400}, ValueError, r"in \[0, 1\], got inf; the paper"),
    "negative NumPy ratio": ({"ratio": np.float32(-0.5)}, ValueError, r"in \[0, 1\], got -0\.5"),
    "NaN NumPy ratio": ({"ratio": np.float64("nan")}, ValueError, r"in \[0, 1\], got nan"),
    "infinite NumPy ratio": ({"ratio": np.float32("inf")}, ValueError, r"in \[0, 1\], got inf"),
    "ratio as str": ({"ratio": "0.1"}, TypeError, r"a number, got str '0\.1'; .* a tensor \[B\]"),
    "ratio None": ({"ratio": None}, TypeError, r"a number, got NoneType None; .* a tensor \[B\]"),
    "complex ratio": ({"ratio": 0.1j}, TypeError, r"a number, got complex 0\.1j"),
    "NumPy bool ratio": ({"ratio": np.bool_(True)}, TypeError, "a number, got bool"),
    "bool ratio": ({"ratio": True}, TypeError, "got bool True"),
    "list of ratios": ({"ratio": [0.1, 0.2]}, TypeError, r"got list \[0\.1, 0\.2\]; .* a tensor \[B\]"),
    "too many ratios": ({"ratio": torch.ones(3)}, ValueError, r"a tensor \[2\], one per image; got shape \[3\]"),
    "ratios of 2 dimensions": ({"ratio": torch.ones(2, 1)}, ValueError, r"a tensor \[2\].*got shape \[2, 1\]"),
    "ratio of 0 dimensions": (
        {"ratio": torch.tensor(0.1)}, ValueError, r"a tensor \[2\].*got shape \[\]; .*ratio\.expand\(2\)"
    ),
    "integer ratios": (
        {"ratio": torch.ones(2).int()}, TypeError, r"float64, got torch\.int32; .*\.to\(torch\.float32"
    ),
    "float8 ratios": ({"ratio": torch.ones(2).to(torch.float8_e5m2)}, TypeError, r"got torch\.float8_e5m2; .*\.to"),
    "negative ratio in a tensor": (
        {"ratio": torch.tensor([0.1, -0.5])}, ValueError, r"in \[0, 1\], got for image 1: -0\.5"
    ),
    "NaN ratio in a tensor": ({"ratio": torch.tensor([torch.nan, 0.5])}, ValueError, "got for image 0: nan"),
    "infinite ratio in a tensor": ({"ratio": torch.tensor([0.5, torch.inf])}, ValueError, "got for image 1: inf"),
    "ratios on another device": (
        {"ratio": torch.ones(2, device="meta")}, ValueError, "ratio must be on.*cpu, got meta.*to"
    ),
    "0 timesteps": ({"timesteps": 0}, ValueError, "1 to 8, got 0"),
    "9 timesteps": ({"timesteps": 9}, ValueError, "1 to 8, got 9.*pass shifts"),
    "9 timesteps as NumPy integer": ({"timesteps": np.int64(9)}, ValueError, "1 to 8, got 9; .*pass shifts"),
    "9 timesteps with shifts": (
        {"timesteps": 9, "shifts": SHIFTS}, ValueError, "1 to 8, got 9; omit it, because shifts set"
    ),
    "timesteps as str with shifts": ({"timesteps": "8", "shifts": SHIFTS}, TypeError, "an int, got str '8'"),
    "float timesteps": ({"timesteps": 1.5}, TypeError, r"an int, got float 1\.5"),
    "bool timesteps": ({"timesteps": True}, TypeError, "an int, got bool True"),
    "list of shifts": ({"shifts": SHIFTS.tolist()}, TypeError, "a tensor of motion vectors, got list"),
    "NumPy shifts": ({"shifts": SHIFTS.numpy()}, TypeError, "a tensor of motion vectors, got ndarray"),
    "float shifts": ({"shifts": SHIFTS.float()}, TypeError, r"signed integer.*got torch\.float32"),
    "uint8 shifts": ({"shifts": SHIFTS.byte()}, TypeError, r"signed integer.*got torch\.uint8"),
    "bool shifts": ({"shifts": SHIFTS.bool()}, TypeError, r"signed integer.*got torch\.bool"),
    "shifts of 1 dimension": ({"shifts": SHIFTS[0]}, ValueError, r"\[T, 4\] or \[2, T, 4\].*got shape \[4\]"),
    "shifts of 2 columns": ({"shifts": SHIFTS[:, :2]}, ValueError, r"dy0, dx0, dy1, dx1.*got shape \[8, 2\]"),
    "0 motion vectors": ({"shifts": SHIFTS[:0]}, ValueError, r"T >= 1, got shape \[0, 4\]"),
    "0 motion vectors per image": ({"shifts": random_shifts(2)[:, :0]}, ValueError, r"T >= 1, got shape \[2, 0, 4\]"),
    "too many microsaccades": ({"shifts": random_shifts(3)}, ValueError, r"\[2, T, 4\].*got shape \[3, 8, 4\]"),
    "shifts of 4 dimensions": ({"shifts": SHIFTS[None, None]}, ValueError, r"got shape \[1, 1, 8, 4\]"),
    "shifts on another device": ({"shifts": SHIFTS.to("meta")}, ValueError, "shifts must be on.*cpu, got meta.*to"),
    "int64 events": ({"dtype": torch.int64}, TypeError, r"float32.*bfloat16, uint8, bool, got torch\.int64"),
    "float64 events": ({"dtype": torch.float64}, TypeError, r"uint8, bool, got torch\.float64"),
    "NumPy dtype of events": ({"dtype": np.float32}, TypeError, r"uint8, bool, got <class 'numpy\.float32'>"),
    "dtype None": ({"dtype": None}, TypeError, "uint8, bool, got None"),
    "packed 1": ({"packed": 1}, TypeError, "True or False, got 1"),
    "9 packed timesteps": (
        {"packed": True, "shifts": torch.zeros(9, 4).int()}, ValueError, "at most 8 timesteps, got 9.*packed=False"
    ),
    "list as out": ({"out": []}, TypeError, "out must be a tensor, got list"),
    "out with another shape": ({"out": torch.zeros(8, 2, 4, 5)}, ValueError, r"\[8, 2, 2, 4, 5\].*got.*\[8, 2, 4, 5\]"),
    "out with another dtype": (
        {"out": torch.zeros(8, 2, 2, 4, 5, dtype=torch.uint8)}, ValueError, r"torch\.float32.*got torch\.uint8"
    ),
    "out on another device": ({"out": torch.zeros(8, 2, 2, 4, 5, device="meta")}, ValueError, "on cpu, got.*on meta"),
    "float out for packed events": (
        {"packed": True, "out": torch.zeros(2, 2, 4, 5)}, ValueError, r"torch\.uint8.*got torch\.float32"
    ),
    "dense out for packed events": (
        {"packed": True, "out": torch.zeros(8, 2, 2, 4, 5).byte()}, ValueError, r"\[2, 2, 4, 5\].*got.*\[8, 2, 2"
    ),
    "out that requires a gradient": (
        {"out": torch.zeros(8, 2, 2, 4, 5, requires_grad=True)}, ValueError, "must not require a gradient"
    ),
    "expanded out": (
        {"out": torch.zeros(8, 2, 2, 4, 1).expand(8, 2, 2, 4, 5)}, ValueError, r"overlap.*strides.*contiguous"
    ),
    "out with overlapping rows": (
        {"out": torch.zeros(1000).as_strided((8, 2, 2, 4, 5), (80, 40, 20, 1, 1))}, ValueError, "overlap.*strides"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument_raises_error_before_the_conversion(case: str, generator: torch.Generator) -> None:
    arguments, error, message = WRONG[case]
    before = torch.rand(8, 2, 2, 4, 5, generator=generator)
    out = before.clone()
    with mock.patch.object(operator.cpu, "convert_into", side_effect=AssertionError("converted")):
        with pytest.raises(error, match=f"(?s){message}"):
            convert(**{"images": IMAGES} | arguments)
        with pytest.raises(error):
            convert(**{"images": IMAGES, "out": out} | arguments)
    assert torch.equal(out, before)


def test_messages_for_a_single_image_have_its_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[T, 4\] or \[1, T, 4\]"):
        convert(IMAGES[0], shifts=random_shifts(3))
    with pytest.raises(ValueError, match=r"a tensor \[1\], one per image; got shape \[3\]"):
        convert(IMAGES[0], torch.ones(3))
    with pytest.raises(ValueError, match=r"out must be torch.float32 \[8, 2, 4, 5\] on cpu, got.*\[8, 1, 2, 4, 5\]"):
        convert(IMAGES[0], out=torch.zeros(8, 1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"out must be torch.uint8 \[2, 4, 5\] on cpu, got.*\[1, 2, 4, 5\]"):
        convert(IMAGES[0], packed=True, out=torch.zeros(1, 2, 4, 5).byte())


def test_cuda_image_without_triton_raises_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "HAS_TRITON", False)
    with FakeTensorMode():
        image = torch.empty(1, 3, 4, 5, device="cuda")
        with pytest.raises(ValueError, match=r"images on cuda:0 need Triton.*pip install triton"):
            convert(image)
        assert convert(image.cpu()).shape == (8, 1, 2, 4, 5)


def test_image_on_an_unsupported_device_raises_error() -> None:
    with FakeTensorMode():
        image = torch.empty(1, 3, 4, 5, device="xpu")
        with pytest.raises(ValueError, match=r"on the CPU or a CUDA device, got xpu:0.*\.to\(\)"):
            convert(image)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2],), TypeError, "packed must be a tensor, got list"),
        ((torch.zeros(2, 4, 5),), ValueError, r"uint8 \[B, 2, H, W\] or \[2, H, W\], got torch.float32 \[2, 4, 5\]"),
        ((torch.zeros(3, 4, 5).byte(),), ValueError, r"got torch.uint8 \[3, 4, 5\]"),
        ((torch.zeros(8, 1, 2, 4, 5).byte(),), ValueError, r"got torch.uint8 \[8, 1, 2, 4, 5\]"),
        ((torch.zeros(2, 4).byte(),), ValueError, r"got torch.uint8 \[2, 4\]"),
        ((torch.zeros(2, 4, 5).byte(), 0), ValueError, "1 to 8, got 0"),
        ((torch.zeros(2, 4, 5).byte(), 9), ValueError, "1 to 8, got 9; a byte holds 8 timesteps"),
        ((torch.zeros(2, 4, 5).byte(), 8.0), TypeError, r"an int, got float 8\.0"),
        ((torch.zeros(2, 4, 5).byte(), 8, torch.int32), TypeError, r"uint8, bool, got torch\.int32"),
    ],
)
def test_unpack_of_wrong_arguments_raises_error(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        unpack(*arguments)


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        (np.zeros((8, 2, 4, 5)), TypeError, "events must be a tensor, got ndarray"),
        (torch.zeros(2, 4, 5), ValueError, r"dense \[T, B, 2, H, W\] or \[T, 2, H, W\], got shape \[2, 4, 5\]"),
        (torch.zeros(8, 3, 4, 5), ValueError, r"got shape \[8, 3, 4, 5\]"),
        (torch.zeros(1, 8, 1, 2, 4, 5), ValueError, r"got shape \[1, 8, 1, 2, 4, 5\]"),
        (torch.zeros(9, 2, 4, 5), ValueError, r"1 to 8 timesteps, got 9; pack events\[:8\], or use dense events"),
        (torch.zeros(0, 1, 2, 4, 5), ValueError, "1 to 8 timesteps, got 0"),
    ],
)
def test_pack_of_wrong_arguments_raises_error(events: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pack(events)


EVENTS = torch.zeros(8, 1, 2, 4, 5)


@pytest.mark.parametrize(
    ("events", "dim", "error", "message"),
    [
        (np.zeros((8, 2, 4, 5)), None, TypeError, "events must be a tensor, got ndarray"),
        (EVENTS.to(torch.complex64), None, TypeError, r"dense and real, got torch\.complex64"),
        (EVENTS.to_sparse(), None, TypeError, r"dense and real, got torch\.float32 torch\.sparse_coo"),
        (torch.full((1, 2, 4, 5), 129).byte(), None, ValueError, "0 or 1, got 129; unpack packed events first"),
        (EVENTS, 7, ValueError, r"distinct dimensions -5 to 4 of events \[8, 1, 2, 4, 5\], got 7"),
        (EVENTS, -6, ValueError, "dimensions -5 to 4.*got -6"),
        (EVENTS, (1, 5), ValueError, r"dimensions -5 to 4.*got \(1, 5\)"),
        (EVENTS, (1, 1), ValueError, r"distinct.*got \(1, 1\)"),
        (EVENTS, (4, -1), ValueError, r"distinct.*got \(4, -1\)"),
        (EVENTS, 1.0, TypeError, r"dim must be an int, several ints or None, got 1\.0"),
        (EVENTS, "13", TypeError, "dim must be an int, several ints or None, got '13'"),
    ],
)
def test_event_rate_of_wrong_arguments_raises_error(
    events: Any, dim: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        event_rate(events, dim)


def test_message_does_not_contain_hundreds_of_digits() -> None:
    for ratio in (10**400, -(10**400), Fraction(10**400)):
        with pytest.raises(ValueError, match=r"in \[0, 1\]") as caught:
            convert(IMAGES, ratio)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 100


@pytest.mark.parametrize("shape", [(4, 8, 3), (4, 6, 4), (2, 4, 8, 4), (5, 8, 5), (2, 6, 8, 7)], ids=str)
def test_images_with_channels_first_are_not_rejected(shape: tuple[int, ...]) -> None:
    """The channels are taken to be last only if there are more than 4 channels and the width is 3 or 4."""
    assert convert(torch.zeros(shape)).shape[-2:] == shape[-2:]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_images_raise_error(layout: torch.layout) -> None:
    images = torch.nested.nested_tensor([IMAGES[0, 0], IMAGES[0, 0, 1:]], layout=layout)
    with pytest.raises(TypeError, match=r"images must not be a nested tensor; .*torch\.stack"):
        convert(images)


def test_out_that_shares_memory_with_images_raises_error() -> None:
    memory = torch.rand(8 * 2 * 2 * 4 * 5)
    out, images = memory.view(8, 2, 2, 4, 5), memory[40:160].view(2, 3, 4, 5)
    before = memory.clone()
    with pytest.raises(ValueError, match=r"out must not share memory with images; pass images\.clone\(\)"):
        convert(images, out=out)
    assert torch.equal(memory, before)


def test_out_that_shares_memory_through_numpy_raises_error() -> None:
    memory = np.random.default_rng(0).random(8 * 2 * 2 * 4 * 5, dtype=np.float32)
    array = memory[40:160].reshape(2, 3, 4, 5)
    out = torch.from_numpy(memory).view(8, 2, 2, 4, 5)
    before = memory.copy()
    for images in (array, torch.from_numpy(array)):
        with pytest.raises(ValueError, match=r"out must not share memory with images; pass images\.clone\(\)"):
            convert(images, out=out)
    assert np.array_equal(memory, before)


def test_out_next_to_the_images_in_one_storage_is_written() -> None:
    memory = torch.rand(120 + 8 * 2 * 2 * 4 * 5)
    images, out = memory[:120].view(2, 3, 4, 5), memory[120:].view(8, 2, 2, 4, 5)
    expected = convert(images.clone())
    assert convert(images, out=out) is out
    assert torch.equal(out, expected)


def test_inference_tensor_as_out_is_written_only_in_inference_mode() -> None:
    images = torch.rand(2, 3, 4, 5)
    expected = convert(images)
    with torch.inference_mode():
        out = torch.zeros(8, 2, 2, 4, 5)
        assert convert(images, out=out) is out
        assert torch.equal(out, expected)
    before = out.clone()
    with pytest.raises(ValueError, match=r"out is an inference tensor.*inference_mode.*use out\.clone\(\)"):
        convert(images.flip(0), out=out)
    assert torch.equal(out, before)
    assert torch.equal(convert(images, out=before), expected)
