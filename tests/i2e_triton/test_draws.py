"""Where random draws take their seed and call number from: generators, modules with a seed, PyTorch's default."""

from __future__ import annotations

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from i2e_triton import I2E, canonical_shifts, convert, random_shifts
from i2e_triton.augmentation import RandomCropResizeFlip, RandomResizedCropFlip, RandomTimestepDrop
from i2e_triton.draws import SeededModule
from tests.samples import noise

IMAGES = noise((6, 3, 40, 44), torch.uint8, torch.Generator().manual_seed(1))
SHIFTS = canonical_shifts().expand(6, -1, -1)


def module(kind: str, seed: int | None = None) -> SeededModule:
    return {
        "crop": lambda: RandomCropResizeFlip(24, crop=16, seed=seed),
        "resized crop": lambda: RandomResizedCropFlip(24, seed=seed),
        "drop": lambda: RandomTimestepDrop(0.5, seed=seed),
        "I2E": lambda: I2E(per_sample=True, seed=seed).train(),
    }[kind]()


KINDS = ("crop", "resized crop", "drop", "I2E")


def drawn(module: nn.Module, generator: torch.Generator | None = None) -> Tensor:
    """Return what a module draws for ``IMAGES``, as one row of numbers."""
    if isinstance(module, I2E):
        return module(IMAGES).flatten()
    if isinstance(module, RandomTimestepDrop):
        return module(SHIFTS, generator).flatten()
    augmentation = module(IMAGES, generator)
    return torch.cat([augmentation["crop"].flatten(), augmentation["flip"]])


def several(module: nn.Module, count: int = 4) -> list[list[int]]:
    return [drawn(module).tolist() for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_module_with_a_seed_draws_new_values_in_each_call(kind: str) -> None:
    first = several(module(kind, 5))
    assert len({str(numbers) for numbers in first}) == 4
    torch.manual_seed(0)  # does not matter
    assert several(module(kind, 5)) == first
    assert several(module(kind, 6)) != first


@pytest.mark.parametrize("kind", KINDS)
def test_manual_seed_of_the_module_restarts_its_call_number(kind: str) -> None:
    one = module(kind, 5)
    first = several(one)
    one.manual_seed(5)
    assert several(one) == first
    one.manual_seed(2**64 - 1)
    assert several(one) == several(module(kind, 2**64 - 1))
    one.manual_seed(None)
    torch.manual_seed(3)
    unseeded = several(one)
    torch.manual_seed(3)
    assert several(module(kind)) == unseeded


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_run_draws_what_an_uninterrupted_one_draws(kind: str) -> None:
    one = nn.ModuleDict({"m": module(kind, 5)})
    several(one["m"])
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    expected = several(one["m"])
    for resumed in (nn.ModuleDict({"m": module(kind, 8)}), nn.ModuleDict({"m": module(kind)})):
        file.seek(0)
        result = resumed.load_state_dict(torch.load(file, weights_only=True), strict=True)
        assert str(result) == "<All keys matched successfully>"
        assert several(resumed["m"]) == expected


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_without_a_random_state_loads(kind: str, assign: bool) -> None:
    old = module(kind).state_dict()
    assert "random_state" not in old
    one, same = module(kind, 5), module(kind, 5)
    several(one, 2)
    several(same, 2)
    assert str(one.load_state_dict(old, strict=True, assign=assign)) == "<All keys matched successfully>"
    assert several(one) == several(same)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_have_their_own_call_number(kind: str) -> None:
    one = module(kind, 5)
    several(one, 1)
    expected = several(copy.deepcopy(one))
    for copied in (
        copy.deepcopy(one),
        pickle.loads(pickle.dumps(one)),
        ForkingPickler.loads(ForkingPickler.dumps(one)),
    ):
        assert several(copied) == expected
    assert several(one) == expected


@pytest.mark.parametrize("kind", ["crop", "resized crop", "drop"])
def test_same_generator_state_draws_the_same(kind: str) -> None:
    one, generator = module(kind, 5), torch.Generator().manual_seed(1)
    first, second = drawn(one, generator), drawn(one, generator)
    assert not torch.equal(first, second)
    for other in (one, module(kind)):  # the module's seed does not matter
        generator.manual_seed(1)
        assert torch.equal(drawn(other, generator), first)
        assert torch.equal(drawn(other, generator), second)
    assert several(one) == several(module(kind, 5))  # the module's call number did not change


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_seed_the_default_generator_is_used(kind: str) -> None:
    one = module(kind)
    torch.manual_seed(9)
    first = several(one)
    assert several(one) != first
    torch.manual_seed(9)
    assert several(one) == first


def test_ranks_with_the_same_seed_draw_different_values() -> None:
    expected = several(module("crop", 5))
    drawn_by_rank = []
    for rank in range(3):
        with (
            mock.patch("torch.distributed.is_initialized", return_value=True),
            mock.patch("torch.distributed.get_rank", return_value=rank),
        ):
            drawn_by_rank.append(several(module("crop", 5)))
    assert drawn_by_rank[0] == expected
    assert len({str(numbers) for numbers in drawn_by_rank}) == 3


class Drawn(Dataset[Tensor]):
    """What one module draws for each of 6 samples."""

    def __init__(self, module: SeededModule):
        self.module = module

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return drawn(self.module)


@pytest.mark.parametrize(
    ("context", "seed", "persistent"),
    [
        ("fork", None, False),
        ("fork", 5, False),
        ("fork", 5, True),
        pytest.param("spawn", 5, False, marks=pytest.mark.slow),
    ],
)
def test_workers_and_epochs_draw_different_values(
    context: str, seed: int | None, persistent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_epochs() -> list[list[int]]:
        loader = DataLoader(
            Drawn(module("crop", seed)),
            batch_size=None,
            num_workers=2,
            multiprocessing_context=context,
            persistent_workers=persistent,
            generator=torch.Generator().manual_seed(3),
        )
        return [sample.tolist() for _ in range(2) for sample in loader]

    first = two_epochs()
    assert len({str(numbers) for numbers in first}) == 12
    assert two_epochs() == first
    monkeypatch.setenv("RANK", "7")
    assert (two_epochs() == first) == (seed is None)  # without a seed, only PyTorch's seeds of the workers matter


def test_state_is_on_the_device_of_the_images() -> None:
    one = module("crop", 5)
    assert drawn(one.to(torch.float16)).tolist() == several(module("crop", 5), 1)[0]
    one(IMAGES.to("meta"))
    assert one.random_state is not None
    assert one.random_state.device.type == "meta"
    with torch.device("meta"):
        created = I2E(seed=3)
    assert created.random_state is not None
    assert created.random_state.device.type == "meta"


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_draws_equal_eager_ones(backend: str) -> None:
    def draw(crop: Any, resized: Any, drop: Any, network: Any) -> Tensor:
        shifts = drop(random_shifts(6))
        augmented = [
            convert(IMAGES, shifts=shifts, dtype=torch.uint8, **augment(IMAGES)) for augment in (crop, resized)
        ]
        return torch.cat([events.flatten() for events in (*augmented, network(IMAGES).byte())])

    torch._dynamo.reset()
    compiled = torch.compile(draw, fullgraph=True, backend=backend)
    eager_modules, compiled_modules = ([module(kind, 4) for kind in KINDS] for _ in range(2))
    torch.manual_seed(3)
    expected = [draw(*eager_modules) for _ in range(3)]
    torch.manual_seed(3)
    with torch._inductor.config.patch(fallback_random=True):  # the random numbers of eager mode, for random_shifts
        assert all(torch.equal(compiled(*compiled_modules), events) for events in expected)


def test_random_shifts_on_another_device_than_the_generator() -> None:
    assert random_shifts(3, torch.Generator(), device="meta").device.type == "meta"
    assert random_shifts(3, device="meta").device.type == "meta"
    with torch.device("meta"):
        assert random_shifts(3).device.type == "meta"
    generator = mock.Mock(spec=torch.Generator, device=torch.device("cuda:1"))
    for device in ("cpu", "cuda:0"):
        with pytest.raises(ValueError, match=rf"on the CPU or on the device of the draw, {device}, got cuda:1"):
            random_shifts(3, generator, device=device)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (1.5, TypeError, r"seed must be an int, got float 1\.5"),
        (-1, ValueError, r"seed must be 0 to 2\^64 - 1, got -1"),
    ],
)
def test_wrong_seed_raises_error(seed: Any, error: type[Exception], message: str) -> None:
    for kind in KINDS:
        with pytest.raises(error, match=message):
            module(kind, seed)
