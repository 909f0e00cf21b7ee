"""Training with the conversion inside the network: steps and their stages, in this package and in the official loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.baselines.official_loop import Conversion, Images, OfficialLoop
from benchmarks.harness.image_sets import like_cifar10
from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import TRAINING_STAGES, cycle_calls, random_images
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
# Steps per measured call. A loop that never waits for the GPU is ahead of it only over several steps.
_STEPS = {"cpu": 1, "cuda": 10}
_LOOPS = ("ours", "official")

Batch = tuple[Tensor, Tensor]


@dataclass
class Loop:
    """A training loop.

    Attributes:
        name: ``"ours"`` or ``"official"``.
        network: takes images and dense events; its module ``i2e`` converts.
        precision: type of autocast, None without autocast.
        step: trains on a batch in host memory.
        batches: batches in host memory, with images of the type that ``loader`` returns.
        loader: loader of training images.
    """

    name: str
    network: nn.Module
    precision: torch.dtype | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    label_smoothing: float
    step: Callable[[Tensor, Tensor], object]
    batches: list[Batch]
    loader: DataLoader[Any]

    def autocast(self, device: str) -> torch.autocast:
        """Return the autocast context of the loop."""
        return torch.autocast(device, self.precision, enabled=self.precision is not None)

    def case(self) -> dict[str, Any]:
        """Return the case of a row."""
        precision = str(self.precision or torch.float32).removeprefix("torch.")
        batch, size = self.batches[0][0].shape[0], self.batches[0][0].shape[-1]
        return {"loop": self.name, "model": "resnet18", "precision": precision, "batch": batch, "size": size}


Loops = Callable[[str], dict[str, Loop]]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """Return a function that builds both loops on a device, with equal weights and images."""
    folder = tmp_path_factory.mktemp("images")
    like_cifar10(folder)
    return cache(partial(build_loops, folder))


@pytest.fixture(autouse=True)
def _modes() -> Iterator[None]:
    """Set the modes that both loops use: cuDNN benchmarking and tf32 matrix products."""
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(("device", "which"), [device_param(device, which) for device in _BATCH for which in _LOOPS])
def test_step(measure: Callable[..., None], loops: Loops, device: str, which: str) -> None:
    """Measure steps from images in host memory to new weights."""
    measured = loops(device)[which]
    step = cycle_calls([partial(measured.step, *batch) for batch in measured.batches])

    def call() -> None:
        for _ in range(_STEPS[device]):
            step()

    counts = {"images": _BATCH[device], "per_call": _STEPS[device]}
    measure("training", measured.case(), call, device=device, memory_call=step, **counts)


def stage_cases() -> list[Any]:
    """Return the parameters (device, stage, loop)."""
    return [device_param(device, *case) for device in _BATCH for case in product(TRAINING_STAGES, _LOOPS)]


@pytest.mark.parametrize(("device", "stage", "which"), stage_cases())
def test_stages(measure: Callable[..., None], loops: Loops, device: str, stage: str, which: str) -> None:
    """Measure one stage of a step, or the preparation of its data without workers."""
    measured = loops(device)[which]
    call = _STAGES[stage](measured, device)
    measure("training stages", {**measured.case(), "stage": stage}, call, device=device, images=_BATCH[device])


def build_loops(folder: Path, device: str) -> dict[str, Loop]:
    """Build both loops on the images of a folder, and compare their losses and events."""
    options = ["--recipe", "baseline2", "--dataset", "cifar10", "--dummy", "-bz", str(_BATCH[device]), "-w", "0"]
    run = train.prepare(parse_options([*options, "--device", device]), Place(torch.device(device)), Start())
    recipe = run.recipe
    labels = torch.randint(recipe.classes, (2, _BATCH[device]))
    images = [random_images(_BATCH[device], recipe.size, "uint8", "cpu", "photographs") for _ in labels]
    samples = SourceImages(open_source(str(folder), split="train"))
    loaders = build_loaders(Splits(samples, samples, None), recipe, run.place, workers=0)
    ours = Loop(
        "ours",
        run.network,
        run.precision,
        run.optimizer,
        run.scaler,
        recipe.label_smoothing,
        partial(loop.train_step, run, epoch=0),
        [pin(batch, device) for batch in zip(images, labels)],
        loaders.train,
    )
    network = train.build_network(recipe).to(device)
    network.load_state_dict(run.network.state_dict())
    network.register_module("i2e", Conversion(recipe.ratio).to(device))
    precision = torch.float16 if device == "cuda" else None
    steps = OfficialLoop(network, build_optimizer(network, recipe), recipe.label_smoothing, precision)
    official = Loop(
        "official",
        network,
        precision,
        steps.optimizer,
        steps.scaler,
        recipe.label_smoothing,
        steps.step,
        [pin((reference.scale(batch), batch_labels), device) for batch, batch_labels in zip(images, labels)],
        DataLoader(Images(samples), recipe.batch_size, shuffle=True, pin_memory=device == "cuda"),
    )
    check_equal(ours, official, device)
    return {"ours": ours, "official": official}


def pin(batch: Batch, device: str) -> Batch:
    """Return a batch as a loader does: in pinned memory for a GPU."""
    return (batch[0].pin_memory(), batch[1].pin_memory()) if device == "cuda" else batch


@torch.no_grad()
def check_equal(ours: Loop, official: Loop, device: str) -> None:
    """Compare the events of both loops bit for bit, and their losses in float32, with the canonical motion vectors.

    The losses and the official events are computed on the CPU: the summation order of a GPU's convolution depends on
    the memory layout and can decide whether a neuron fires.
    """
    networks = [copy.deepcopy(some.network).cpu() for some in (ours, official)]
    images = [some.batches[0][0][:4].cpu() for some in (ours, official)]
    labels = ours.batches[0][1][:4].cpu()
    losses = []
    for network, batch in zip(networks, images):
        network.to(memory_format=torch.contiguous_format).get_submodule("i2e").eval()
        logits = network(batch)
        assert float(logits.std(0).min()) > 0, "the network does not fire, so its loss does not depend on the images"
        losses.append(F.cross_entropy(logits, labels, label_smoothing=ours.label_smoothing))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    conversion = ours.network.get_submodule("i2e").eval()
    assert torch.equal(conversion(images[0].to(device)).cpu(), networks[1].get_submodule("i2e")(images[1]))
    conversion.train()


def _data(measured: Loop, device: str) -> Callable[[], object]:
    def endless() -> Iterator[Any]:
        while True:
            yield from measured.loader

    return partial(next, endless())


def _conversion(measured: Loop, device: str) -> Callable[[], Tensor]:
    images = measured.batches[0][0].to(device)

    def call() -> Tensor:
        with torch.no_grad(), measured.autocast(device):
            return measured.network.get_submodule("i2e")(images)

    return call


def _forward(measured: Loop, device: str) -> Callable[[], Tensor]:
    events, labels = _conversion(measured, device)(), measured.batches[0][1].to(device)

    def call() -> Tensor:
        with measured.autocast(device):
            return F.cross_entropy(measured.network(events), labels, label_smoothing=measured.label_smoothing)

    return call


def _backward(measured: Loop, device: str) -> Callable[[], None]:
    loss = measured.scaler.scale(_forward(measured, device)())

    def call() -> None:
        measured.optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)

    return call


def _optimizer(measured: Loop, device: str) -> Callable[[], None]:
    parameters = [parameter for parameter in measured.network.parameters() if parameter.requires_grad]
    gradients = [1e-3 * torch.randn_like(parameter) for parameter in parameters]
    measured.scaler.scale(torch.ones((), device=device))  # creates the scale that step() divides by

    def call() -> None:
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        measured.scaler.step(measured.optimizer)
        measured.scaler.update()
        measured.optimizer.zero_grad(set_to_none=True)

    return call


_STAGES = dict(zip(TRAINING_STAGES, (_data, _conversion, _forward, _backward, _optimizer)))
