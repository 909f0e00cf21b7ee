"""Arguments and results of ``convert``, ``pack``, ``unpack`` and ``event_rate``."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import tv_tensors

import i2e_triton
from i2e_triton import canonical_shifts, convert, event_rate, random_shifts, reference, unpack
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, pack
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph, poison_for, resized_photograph


def expected_events(images: Tensor, ratio: float | Tensor = 0.12, shifts: Tensor | None = None) -> Tensor:
    return reference.convert(images, ratio, canonical_shifts() if shifts is None else shifts)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_single_image_and_batch(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((3, 2, 6, 8), dtype, generator)
    expected = expected_events(images).float()
    assert_same_events(convert(images), expected)
    for b, image in enumerate(images):
        assert_same_events(convert(image), expected[:, b])
        assert_same_events(convert(image[None]), expected[:, b : b + 1])
        assert_same_events(convert(image, packed=True), pack(expected[:, b].bool()))


def test_event_rate_of_photographs_is_close_to_the_papers() -> None:
    # 224 x 224 and 0.12 are the official settings for ImageNet, whose official event rate is 6.66 %.
    events = convert(torch.stack([resized_photograph(name, 224) for name in PHOTOGRAPHS]))
    assert events.shape == (8, 4, 2, 224, 224)
    assert 0.03 < event_rate(events) < 0.12
    assert set(events.unique().tolist()) == {0.0, 1.0}
    assert not bool((events[:, :, 0] * events[:, :, 1]).any())  # never ON and OFF at once


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_empty_batch_gives_empty_events(dtype: torch.dtype) -> None:
    images = torch.zeros(0, 3, 5, 7)
    assert_same_events(convert(images, dtype=dtype), torch.zeros(8, 0, 2, 5, 7, dtype=dtype))
    assert_same_events(convert(images, packed=True, dtype=dtype), torch.zeros(0, 2, 5, 7, dtype=torch.uint8))
    per_image = convert(images, torch.zeros(0), shifts=random_shifts(0), dtype=dtype)
    assert_same_events(per_image, torch.zeros(8, 0, 2, 5, 7, dtype=dtype))


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_single_pixel_has_no_events(dtype: torch.dtype, generator: torch.Generator) -> None:
    image = noise((3, 1, 1), dtype, generator)
    assert_same_events(convert(image, 0), torch.zeros(8, 2, 1, 1))


def test_ratio_from_0_to_1(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 9), torch.float32, generator)
    for ratio in (0, 0.0, 1e-45, 1e-300, 0.999999, 1, 1.0):
        assert_same_events(convert(images, ratio), expected_events(images, ratio).float())
    assert convert(images, 0).sum() > convert(images, 0.5).sum() > convert(images, 1).sum()


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_ratio_1_gives_events_only_between_minimum_and_maximum(dtype: torch.dtype) -> None:
    image = torch.tensor([[[0, 0, 64, 200, 0, 199, 200]]]).to(dtype)
    right = torch.tensor([[0, 0, 0, 1]])
    assert convert(image, 1, shifts=right).int().tolist() == [[[[0, 0, 0, 0, 0, 0, 0]], [[0, 0, 0, 1, 0, 0, 0]]]]


def test_ratio_of_any_real_type(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 9), torch.float64, generator)
    ratios: list[Any] = [np.float32(0.3), np.float64(0.3), np.float16(0.3), np.int64(1), np.uint8(0), Fraction(3, 10)]
    for ratio in ratios:
        assert_same_events(convert(images, ratio), expected_events(images, float(ratio)).float())


def test_timesteps_of_any_integer_type(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 9), torch.uint8, generator)
    expected = expected_events(images).float()[:3]
    same: list[Any] = [np.int64(3), np.uint8(3), torch.tensor(3)]
    for timesteps in same:
        assert_same_events(convert(images, timesteps=timesteps), expected)
        assert_same_events(unpack(convert(images, timesteps=timesteps, packed=True), timesteps), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_one_ratio_per_image(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((4, 3, 9, 9), torch.uint8, generator)
    ratios = torch.rand(4, generator=generator).to(dtype)
    expected = expected_events(images, ratios).float()
    assert_same_events(convert(images, ratios), expected)
    assert_same_events(convert(images[2], ratios[2:3]), expected[:, 2])


def test_timesteps_are_the_first_canonical_ones(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 9), torch.uint8, generator)
    expected = expected_events(images).float()
    for timesteps in range(1, 9):
        assert_same_events(convert(images, timesteps=timesteps), expected[:timesteps])
        assert_same_events(convert(images, timesteps=timesteps, packed=True), pack(expected[:timesteps].bool()))


def test_shifts_set_the_number_of_timesteps(generator: torch.Generator) -> None:
    images = noise((2, 3, 9, 9), torch.uint8, generator)
    for count in (1, 8, 11):
        shifts = torch.randint(-4, 5, (2, count, 4), generator=generator)
        expected = expected_events(images, 0.12, shifts).float()
        assert_same_events(convert(images, shifts=shifts, timesteps=3), expected)
        assert_same_events(convert(images[0], shifts=shifts[0]), expected[:, 0])
        assert_same_events(convert(images[1], shifts=shifts[1:]), expected[:, 1])


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("output", [*EVENT_DTYPES, "packed"], ids=str)
def test_out_receives_the_events(single: bool, output: Any, generator: torch.Generator) -> None:
    images = noise((3, 2, 6, 8), torch.uint8, generator)
    expected = expected_events(images)
    expected = pack(expected) if output == "packed" else expected.to(output)
    images, expected = (images[0], expected.select(-4, 0)) if single else (images, expected)
    out = poison_for(expected)
    storage = out.data_ptr()
    # dtype has no effect on packed events
    assert convert(images, packed=output == "packed", dtype=expected.dtype, out=out) is out
    assert out.data_ptr() == storage
    assert_same_events(out, expected)
    assert_same_events(convert(images, packed=output == "packed", dtype=expected.dtype), expected)


def test_out_may_be_a_view_of_a_larger_tensor(generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 8), torch.float32, generator)
    expected = expected_events(images).float()
    larger = torch.full((8, 5, 2, 6, 9), torch.nan)
    convert(images, out=larger[:, 1:3, ..., :8])
    assert_same_events(larger[:, 1:3, ..., :8].contiguous(), expected)
    assert int(larger.isnan().sum()) == larger.numel() - expected.numel()  # nothing else is written


def test_result_never_requires_a_gradient(generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 8), torch.float32, generator)
    expected = expected_events(images).float()
    ratios = torch.full((2,), 0.12, requires_grad=True)
    for leaf in (images.clone().requires_grad_(), nn.Parameter(images), (images.clone().requires_grad_() * 1)):
        for events in (convert(leaf), convert(leaf, ratios), convert(leaf, out=torch.empty_like(expected))):
            assert not events.requires_grad
            assert events.grad_fn is None
            assert_same_events(events, expected)


def test_tv_tensor_gives_a_plain_tensor(generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 8), torch.uint8, generator)
    for image in (images, images[0]):
        events = convert(tv_tensors.Image(image))
        assert type(events) is Tensor
        assert_same_events(events, convert(image))


def test_negated_and_conjugated_views(generator: torch.Generator) -> None:
    image = noise((3, 6, 8), torch.float32, generator)
    complex_image = torch.complex(image, -image)
    assert complex_image.conj().imag.is_neg()
    assert_same_events(convert(complex_image.conj().imag), expected_events(image[None])[:, 0].float())


def test_default_device_and_dtype_have_no_effect(generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 8), torch.uint8, generator)
    expected = expected_events(images).float()
    float_images = images.float()
    float_expected = expected_events(float_images).float()
    with torch.device("meta"):
        assert_same_events(convert(images), expected)
        assert_same_events(convert(float_images), float_expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert_same_events(convert(images), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [*EVENT_DTYPES, torch.float64, torch.int64], ids=str)
@pytest.mark.parametrize("single", [False, True])
def test_pack_puts_timestep_t_into_bit_t(single: bool, dtype: torch.dtype, generator: torch.Generator) -> None:
    for timesteps in range(1, 9):
        events = torch.rand((timesteps, 3, 2, 5, 4), generator=generator) < 0.3
        events = events[:, 0] if single else events
        before = events.to(dtype)
        given = before.clone()
        assert_same_events(i2e_triton.pack(given), pack(events))
        assert torch.equal(given, before)


def test_pack_treats_every_nonzero_value_as_an_event() -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 300.0, torch.nan, torch.inf])
    packed = i2e_triton.pack(values.expand(8, 2, 1, 9))
    assert packed.tolist() == [[[0, 0, 255, 255, 255, 255, 255, 255, 255]]] * 2
    assert i2e_triton.pack(torch.full((2, 2, 1, 1), 2, dtype=torch.uint8)).flatten().tolist() == [3, 3]


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_pack_of_any_strides(dtype: torch.dtype, generator: torch.Generator) -> None:
    events = torch.rand((3, 6, 2, 5, 8), generator=generator) < 0.3
    for same in (events.transpose(0, 1)[:5], events.permute(1, 0, 2, 4, 3), events[:, :, :, ::2, 1::3]):
        packed = i2e_triton.pack(same.to(dtype).transpose(1, 2).contiguous().transpose(1, 2))
        assert_same_events(packed, pack(same))
        assert packed.is_contiguous()
    assert_same_events(i2e_triton.pack(events[:1].expand(8, -1, -1, -1, -1)), pack(events[:1]) * 255)
    assert i2e_triton.pack(events[:, :0]).shape == (0, 2, 5, 8)


def test_unpack_reads_timestep_t_from_bit_t() -> None:
    packed = torch.tensor([[[0b10110001]], [[0b01000010]]], dtype=torch.uint8)
    assert unpack(packed).flatten(1).tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [1, 0]]
    assert unpack(packed, 2).flatten(1).tolist() == [[1, 0], [0, 1]]
    assert unpack(packed).shape == (8, 2, 1, 1)
    assert int(packed[0]) == 0b10110001  # the argument is unchanged


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_unpack_of_any_strides(dtype: torch.dtype, generator: torch.Generator) -> None:
    packed = noise((3, 2, 6, 8), torch.uint8, generator)
    for same in (packed.mT, packed[..., ::3], packed[:1].expand(4, -1, -1, -1), packed.transpose(0, 1)[:, :2]):
        events = unpack(same, 7, dtype)
        assert events.is_contiguous()
        assert_same_events(events, torch.stack([(same >> t) & 1 for t in range(7)]).to(dtype))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from(EVENT_DTYPES), st.booleans())
def test_unpack_inverts_pack(seed: int, timesteps: int, dtype: torch.dtype, single: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    events = torch.rand((timesteps, 3, 2, 5, 4), generator=generator) < 0.3
    events = events[:, 0] if single else events
    assert_same_events(unpack(pack(events), timesteps, dtype), events.to(dtype))
    images = noise((3, 2, 9, 4), torch.uint8, generator)
    images = images[0] if single else images
    dense = convert(images, timesteps=timesteps, dtype=dtype)
    assert_same_events(unpack(convert(images, timesteps=timesteps, packed=True), timesteps, dtype), dense)


def test_event_rate_is_the_fraction_of_events() -> None:
    events = torch.zeros(2, 1, 2, 2, 5)
    events[0, 0, 0, 0, 0] = events[1, 0, 1, :, 4] = 1
    for same in (events, events.bool(), events.byte(), events.half()):
        assert_same_events(event_rate(same), torch.tensor(3 / 40, dtype=torch.float64))
        per_timestep = event_rate(same, (1, 3, 4))
        assert_same_events(per_timestep, torch.tensor([[0.1, 0], [0, 0.2]], dtype=torch.float64))
        assert event_rate(same, 0).shape == (1, 2, 2, 5)
        assert (
            event_rate(same, -1).tolist()
            == event_rate(same, (4,)).tolist()
            == [[[[0.2, 0], [0, 0]]], [[[0, 0], [0.2, 0.2]]]]
        )


def test_event_rate_by_timestep_and_polarity() -> None:
    events = convert(photograph("astronaut"), dtype=torch.bool)
    rates = event_rate(events, (2, 3))
    assert rates.shape == (8, 2)
    assert float(rates[3, 1]) == int(events[3, 1].sum()) / events[3, 1].numel()
    assert float(rates.mean()) == pytest.approx(float(event_rate(events)))


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_event_rate_is_the_same_for_every_chunk_size(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    events = (torch.rand((5, 3, 2, 7, 11), generator=generator) < 0.3).to(dtype)
    for view in (events, events.transpose(0, 3), events[:, :1, :, ::2]):
        for dim in (None, 0, -1, (1, 3, 4), (0, 2), [4, 0], range(1, 4)):
            dims = tuple(range(5)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
            expected = view.double().mean(dims)
            for chunk_elements in (1, 50, 2**18):
                monkeypatch.setattr("i2e_triton.functional._CHUNK_ELEMENTS", chunk_elements)
                assert torch.allclose(event_rate(view, dim), expected, rtol=1e-15, atol=0)
                assert event_rate(view, dim).shape == expected.shape


def test_event_rate_over_no_elements_is_nan() -> None:
    assert bool(event_rate(torch.zeros(8, 0, 2, 4, 4)).isnan())
    assert event_rate(torch.zeros(8, 0, 2, 4, 4), (1, 3, 4)).isnan().all()


def test_event_rate_over_an_empty_tuple_is_over_all_dimensions() -> None:
    events = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert event_rate(events, ()).tolist() == 0.75
