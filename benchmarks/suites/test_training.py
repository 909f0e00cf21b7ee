"""Training with the conversion inside the network: whole steps and their stages, here and in the published loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.baselines.official_loop import Conversion, Images, PublishedLoop
from benchmarks.harness.devices import on
from benchmarks.harness.picture_sets import like_cifar10
from benchmarks.harness.workload import fresh_images, in_turn
from benchmarks.report.sections import TRAINING_STAGES
from i2e_triton import reference
from i2e_triton.sources import open_source
from i2e_triton.training import loop, train
from i2e_triton.training.data import Splits, build_loaders
from i2e_triton.training.distributed import Place
from i2e_triton.training.images import SourceImages
from i2e_triton.training.optimizer import build_optimizer
from i2e_triton.training.options import parse_options
from i2e_triton.training.resume import Start

_BATCH = {"cpu": 4, "cuda": 128}
#: Steps without a pause between them: a loop that never waits for the GPU is ahead of it only then.
_STEPS = {"cpu": 1, "cuda": 10}
_LOOPS = ("ours", "published")

Batch = tuple[Tensor, Tensor]


@dataclass
class Contender:
    """A loop that is ready, and what its stages need.

    Attributes:
        network: takes images and dense events; ``i2e`` is its conversion.
        precision: of autocast, None without.
        step: trains on a batch in the host's memory.
        batches: in the host's memory, images of the type that the loop's loader gives.
        loader: of training.
    """

    network: nn.Module
    precision: torch.dtype | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    label_smoothing: float
    step: Callable[[Tensor, Tensor], object]
    batches: list[Batch]
    loader: DataLoader[Any]


Contenders = Callable[[str], dict[str, Contender]]


@pytest.fixture(scope="module")
def contenders(tmp_path_factory: pytest.TempPathFactory) -> Contenders:
    """Both loops on a device, with the same weights and images, found to compute the same loss."""
    folder = tmp_path_factory.mktemp("pictures")
    like_cifar10(folder)
    return cache(partial(_contenders, folder))


@pytest.fixture(autouse=True)
def _modes() -> Iterator[None]:
    """What both loops set: convolutions are chosen by trial, and matrices multiplied in tf32 on a GPU."""
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(("device", "which"), [on(device, which) for device in _BATCH for which in _LOOPS])
def test_step(measure: Callable[..., None], contenders: Contenders, device: str, which: str) -> None:
    """Whole steps, from images in the host's memory to new weights."""
    contender = contenders(device)[which]
    one = in_turn([partial(contender.step, *batch) for batch in contender.batches])

    def call() -> None:
        for _ in range(_STEPS[device]):
            one()

    case = _case(contender, which, device)
    measure("training", case, call, device=device, images=_BATCH[device], per_call=_STEPS[device], alone=one)


def stages() -> list[Any]:
    """Parameter sets (device, stage, loop); data are prepared by the host."""
    return [
        on(device, stage, which, host_clock=stage == "data")
        for device in _BATCH
        for stage in TRAINING_STAGES
        for which in _LOOPS
    ]


@pytest.mark.parametrize(("device", "stage", "which"), stages())
def test_stages(measure: Callable[..., None], contenders: Contenders, device: str, stage: str, which: str) -> None:
    """One stage of a step; the data without workers, in the loop itself."""
    contender = contenders(device)[which]
    call = _STAGES[stage](contender, device)
    case = {**_case(contender, which, device), "stage": stage}
    measure("training stages", case, call, device=device, images=_BATCH[device])


def _case(contender: Contender, which: str, device: str) -> dict[str, Any]:
    precision = str(contender.precision or torch.float32).removeprefix("torch.")
    size = contender.batches[0][0].shape[-1]
    return {"loop": which, "model": "resnet18", "precision": precision, "batch": _BATCH[device], "size": size}


def _contenders(pictures: Path, device: str) -> dict[str, Contender]:
    options = ["--recipe", "baseline2", "--dataset", "cifar10", "--dummy", "-bz", str(_BATCH[device]), "-w", "0"]
    run = train.prepare(parse_options([*options, "--device", device]), Place(torch.device(device)), Start())
    recipe = run.recipe
    labels = torch.randint(recipe.classes, (2, _BATCH[device]))
    images = [fresh_images(_BATCH[device], recipe.size, "uint8", "cpu", "photographs") for _ in labels]
    samples = SourceImages(open_source(str(pictures), split="train"))
    loaders = build_loaders(Splits(samples, samples, None), recipe, run.place, workers=0)
    ours = Contender(
        run.network,
        run.precision,
        run.optimizer,
        run.scaler,
        recipe.label_smoothing,
        partial(loop.train_step, run, epoch=0),
        [_pinned(batch, device) for batch in zip(images, labels)],
        loaders.train,
    )
    network = train.build_network(recipe).to(device)
    network.load_state_dict(run.network.state_dict())
    network.register_module("i2e", Conversion(recipe.ratio).to(device))
    precision = torch.float16 if device == "cuda" else None
    theirs = PublishedLoop(network, build_optimizer(network, recipe), recipe.label_smoothing, precision)
    published = Contender(
        network,
        precision,
        theirs.optimizer,
        theirs.scaler,
        recipe.label_smoothing,
        theirs.step,
        [_pinned((reference.scale(some), labels_of_some), device) for some, labels_of_some in zip(images, labels)],
        DataLoader(Images(samples), recipe.batch_size, shuffle=True, pin_memory=device == "cuda"),
    )
    _assert_same(ours, published, device)
    return {"ours": ours, "published": published}


def _pinned(batch: Batch, device: str) -> Batch:
    """As loaders leave a batch: in memory that a GPU can read by itself where there is one."""
    return (batch[0].pin_memory(), batch[1].pin_memory()) if device == "cuda" else batch


@torch.no_grad()
def _assert_same(ours: Contender, published: Contender, device: str) -> None:
    """Compare events, bit for bit, and losses in float32, both of the canonical motion vectors.

    What is published, and the losses, are computed on the CPU: a GPU's convolutions sum up in an order that depends on
    the layout, and tip neurons over their threshold.
    """
    networks = [copy.deepcopy(contender.network).cpu() for contender in (ours, published)]
    images = [contender.batches[0][0][:4].cpu() for contender in (ours, published)]
    labels = ours.batches[0][1][:4].cpu()
    losses = []
    for network, some in zip(networks, images):
        network.to(memory_format=torch.contiguous_format).get_submodule("i2e").eval()
        logits = network(some)
        assert float(logits.std(0).min()) > 0, "a silent network has the same loss for any images"
        losses.append(F.cross_entropy(logits, labels, label_smoothing=ours.label_smoothing))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    conversion = ours.network.get_submodule("i2e").eval()
    assert torch.equal(conversion(images[0].to(device)).cpu(), networks[1].get_submodule("i2e")(images[1]))
    conversion.train()


def _autocast(contender: Contender, device: str) -> torch.autocast:
    return torch.autocast(device, contender.precision, enabled=contender.precision is not None)


def _data(contender: Contender, device: str) -> Callable[[], object]:
    def endless() -> Iterator[Any]:
        while True:
            yield from contender.loader

    return partial(next, endless())


def _conversion(contender: Contender, device: str) -> Callable[[], Tensor]:
    images = contender.batches[0][0].to(device)

    def call() -> Tensor:
        with torch.no_grad(), _autocast(contender, device):
            return contender.network.get_submodule("i2e")(images)

    return call


def _forward(contender: Contender, device: str) -> Callable[[], Tensor]:
    """From events to the loss."""
    events, labels = _conversion(contender, device)(), contender.batches[0][1].to(device)

    def call() -> Tensor:
        with _autocast(contender, device):
            logits = contender.network(events)
            return F.cross_entropy(logits, labels, label_smoothing=contender.label_smoothing)

    return call


def _backward(contender: Contender, device: str) -> Callable[[], None]:
    """From the loss to gradients, over the same graph each time."""
    loss = contender.scaler.scale(_forward(contender, device)())

    def call() -> None:
        contender.optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)

    return call


def _optimizer(contender: Contender, device: str) -> Callable[[], None]:
    """From gradients, which are made up, to new weights."""
    parameters = [parameter for parameter in contender.network.parameters() if parameter.requires_grad]
    gradients = [1e-3 * torch.randn_like(parameter) for parameter in parameters]
    contender.scaler.scale(torch.ones((), device=device))  # a scaler that never scaled has no scale to divide by

    def call() -> None:
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        contender.scaler.step(contender.optimizer)
        contender.scaler.update()
        contender.optimizer.zero_grad(set_to_none=True)

    return call


_STAGES = dict(zip(TRAINING_STAGES, (_data, _conversion, _forward, _backward, _optimizer)))
