"""Random draws on a GPU equal those on the CPU, and replays of a CUDA graph draw new values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2e_triton import I2E, convert, random_shifts
from i2e_triton.augmentation import RandomCropResizeFlip, RandomResizedCropFlip, RandomTimestepDrop
from tests.draw_cases import DRAWS, with_operator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", DRAWS)
def test_equals_cpu(name: str, generator: torch.Generator) -> None:
    seed, number = torch.randint(-(2**63), 2**63 - 1, (2,), generator=generator).tolist()
    rows = torch.randint(-(2**63), 2**63 - 1, (5000,), generator=generator)
    for some_rows, seed_offset, batch in ((None, 0, 5000), (rows, 2**62 + 3, 5000), (None, 1, 1), (None, 1, 0)):
        on_cpu, on_gpu = torch.tensor([seed, number]), torch.tensor([seed, number], device="cuda")
        gpu_rows = None if some_rows is None else some_rows.cuda()
        for one, other in zip(
            (*with_operator(name, on_gpu, gpu_rows, seed_offset, batch), on_gpu),
            (*with_operator(name, on_cpu, some_rows, seed_offset, batch), on_cpu),
            strict=True,
        ):
            assert one.dtype == other.dtype
            assert torch.equal(one.cpu(), other)


def all_draws(
    augment: RandomCropResizeFlip | RandomResizedCropFlip, drop: RandomTimestepDrop, images: Tensor
) -> Tensor:
    return convert(images, 0.07, shifts=drop(random_shifts(len(images), device=images.device)), **augment(images))


def test_modules_draw_the_same_on_cpu_and_gpu() -> None:
    images = torch.randint(0, 256, (32, 3, 32, 40), dtype=torch.uint8)
    for module in (I2E(per_sample=True, seed=4).train(), I2E(seed=4).train()):
        on_cpu = [module(images) for _ in range(3)]
        module.manual_seed(4)
        module.cuda()
        assert all(torch.equal(module(images.cuda()).cpu(), events) for events in on_cpu)
    for augment in (RandomCropResizeFlip(64, seed=4), RandomResizedCropFlip(64, seed=4)):
        first = augment(images)
        augment.manual_seed(4)
        second = augment(images.cuda())
        assert torch.equal(first["crop"], second["crop"].cpu())
        assert torch.equal(first["flip"], second["flip"].cpu())
    generators = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    assert torch.equal(random_shifts(9, generators[0]), random_shifts(9, generators[1], device="cuda").cpu())


@pytest.mark.parametrize("seed", [None, 5])
def test_draws_do_not_synchronize(seed: int | None) -> None:
    images = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8, device="cuda")
    for augment in (RandomCropResizeFlip(64, seed=seed), RandomResizedCropFlip(64, seed=seed)):
        drop = RandomTimestepDrop(0.3, seed=seed)
        all_draws(augment, drop, images)  # compiles, and copies the motion vectors to the GPU
        torch.cuda.set_sync_debug_mode("error")
        try:
            all_draws(augment, drop, images)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("seed", [None, 5])
def test_replays_of_a_graph_draw_new_values(seed: int | None) -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, device="cuda")
    augment, drop = RandomCropResizeFlip(64, seed=seed), RandomTimestepDrop(0.3, seed=seed)
    module = I2E(per_sample=True, seed=seed).cuda().train()
    for _ in range(2):  # compiles, and moves the states to the GPU
        all_draws(augment, drop, images)
        module(images)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = all_draws(augment, drop, images), module(images)
    replays = []
    for _ in range(3):
        graph.replay()
        replays.append([events.clone() for events in captured])
    for i in range(2):
        assert not any(torch.equal(one, other) for one, other in zip(replays[i], replays[i + 1]))
    if seed is not None:
        module.manual_seed(seed)
        expected = [module(images) for _ in range(5)][2:]  # the replays are calls 2 to 4
        assert all(torch.equal(events, replay[1]) for events, replay in zip(expected, replays))


@pytest.mark.parametrize("backend", ["inductor", "cudagraphs"])
def test_torch_compile(backend: str) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, device="cuda")
    first, second = (RandomResizedCropFlip(64, seed=6).cuda() for _ in range(2))
    compiled = torch.compile(lambda x: convert(x, 0.1, **first(x)), fullgraph=True, backend=backend)
    for _ in range(4):
        assert torch.equal(compiled(images), convert(images, 0.1, **second(images)))
