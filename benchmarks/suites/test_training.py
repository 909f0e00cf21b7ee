"""Training with the conversion inside the network: steps and stages of this package's loop and of the official loop."""

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
from torch import Tensor
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
# Steps per measured call. On a GPU several steps, so that a loop that does not wait for the GPU can run ahead of it.
_STEPS = {"cpu": 1, "cuda": 10}
_LOOPS = ("ours", "official")

Batch = tuple[Tensor, Tensor]


@dataclass
class Loop:
    """A training loop.

    Attributes:
        name: ``"ours"`` or ``"official"``.
        run: has the attributes ``network``, ``optimizer``, ``scaler`` and ``precision``, the dtype of autocast or None
            without autocast. The network takes images or dense events; its submodule ``i2e`` converts.
        step: trains on a batch in host memory.
        batches: batches in host memory, with images of the dtype that ``loader`` returns.
        loader: loader of training images.
        label_smoothing: label smoothing of the loss.
    """

    name: str
    run: loop.Run | OfficialLoop
    step: Callable[[Tensor, Tensor], object]
    batches: list[Batch]
    loader: DataLoader[Any]
    label_smoothing: float

    def case(self) -> dict[str, Any]:
        """Return the case of a row."""
        precision = str(self.run.precision or torch.float32).removeprefix("torch.")
        batch, size = self.batches[0][0].shape[0], self.batches[0][0].shape[-1]
        return {"loop": self.name, "model": "resnet18", "precision": precision, "batch": batch, "size": size}


Loops = Callable[[str], dict[str, Loop]]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """Return a function that returns both loops on a device, with equal weights and images."""
    folder = tmp_path_factory.mktemp("images")
    like_cifar10(folder)
    return cache(partial(build_loops, folder))


@pytest.fixture(autouse=True)
def _backend_settings() -> Iterator[None]:
    """Set the backend options of both loops: cuDNN benchmarking and tf32 matrix products."""
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(("device", "name"), [device_param(device, name) for device in _BATCH for name in _LOOPS])
def test_step(measure: Callable[..., None], loops: Loops, device: str, name: str) -> None:
    """Measure steps from images in host memory to updated weights."""
    measured = loops(device)[name]
    step = cycle_calls([partial(measured.step, *batch) for batch in measured.batches])

    def call() -> None:
        for _ in range(_STEPS[device]):
            step()

    counts = {"images": _BATCH[device], "per_call": _STEPS[device]}
    measure("training", measured.case(), call, device=device, memory_call=step, **counts)


@pytest.mark.parametrize("name", _LOOPS)
@pytest.mark.parametrize(("device", "stage"), [device_param(*case) for case in product(_BATCH, TRAINING_STAGES)])
def test_stages(measure: Callable[..., None], loops: Loops, device: str, stage: str, name: str) -> None:
    """Measure one stage of a step, or the preparation of its data in the main process."""
    measured = loops(device)[name]
    call = stage_call(measured, stage, device)
    measure("training stages", {**measured.case(), "stage": stage}, call, device=device, images=_BATCH[device])


def build_loops(folder: Path, device: str) -> dict[str, Loop]:
    """Return both loops on the images of a folder, after a comparison of their losses and events."""
    options = ["--recipe", "baseline2", "--dataset", "cifar10", "--dummy", "-bz", str(_BATCH[device]), "-w", "0"]
    run = train.prepare(parse_options([*options, "--device", device]), Place(torch.device(device)), Start())
    recipe = run.recipe
    labels = torch.randint(recipe.classes, (2, _BATCH[device]))
    images = [random_images(_BATCH[device], recipe.size, "uint8", "cpu", "photographs") for _ in labels]
    samples = SourceImages(open_source(str(folder), split="train"))
    loaders = build_loaders(Splits(samples, samples, None), recipe, run.place, workers=0)
    batches = [pin(batch, device) for batch in zip(images, labels)]
    step = partial(loop.train_step, run, epoch=0)
    ours = Loop("ours", run, step, batches, loaders.train, recipe.label_smoothing)
    network = train.build_network(recipe).to(device)
    network.load_state_dict(run.network.state_dict())
    network.register_module("i2e", Conversion(recipe.ratio).to(device))
    precision = torch.float16 if device == "cuda" else None
    steps = OfficialLoop(network, build_optimizer(network, recipe), recipe.label_smoothing, precision)
    batches = [pin((reference.scale(batch), batch_labels), device) for batch, batch_labels in zip(images, labels)]
    loader = DataLoader(Images(samples), recipe.batch_size, shuffle=True, pin_memory=device == "cuda")
    official = Loop("official", steps, steps.step, batches, loader, recipe.label_smoothing)
    check_equal(ours, official, device)
    return {"ours": ours, "official": official}


def pin(batch: Batch, device: str) -> Batch:
    """Return a batch in the memory that a DataLoader would use: pinned for a GPU."""
    return (batch[0].pin_memory(), batch[1].pin_memory()) if device == "cuda" else batch


@torch.no_grad()
def check_equal(ours: Loop, official: Loop, device: str) -> None:
    """Compare the events of both loops bit for bit, and their losses in float32, with the canonical motion vectors.

    The losses and the official events are computed on the CPU. On a GPU, the summation order of a convolution depends
    on the memory layout, and this can decide whether a neuron fires.
    """
    networks = [copy.deepcopy(each.run.network).cpu() for each in (ours, official)]
    images = [each.batches[0][0][:4].cpu() for each in (ours, official)]
    labels = ours.batches[0][1][:4].cpu()
    losses = []
    for network, batch in zip(networks, images):
        network.to(memory_format=torch.contiguous_format).get_submodule("i2e").eval()
        logits = network(batch)
        assert float(logits.std(0).min()) > 0, "the network does not fire, so its loss does not depend on the images"
        losses.append(F.cross_entropy(logits, labels, label_smoothing=ours.label_smoothing))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    conversion = ours.run.network.get_submodule("i2e").eval()
    assert torch.equal(conversion(images[0].to(device)).cpu(), networks[1].get_submodule("i2e")(images[1]))
    conversion.train()


def stage_call(measured: Loop, stage: str, device: str) -> Callable[[], object]:
    """Return a function that runs one stage. The stage "data" uses the loader; the others use the first batch."""
    run = measured.run
    images, labels = (tensor.to(device) for tensor in measured.batches[0])

    def data() -> Iterator[Any]:
        while True:
            yield from measured.loader

    def conversion() -> Tensor:
        with torch.no_grad(), torch.autocast(device, run.precision, enabled=run.precision is not None):
            return run.network.get_submodule("i2e")(images)

    def forward() -> Tensor:
        with torch.autocast(device, run.precision, enabled=run.precision is not None):
            return F.cross_entropy(run.network(events), labels, label_smoothing=measured.label_smoothing)

    def backward() -> None:
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)

    def optimizer() -> None:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad(set_to_none=True)

    events = conversion()
    loss = run.scaler.scale(forward())  # the first call also creates the scale, which the stage "optimizer" divides by
    gradients = [(p, 1e-3 * torch.randn_like(p)) for p in run.network.parameters() if p.requires_grad]
    calls: tuple[Callable[[], object], ...] = (partial(next, data()), conversion, forward, backward, optimizer)
    return dict(zip(TRAINING_STAGES, calls))[stage]
