"""``I2E``, the drop-in replacement for the official module."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn

from i2e_triton import I2E, ORDERS, random_shifts, reference
from i2e_triton.transforms import ImageToEvents
from tests.cases import IMAGE_DTYPES, pack
from tests.samples import assert_same_events, canonical_events, events_of_each_candidate, noise, resized_photograph


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    """Return random images, for which the motion vectors of a group give different events."""
    return noise((3, 3, 12, 10), torch.uint8, generator)


def test_arguments_of_the_official_module(images: Tensor) -> None:
    events = I2E(0.12, (4, 5, 6, 7, 0, 1, 2, 3)).eval()(images)
    assert events.shape == (8, 3, 2, 12, 10)
    assert_same_events(events, canonical_events(images))
    assert_same_events(I2E().eval()(images), canonical_events(images))
    assert_same_events(I2E(0.3).eval()(images), canonical_events(images, 0.3))
    assert_same_events(
        I2E(0.3, (7, 6, 5, 4, 3, 2, 1, 0)).eval()(images), canonical_events(images, 0.3, range(7, -1, -1))
    )


@pytest.mark.parametrize("name", ORDERS)
def test_order_by_name_number_and_groups(name: str, images: Tensor) -> None:
    expected = canonical_events(images, order=ORDERS[name])
    for order in (name, list(ORDERS).index(name), ORDERS[name], list(ORDERS[name])):
        assert_same_events(I2E(0.12, order).eval()(images), expected)


def test_shuffle_is_an_alias_of_order(images: Tensor) -> None:
    for order in (0, "beta-alpha-gamma", (7, 6, 5, 4, 3, 2, 1, 0)):
        module = I2E(shuffle=order)
        assert module.order == module.shuffle == order
        assert_same_events(module.eval()(images), canonical_events(images, order=order))
    with pytest.raises(TypeError, match="shuffle is the official name of order; pass one, got order=0, shuffle=1"):
        I2E(order=0, shuffle=1)


def test_training_mode_draws_one_vector_of_each_group(images: Tensor) -> None:
    candidates = events_of_each_candidate(images)
    module = I2E().train()
    drawn = [module(images) for _ in range(40)]
    for t, of_group in enumerate(candidates):
        matches = [[torch.equal(events[t], candidate) for candidate in of_group] for events in drawn]
        assert all(any(match) for match in matches)  # no vector of another group
        assert len({match.index(True) for match in matches}) > 1
    assert len({events.numpy().tobytes() for events in drawn}) > 30


def test_training_mode_draws_once_per_batch(images: Tensor) -> None:
    same = images[:1].expand(3, -1, -1, -1)
    module = I2E().train()
    for _ in range(5):
        events = module(same)
        assert torch.equal(events[:, 0], events[:, 1])
        assert torch.equal(events[:, 0], events[:, 2])


def test_training_mode_with_per_sample_draws_for_every_image(images: Tensor) -> None:
    same = images[:1].expand(64, -1, -1, -1)
    candidates = events_of_each_candidate(images[:1])
    module = I2E(per_sample=True).train()
    events = module(same)
    for t, of_group in enumerate(candidates):
        matches = [[torch.equal(step, candidate[0]) for candidate in of_group] for step in events[t]]
        assert all(any(match) for match in matches)
        assert {match.index(True) for match in matches} == set(range(len(of_group)))
    assert_same_events(module.eval()(images), canonical_events(images))


def test_training_mode_draws_from_the_global_generator(images: Tensor) -> None:
    with torch.random.fork_rng():
        for per_sample in (False, True):
            module = I2E(per_sample=per_sample).train()
            torch.manual_seed(7)
            events = module(images)
            torch.manual_seed(7)
            shifts = random_shifts(3 if per_sample else None)
            assert_same_events(events, reference.convert(images, 0.12, shifts).float())


def test_random_false_is_canonical_in_training_mode(images: Tensor) -> None:
    assert_same_events(I2E(random=False).train()(images), canonical_events(images))


def test_evaluation_mode_is_deterministic(images: Tensor) -> None:
    module = I2E().train()
    module(images)
    module.eval()
    state = torch.get_rng_state()
    assert_same_events(module(images), canonical_events(images))
    assert_same_events(module(images), canonical_events(images))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_single_image_as_tensor_pil_image_and_array(per_sample: bool, training: bool, images: Tensor) -> None:
    image = images[0]
    pil_image = PIL.Image.fromarray(image.permute(1, 2, 0).numpy())
    candidates = events_of_each_candidate(image[None])
    module = I2E(per_sample=per_sample).train(training)
    for same in (image, pil_image, image.numpy(), image.permute(1, 2, 0).numpy()):
        events = module(same)
        assert events.shape == (8, 2, 12, 10)
        for step, group in zip(events, candidates):
            assert any(torch.equal(step, candidate[0]) for candidate in group)
        if not training:
            assert_same_events(events, canonical_events(images)[:, 0])
    assert module(images.numpy()).shape == (8, 3, 2, 12, 10)


def test_order_with_fewer_groups_than_8(images: Tensor) -> None:
    expected = canonical_events(images, order=(2, 1, 7, 0, 3, 4, 5, 6))
    for order, timesteps in (((2, 1, 7), 3), ((2, 1, 7, 0), 3), ((2,), 1)):
        module = I2E(order=order, timesteps=timesteps)
        assert_same_events(module.eval()(images), expected[:timesteps])
        assert module.train()(images).shape == (timesteps, 3, 2, 12, 10)
        loaded = I2E()
        loaded.load_state_dict(module.state_dict(), strict=True)
        assert_same_events(loaded.eval()(images)[:timesteps], expected[:timesteps])


def test_numpy_numbers_as_arguments(images: Tensor) -> None:
    module = I2E(np.float32(0.25), timesteps=np.int64(3))  # type: ignore[arg-type]
    assert_same_events(module.eval()(images), canonical_events(images, 0.25)[:3])
    assert repr(module) == repr(I2E(0.25, timesteps=3))


def test_timesteps_dtype_and_packed(images: Tensor) -> None:
    expected = canonical_events(images)
    assert_same_events(I2E(timesteps=3).eval()(images), expected[:3])
    assert I2E(timesteps=3).train()(images).shape == (3, 3, 2, 12, 10)
    assert_same_events(I2E(dtype=torch.bfloat16).eval()(images), expected.bfloat16())
    assert_same_events(I2E(packed=True).eval()(images), pack(expected.bool()))


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_autocast_and_half_do_not_change_the_events(dtype: torch.dtype) -> None:
    images = torch.stack([resized_photograph(name, 64) for name in ("astronaut", "coffee")])
    images = images if dtype == torch.uint8 else reference.scale(images).to(dtype)
    expected = canonical_events(images)
    for module in (I2E(), I2E().half(), I2E().bfloat16(), I2E().double(), I2E().to(torch.float16)):
        assert_same_events(module.eval()(images), expected)
        for autocast_dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", autocast_dtype):
                assert_same_events(module.eval()(images), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copy_converts_like_the_original(copied: Any, images: Tensor) -> None:
    order = (2, 3, 4, 5, 6, 7, 0, 1)
    module = I2E(0.2, order, timesteps=6, per_sample=True, dtype=torch.uint8)
    duplicate = copied(module)
    assert repr(duplicate) == repr(module)
    expected = canonical_events(images, 0.2, order)[:6].byte()
    assert_same_events(duplicate.eval()(images), expected)
    duplicate.load_state_dict(I2E().state_dict())  # loading into the copy does not change the original
    assert_same_events(module.eval()(images), expected)


@pytest.mark.parametrize("seed", range(2))
def test_events_pass_no_gradient_to_the_images(seed: int, images: Tensor) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(I2E(), nn.Flatten(2), nn.LazyLinear(3))
    leaf = images.float().requires_grad_()
    model(leaf).sum().backward()
    assert leaf.grad is None
    assert isinstance(model[2].weight.grad, Tensor)


def test_padding_mode_must_be_replicate(images: Tensor) -> None:
    assert_same_events(I2E(padding_mode="replicate").eval()(images), canonical_events(images))
    with pytest.raises(ValueError, match="padding_mode must be 'replicate', got 'zeros'"):
        I2E(padding_mode="zeros")


def test_repr_shows_the_arguments() -> None:
    assert repr(I2E(0.07, 5, timesteps=4, packed=True)) == (
        "I2E(ratio=0.07, order=5, timesteps=4, random=True, per_sample=False, dtype=torch.float32, packed=True, "
        "layout=TBCHW)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.12, (4, 5, 6)), ValueError, r"order \(4, 5, 6\) has 3 groups, too few for 8 timesteps"),
        ((0.12, (0, 0, 1, 2, 3, 4, 5, 6)), ValueError, "distinct group numbers"),
        ((12,), ValueError, r"ratio must be in \[0, 1\], got 12; did you mean 0\.12\?"),
        ((float("inf"),), ValueError, r"ratio must be in \[0, 1\], got inf"),
        (
            (torch.tensor([0.1, 0.2]),),
            TypeError,
            "ratio must be a number, got Tensor.*only i2e_triton.convert accepts one ratio per image",
        ),
    ],
)
def test_wrong_arguments_raise_error_in_the_constructor(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        I2E(*arguments)


@pytest.mark.parametrize("made", [I2E, ImageToEvents])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"dtype": torch.int64}, TypeError, r"dtype must be float32.*bool, got torch\.int64"),
        ({"dtype": np.float32}, TypeError, r"dtype must be float32.*bool, got <class 'numpy\.float32'>"),
        ({"packed": 1}, TypeError, "packed must be True or False, got 1"),
        ({"timesteps": 2.0}, TypeError, r"timesteps must be an int, got float 2\.0"),
        ({"timesteps": 0}, ValueError, "timesteps must be 1 to 8, got 0"),
        ({"timesteps": 9}, ValueError, "timesteps must be 1 to 8, got 9"),
        ({"order": "delta"}, ValueError, "order must be one of.*got 'delta'"),
        ({"ratio": -0.1}, ValueError, r"ratio must be in \[0, 1\], got -0\.1"),
        ({"ratio": "0.1"}, TypeError, "ratio must be a number"),
    ],
)
def test_wrong_settings_raise_error_in_the_constructor(
    made: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(**settings)
