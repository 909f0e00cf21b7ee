"""Training with the conversion inside the network: this package's loop, the official loop, and the bare network."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from benchmarks.baselines.official_loop import Conversion, Images, OfficialLoop
from benchmarks.harness.image_sets import like_cifar10
from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import TRAINING_STAGES, random_images
from i2e_triton import reference
from i2e_triton.sources import open_source
from i2e_triton.training.data import training_transform
from i2e_triton.training.loaders import SampleLoader
from i2e_triton.training.module import SpikingClassifier
from i2e_triton.training.recipes import find_recipe
from i2e_triton.training.splits import SourceImages

_BATCH = {"cpu": 4, "cuda": 128}
# Steps per measured call: enough that starting Lightning's loop takes no time in comparison.
_STEPS = {"cpu": 2, "cuda": 20}
_LOOPS = ("ours", "bare", "official")
_PRECISION = {"cpu": "32-true", "cuda": "16-mixed"}

Batch = tuple[Tensor, Tensor]


@dataclass
class Loop:
    """A training loop.

    Attributes:
        name: ``"ours"``, ``"bare"`` or ``"official"``.
        steps: trains on ``batches``, which are in host memory.
        network: takes images or dense events ``[T, B, 2, H, W]``; its submodule ``i2e`` converts.
        optimizer: optimizer of the network.
        scaler: scales gradients of float16.
        batches: images of the dtype that ``loader`` returns, and labels.
        loader: loader of training images.
    """

    name: str
    steps: Callable[[], object]
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    batches: list[Batch]
    loader: Any

    def case(self) -> dict[str, Any]:
        """Return the case of a row."""
        batch, size = self.batches[0][0].shape[0], self.batches[0][0].shape[-1]
        precision = "float16" if self.scaler.is_enabled() else "float32"
        return {"loop": self.name, "model": "resnet18", "precision": precision, "batch": batch, "size": size}


Loops = Callable[[str], dict[str, Loop]]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """Return a function that returns the loops on a device, with equal weights and images."""
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
    counts = {"images": _BATCH[device], "per_call": _STEPS[device]}
    measure("training", measured.case(), measured.steps, device=device, memory_call=measured.steps, **counts)


@pytest.mark.parametrize("name", ["ours", "official"])
@pytest.mark.parametrize(("device", "stage"), [device_param(*case) for case in product(_BATCH, TRAINING_STAGES)])
def test_stages(measure: Callable[..., None], loops: Loops, device: str, stage: str, name: str) -> None:
    """Measure one stage of a step, or the preparation of its data in the main process."""
    measured = loops(device)[name]
    call = stage_call(measured, stage, device)
    measure("training stages", {**measured.case(), "stage": stage}, call, device=device, images=_BATCH[device])


def build_loops(folder: Path, device: str) -> dict[str, Loop]:
    """Return the loops on the images of a folder, after a comparison of their losses and events."""
    recipe = find_recipe("cifar10", "baseline2").changed(batch_size=_BATCH[device])
    samples = SourceImages(open_source(str(folder), split="train"))
    labels = torch.randint(recipe.classes, (_STEPS[device], _BATCH[device]))
    images = [random_images(_BATCH[device], recipe.size, "uint8", "cpu", "photographs") for _ in labels]
    batches = [pin(batch, device) for batch in zip(images, labels)]
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    module = SpikingClassifier(recipe).to(device)
    loader = SampleLoader(samples, training_transform(recipe), recipe.batch_size)
    fitted = fit(module, batches, device)
    ours = Loop("ours", fitted, module.network, module.configure_optimizers(), scaler, batches, loader)
    network = copy.deepcopy(module.network)
    optimizer = SpikingClassifier(recipe, network).configure_optimizers()
    steps = partial(bare_steps, network, optimizer, scaler, batches, device)
    bare = Loop("bare", steps, network, optimizer, scaler, batches, loader)
    network = copy.deepcopy(module.network)
    network.register_module("i2e", Conversion(recipe.ratio).to(device))
    optimizer = SpikingClassifier(recipe, network).configure_optimizers()
    theirs = OfficialLoop(network, optimizer, recipe.label_smoothing, torch.float16 if device == "cuda" else None)
    floats = [pin((reference.scale(batch), batch_labels), device) for batch, batch_labels in zip(images, labels)]
    their_loader = DataLoader(Images(samples), recipe.batch_size, shuffle=True, pin_memory=device == "cuda")
    their_steps = partial(official_steps, theirs, floats)
    official = Loop("official", their_steps, network, optimizer, theirs.scaler, floats, their_loader)
    check_equal(ours, official, device)
    return {"ours": ours, "bare": bare, "official": official}


def fit(module: SpikingClassifier, batches: list[Batch], device: str) -> Callable[[], object]:
    """Return a function that trains an epoch of these batches with Lightning, each time one more."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision=_PRECISION[device],  # type: ignore[arg-type]
        max_epochs=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader: DataLoader[Any] = DataLoader(Subset(batches, range(len(batches))), batch_size=None)  # type: ignore[arg-type]

    def call() -> None:
        trainer.fit_loop.max_epochs = (trainer.fit_loop.max_epochs or 0) + 1
        trainer.fit(module, loader)

    return call


def bare_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batches: list[Batch],
    device: str,
) -> None:
    """Train on the batches without any loop around the network: no metrics, no logs, no callbacks."""
    for images, labels in batches:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device, torch.float16, enabled=device == "cuda"):
            loss = F.cross_entropy(network(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def official_steps(loop: OfficialLoop, batches: list[Batch]) -> None:
    """Train on the batches with the official loop."""
    for images, labels in batches:
        loop.step(images, labels)


def pin(batch: Batch, device: str) -> Batch:
    """Return a batch in the memory that a DataLoader would use: pinned for a GPU."""
    return (batch[0].pin_memory(), batch[1].pin_memory()) if device == "cuda" else batch


@torch.no_grad()
def check_equal(ours: Loop, official: Loop, device: str) -> None:
    """Compare the events of both loops bit for bit, and their losses in float32, with the canonical motion vectors.

    The losses and the official events are computed on the CPU. On a GPU, the summation order of a convolution depends
    on the memory layout, and this can decide whether a neuron fires.
    """
    networks = [copy.deepcopy(each.network).cpu() for each in (ours, official)]
    images = [each.batches[0][0][:4].cpu() for each in (ours, official)]
    labels = ours.batches[0][1][:4].cpu()
    losses = []
    for network, batch in zip(networks, images):
        network.get_submodule("i2e").eval()
        logits = network(batch)
        assert float(logits.std(0).min()) > 0, "the network does not fire, so its loss does not depend on the images"
        losses.append(F.cross_entropy(logits, labels, label_smoothing=0.1))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    conversion = ours.network.get_submodule("i2e").eval()
    assert torch.equal(conversion(images[0].to(device)).cpu(), networks[1].get_submodule("i2e")(images[1]))
    conversion.train()


def stage_call(measured: Loop, stage: str, device: str) -> Callable[[], object]:
    """Return a function that runs one stage. The stage "data" uses the loader; the others use the first batch."""
    precision = torch.float16 if measured.scaler.is_enabled() else None
    images, labels = (tensor.to(device) for tensor in measured.batches[0])

    def data() -> Iterator[Any]:
        while True:
            yield from measured.loader

    def conversion() -> Tensor:
        with torch.no_grad(), torch.autocast(device, precision, enabled=precision is not None):
            return measured.network.get_submodule("i2e")(images)

    def forward() -> Tensor:
        with torch.autocast(device, precision, enabled=precision is not None):
            return F.cross_entropy(measured.network(events), labels, label_smoothing=0.1)

    def backward() -> None:
        measured.optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)

    def optimizer() -> None:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        measured.scaler.step(measured.optimizer)
        measured.scaler.update()
        measured.optimizer.zero_grad(set_to_none=True)

    events = conversion()
    loss = measured.scaler.scale(
        forward()
    )  # the first call also creates the scale, which the stage "optimizer" divides by
    gradients = [(p, 1e-3 * torch.randn_like(p)) for p in measured.network.parameters() if p.requires_grad]
    calls: tuple[Callable[[], object], ...] = (partial(next, data()), conversion, forward, backward, optimizer)
    return dict(zip(TRAINING_STAGES, calls))[stage]
