"""Wrong arguments: refused before any work, with the offending value and what would be right."""

from __future__ import annotations

from fractions import Fraction
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

#: Arguments over ``convert(IMAGES)``, the error, and words of its message: what it got, and what would be right.
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "images of int64": ({"images": IMAGES.long()}, TypeError, r"uint8, float16.*float64, got torch\.int64.*\.to\("),
    "images of bool": ({"images": IMAGES.bool()}, TypeError, r"uint8, float16.*float64, got torch\.bool.*\.to\("),
    "images of complex64": ({"images": IMAGES.to(torch.complex64)}, TypeError, r"float64, got torch\.complex64"),
    "images in a list": ({"images": [IMAGES]}, TypeError, "a tensor, a NumPy array or a PIL image, got list"),
    "images without channels": ({"images": IMAGES[0, 0]}, ValueError, r"\[C, H, W\].*got shape \[4, 5\].*unsqueeze"),
    "a video": ({"images": IMAGES[None]}, ValueError, r"\[B, C, H, W\], got shape \[1, 2, 3, 4, 5\]"),
    "images of one dimension": ({"images": IMAGES[0, 0, 0]}, ValueError, r"\[C, H, W\].*got shape \[5\]"),
    "no channel": ({"images": IMAGES[:, :0]}, ValueError, r"a channel and a pixel at least, got shape \[2, 0, 4, 5\]"),
    "no row": ({"images": IMAGES[:, :, :0]}, ValueError, r"a pixel at least, got shape \[2, 3, 0, 5\]"),
    "no column": ({"images": IMAGES[..., :0]}, ValueError, r"a pixel at least, got shape \[2, 3, 4, 0\]"),
    "a sparse image": ({"images": IMAGES.to_sparse()}, TypeError, "dense.*got torch.sparse_coo"),
    "a negative ratio": ({"ratio": -0.1}, ValueError, r"finite and not negative, got -0\.1"),
    "an infinite ratio": ({"ratio": float("inf")}, ValueError, "finite and not negative, got inf"),
    "a ratio of NaN": ({"ratio": float("nan")}, ValueError, "finite and not negative, got nan"),
    "a ratio beyond any float": ({"ratio": 10**400}, ValueError, "finite and not negative, got inf; the paper"),
    "a negative ratio of NumPy": ({"ratio": np.float32(-0.5)}, ValueError, r"not negative, got -0\.5"),
    "a ratio of NumPy's NaN": ({"ratio": np.float64("nan")}, ValueError, "finite and not negative, got nan"),
    "an infinite ratio of NumPy": ({"ratio": np.float32("inf")}, ValueError, "finite and not negative, got inf"),
    "a ratio in words": ({"ratio": "0.1"}, TypeError, r"a number, got str '0\.1'; .* a tensor \[B\]"),
    "no ratio": ({"ratio": None}, TypeError, r"a number, got NoneType None; .* a tensor \[B\]"),
    "a complex ratio": ({"ratio": 0.1j}, TypeError, r"a number, got complex 0\.1j"),
    "a ratio of NumPy's True": ({"ratio": np.bool_(True)}, TypeError, "a number, got bool"),
    "a ratio of True": ({"ratio": True}, TypeError, "got bool True"),
    "ratios in a list": ({"ratio": [0.1, 0.2]}, TypeError, r"got list \[0\.1, 0\.2\]; .* a tensor \[B\]"),
    "a ratio too many": ({"ratio": torch.ones(3)}, ValueError, r"a tensor \[2\], one per image; got shape \[3\]"),
    "a column of ratios": ({"ratio": torch.ones(2, 1)}, ValueError, r"a tensor \[2\].*got shape \[2, 1\]"),
    "a tensor that is one ratio": (
        {"ratio": torch.tensor(0.1)}, ValueError, r"a tensor \[2\].*got shape \[\]; .*ratio\.expand\(2\)"
    ),
    "whole ratios": ({"ratio": torch.ones(2).int()}, TypeError, r"float64, got torch\.int32; .*\.to\(torch\.float32"),
    "ratios of 8 bits": ({"ratio": torch.ones(2).to(torch.float8_e5m2)}, TypeError, r"got torch\.float8_e5m2; .*\.to"),
    "one negative ratio": ({"ratio": torch.tensor([0.1, -0.5])}, ValueError, r"not negative.*-0\.5 for image 1"),
    "one ratio of NaN": ({"ratio": torch.tensor([torch.nan, 0.5])}, ValueError, "finite.*nan for image 0"),
    "one infinite ratio": ({"ratio": torch.tensor([0.5, torch.inf])}, ValueError, "finite.*inf for image 1"),
    "ratios elsewhere": ({"ratio": torch.ones(2, device="meta")}, ValueError, "ratio must be on.*cpu, got meta.*to"),
    "no timestep": ({"timesteps": 0}, ValueError, "1 to 8, got 0"),
    "nine timesteps": ({"timesteps": 9}, ValueError, "1 to 8, got 9.*pass shifts"),
    "nine timesteps of NumPy": ({"timesteps": np.int64(9)}, ValueError, "1 to 8, got 9; .*pass shifts"),
    "nine timesteps with shifts": (
        {"timesteps": 9, "shifts": SHIFTS}, ValueError, "1 to 8, got 9; leave them out where shifts are given"
    ),
    "timesteps in words with shifts": ({"timesteps": "8", "shifts": SHIFTS}, TypeError, "an int, got str '8'"),
    "timesteps of a half": ({"timesteps": 1.5}, TypeError, r"an int, got float 1\.5"),
    "timesteps of True": ({"timesteps": True}, TypeError, "an int, got bool True"),
    "shifts in a list": ({"shifts": SHIFTS.tolist()}, TypeError, "a tensor of motion vectors, got list"),
    "an array of shifts": ({"shifts": SHIFTS.numpy()}, TypeError, "a tensor of motion vectors, got ndarray"),
    "parts of pixels": ({"shifts": SHIFTS.float()}, TypeError, r"signed integer.*got torch\.float32"),
    "unsigned shifts": ({"shifts": SHIFTS.byte()}, TypeError, r"signed integer.*got torch\.uint8"),
    "shifts of true and false": ({"shifts": SHIFTS.bool()}, TypeError, r"signed integer.*got torch\.bool"),
    "one vector alone": ({"shifts": SHIFTS[0]}, ValueError, r"\[T, 4\] or \[2, T, 4\].*got shape \[4\]"),
    "vectors of two numbers": ({"shifts": SHIFTS[:, :2]}, ValueError, r"dy0, dx0, dy1, dx1.*got shape \[8, 2\]"),
    "no vector": ({"shifts": SHIFTS[:0]}, ValueError, r"T >= 1, got shape \[0, 4\]"),
    "no vector per image": ({"shifts": random_shifts(2)[:, :0]}, ValueError, r"T >= 1, got shape \[2, 0, 4\]"),
    "a microsaccade too many": ({"shifts": random_shifts(3)}, ValueError, r"\[2, T, 4\].*got shape \[3, 8, 4\]"),
    "shifts of 4 dimensions": ({"shifts": SHIFTS[None, None]}, ValueError, r"got shape \[1, 1, 8, 4\]"),
    "shifts elsewhere": ({"shifts": SHIFTS.to("meta")}, ValueError, "shifts must be on.*cpu, got meta.*to"),
    "events of int64": ({"dtype": torch.int64}, TypeError, r"float32.*bfloat16, uint8, bool, got torch\.int64"),
    "events of float64": ({"dtype": torch.float64}, TypeError, r"uint8, bool, got torch\.float64"),
    "events of a NumPy type": ({"dtype": np.float32}, TypeError, r"uint8, bool, got <class 'numpy\.float32'>"),
    "events of None": ({"dtype": None}, TypeError, "uint8, bool, got None"),
    "packed of 1": ({"packed": 1}, TypeError, "True or False, got 1"),
    "9 timesteps packed": (
        {"packed": True, "shifts": torch.zeros(9, 4).int()}, ValueError, "8 timesteps at most, got 9.*packed=False"
    ),
    "out of a list": ({"out": []}, TypeError, "out must be a tensor, got list"),
    "out of another shape": ({"out": torch.zeros(8, 2, 4, 5)}, ValueError, r"\[8, 2, 2, 4, 5\].*got.*\[8, 2, 4, 5\]"),
    "out of another type": (
        {"out": torch.zeros(8, 2, 2, 4, 5, dtype=torch.uint8)}, ValueError, r"torch\.float32.*got torch\.uint8"
    ),
    "out elsewhere": ({"out": torch.zeros(8, 2, 2, 4, 5, device="meta")}, ValueError, "on cpu, got.*on meta"),
    "out packed of floats": (
        {"packed": True, "out": torch.zeros(2, 2, 4, 5)}, ValueError, r"torch\.uint8.*got torch\.float32"
    ),
    "out packed by timestep": (
        {"packed": True, "out": torch.zeros(8, 2, 2, 4, 5).byte()}, ValueError, r"\[2, 2, 4, 5\].*got.*\[8, 2, 2"
    ),
    "out that requires a gradient": (
        {"out": torch.zeros(8, 2, 2, 4, 5, requires_grad=True)}, ValueError, "must not require a gradient"
    ),
    "out that repeats itself": (
        {"out": torch.zeros(8, 2, 2, 4, 1).expand(8, 2, 2, 4, 5)}, ValueError, r"overlap.*strides.*contiguous"
    ),
    "out of overlapping rows": (
        {"out": torch.zeros(1000).as_strided((8, 2, 2, 4, 5), (80, 40, 20, 1, 1))}, ValueError, "overlap.*strides"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_refused(case: str) -> None:
    arguments, error, message = WRONG[case]
    with pytest.raises(error, match=f"(?s){message}"):
        convert(**{"images": IMAGES} | arguments)


@pytest.mark.parametrize("case", [case for case in WRONG if "out" not in WRONG[case][0]])
def test_a_wrong_argument_is_refused_before_any_work(case: str, generator: torch.Generator) -> None:
    arguments, error, _ = WRONG[case]
    before = torch.rand(8, 2, 2, 4, 5, generator=generator)
    out = before.clone()
    with mock.patch.object(operator.cpu, "convert_into", side_effect=AssertionError("converted")):
        for given in ({"out": out}, {}):
            with pytest.raises(error):
                convert(**{"images": IMAGES} | given | arguments)
    assert torch.equal(out, before)


def test_an_image_alone_is_held_to_its_own_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[T, 4\] or \[1, T, 4\]"):
        convert(IMAGES[0], shifts=random_shifts(3))
    with pytest.raises(ValueError, match=r"a tensor \[1\], one per image; got shape \[3\]"):
        convert(IMAGES[0], torch.ones(3))
    with pytest.raises(ValueError, match=r"out must be torch.float32 \[8, 2, 4, 5\] on cpu, got.*\[8, 1, 2, 4, 5\]"):
        convert(IMAGES[0], out=torch.zeros(8, 1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"out must be torch.uint8 \[2, 4, 5\] on cpu, got.*\[1, 2, 4, 5\]"):
        convert(IMAGES[0], packed=True, out=torch.zeros(1, 2, 4, 5).byte())


def test_a_cuda_image_without_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "HAS_TRITON", False)
    with FakeTensorMode():
        image = torch.empty(1, 3, 4, 5, device="cuda")
        with pytest.raises(ValueError, match=r"images on cuda:0 need Triton.*pip install triton"):
            convert(image)
        assert convert(image.cpu()).shape == (8, 1, 2, 4, 5)


def test_an_image_on_an_unknown_device_is_refused() -> None:
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
        ((torch.zeros(2, 4, 5).byte(), 9), ValueError, "1 to 8, got 9; a byte holds no others"),
        ((torch.zeros(2, 4, 5).byte(), 8.0), TypeError, r"an int, got float 8\.0"),
        ((torch.zeros(2, 4, 5).byte(), 8, torch.int32), TypeError, r"uint8, bool, got torch\.int32"),
    ],
)
def test_unpack_refuses_what_is_not_packed(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        unpack(*arguments)


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        (np.zeros((8, 2, 4, 5)), TypeError, "events must be a tensor, got ndarray"),
        (torch.zeros(2, 4, 5), ValueError, r"dense \[T, B, 2, H, W\] or \[T, 2, H, W\], got shape \[2, 4, 5\]"),
        (torch.zeros(8, 3, 4, 5), ValueError, r"got shape \[8, 3, 4, 5\]"),
        (torch.zeros(1, 8, 1, 2, 4, 5), ValueError, r"got shape \[1, 8, 1, 2, 4, 5\]"),
        (torch.zeros(9, 2, 4, 5), ValueError, r"1 to 8 timesteps, got 9; pack events\[:8\], or keep them dense"),
        (torch.zeros(0, 1, 2, 4, 5), ValueError, "1 to 8 timesteps, got 0"),
    ],
)
def test_pack_refuses_what_is_not_dense(events: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pack(events)


EVENTS = torch.zeros(8, 1, 2, 4, 5)


@pytest.mark.parametrize(
    ("events", "dim", "error", "message"),
    [
        (np.zeros((8, 2, 4, 5)), None, TypeError, "events must be a tensor, got ndarray"),
        (EVENTS.to(torch.complex64), None, TypeError, r"dense and real, got torch\.complex64"),
        (EVENTS.to_sparse(), None, TypeError, r"dense and real, got torch\.float32 torch\.sparse_coo"),
        (torch.full((1, 2, 4, 5), 129).byte(), None, ValueError, "0 or 1.*got 129; unpack packed ones first"),
        (EVENTS, 7, ValueError, r"distinct dimensions -5 to 4 of events \[8, 1, 2, 4, 5\], got 7"),
        (EVENTS, -6, ValueError, "dimensions -5 to 4.*got -6"),
        (EVENTS, (1, 5), ValueError, r"dimensions -5 to 4.*got \(1, 5\)"),
        (EVENTS, (1, 1), ValueError, r"distinct.*got \(1, 1\)"),
        (EVENTS, (4, -1), ValueError, r"distinct.*got \(4, -1\)"),
        (EVENTS, 1.0, TypeError, r"dim must be an int, several, or None, got 1\.0"),
        (EVENTS, "13", TypeError, "dim must be an int, several, or None, got '13'"),
    ],
)
def test_event_rate_refuses_what_has_none(events: Any, dim: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        event_rate(events, dim)


def test_a_message_does_not_show_a_number_of_many_digits() -> None:
    for ratio in (10**400, -(10**400), Fraction(10**400)):
        with pytest.raises(ValueError, match="finite and not negative") as caught:
            convert(IMAGES, ratio)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 100


def test_an_output_that_shares_memory_is_refused() -> None:
    memory = torch.rand(8 * 2 * 2 * 4 * 5)
    out, images = memory.view(8, 2, 2, 4, 5), memory[40:160].view(2, 3, 4, 5)
    before = memory.clone()
    with pytest.raises(ValueError, match=r"out must not share memory with images; pass images\.clone\(\)"):
        convert(images, out=out)
    assert torch.equal(memory, before)


def test_an_output_beside_the_images_in_one_storage_is_written() -> None:
    memory = torch.rand(120 + 8 * 2 * 2 * 4 * 5)
    images, out = memory[:120].view(2, 3, 4, 5), memory[120:].view(8, 2, 2, 4, 5)
    expected = convert(images.clone())
    assert convert(images, out=out) is out
    assert torch.equal(out, expected)
