"""fast-cifar10: meant to reach 89.23 % on CIFAR-10 as events in 10 minutes on one H100. NOT MEASURED ON A GPU YET.

89.23 % is what the paper reaches on I2E-CIFAR10 in 256 epochs on two RTX 4090. The accuracy of this recipe, its spread
over seeds and its time are not known: only ``--smoke`` and a few thousand images were run, on a CPU. This runs and
records the real thing, five seeds, in ``runs/fast-cifar10/record.json``:

    python -m i2e_triton.training.fast_cifar10 --data CIFAR10 --seeds 5

CIFAR10 is a folder of Parquet files with a train and a test split, or torchvision's root. The record is written after
each seed, and the same command goes on with the seeds that it lacks. ``FAST_CIFAR10.md``, beside this file, is the log:
what was estimated, what was tried, and what to try next.

Neurons are SpikingJelly's, all timesteps in one operator of its own (CUDA or Triton, which the record says), bfloat16
in and out, the membrane in float32. The rest is cuDNN's, in bfloat16 and channels last; ``--compile`` is not tried yet.

The epochs were chosen from floors: 8.7 s an epoch of 50,000 images, 8.7 minutes for 60. Arithmetic, not measurements:

* Multiplications. MS-ResNet-18 on 128x128 events of 2 channels, per image and timestep: the first layer 2 * 64 * 7^2 *
  64^2 = 26 M; the first stage four convolutions of 64 * 64 * 3^2 * 32^2 = 38 M, 151 M; each later stage 19 M + 3 * 38 M
  + 2 M = 134 M. Together 579 M; times 8 timesteps 4.6 G; 2 operations each, and a backward pass of twice the forward:
  27.8 GFLOP an image, 1.39 PFLOP an epoch. At 989 TFLOP/s, the H100's peak in bfloat16, 1.4 s; at 40 % of it 3.5 s.
* Memory. The four stages hold 65 k + 33 k + 16 k + 8 k = 123 k values a layer, image and timestep, and have four
  layers each. Of a value, convolution, normalisation and shortcut move 6.5 times 2 bytes forward and twice as much
  backward; a neuron moves 4 times 2 forward and as much backward (input, spike, and its membrane in float32, which
  the gradient needs). 55 bytes in all; the first layer has 262 k values of 30 bytes: 35 MB a timestep, 279 MB an
  image, 14 TB an epoch. At 80 % of 3.35 TB/s 5.2 s.
* The loader: 33 kB of packed events an image, written and read, 3.3 GB an epoch: 1 ms at the same rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from i2e_triton.augmentation import RandomCropResizeFlip
from i2e_triton.io.atomic import write_whole
from i2e_triton.sources import open_source, splits
from i2e_triton.training.averaging import average
from i2e_triton.training.evaluation import evaluate
from i2e_triton.training.image_loader import GPUImageLoader
from i2e_triton.training.image_set import ImageSet, load_image_set
from i2e_triton.training.images import Digits
from i2e_triton.training.models import build_model
from i2e_triton.training.optimizer import decaying

CLASSES = 10
#: Steps that the parts of a step are timed on.
TIMED_STEPS = 20


# 1. The numbers


@dataclass(frozen=True)
class Settings:
    """What a run depends on, apart from data and machine."""

    size: int = 128  #: of the events
    crop: int = 32  #: of the images
    padding: int = 4
    flip: float = 0.5
    ratio: float = 0.07
    timesteps: int = 8
    model: str = "resnet18"
    epochs: int = 60
    batch_size: int = 500  #: 100 equal steps an epoch
    lr: float = 0.4  #: at the top of the cycle: the published 0.1 of 128 images, times 4
    warmup: float = 0.1  #: part of the steps until then
    momentum: float = 0.9  #: Nesterov's
    weight_decay: float = 2e-4  #: of weights; biases and batch normalisation do not decay
    label_smoothing: float = 0.1
    ema: float = 0.998  #: decay of the average of the weights, which is what is tested


#: Learns scikit-learn's 8x8 digits on a CPU, to show that everything is connected: 75 to 81 % in 12 s on one core.
SMOKE = Settings(
    size=16, crop=8, padding=0, flip=0.0, timesteps=2, epochs=2, batch_size=32, lr=0.15, warmup=0.2, ema=0.9
)


# 2. The data


def cifar10(data: Path, cache: Path) -> tuple[ImageSet, ImageSet]:
    """Decode the training and the test images of CIFAR-10, or take them from the cache.

    Raises:
        ValueError: if there are no two splits, or images or labels are not CIFAR-10's.
    """
    names = splits(str(data))
    test = next((name for name in ("test", "validation") if name in names), None)
    if "train" not in names or test is None:
        raise ValueError(f"{data} needs the splits train and test, it has {', '.join(names)}")
    train, tested = (load_image_set(open_source(str(data), split=name), cache=cache) for name in ("train", test))
    for images in (train, tested):
        known = int(images.labels.min()) >= 0 and int(images.labels.max()) < CLASSES
        if tuple(images.images.shape[1:]) != (3, 32, 32) or not known:
            raise ValueError(f"{data} is not CIFAR-10: it needs images [3, 32, 32] and labels 0 to {CLASSES - 1}")
    return train, tested


def digits() -> tuple[ImageSet, ImageSet]:
    """scikit-learn's digits, uint8 ``[N, 1, 8, 8]``: every fifth one to test on."""
    train, tested = (ImageSet(found.images, found.labels) for found in (Digits(False), Digits(True)))
    return train, tested


# 3. The training


@dataclass
class Trainer:
    """A network, and what moves it."""

    settings: Settings
    device: torch.device
    network: nn.Module
    forward: nn.Module  #: the network, compiled or not
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: OneCycleLR

    def loss(self, events: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.forward(events)
            return F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)

    def update(self) -> None:
        """Move the weights by their gradients, and the average after them."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.averaged.update_parameters(self.network)


def build(settings: Settings, steps: int, device: torch.device, compiled: bool) -> Trainer:
    """Put network, optimiser, cycle and average together, for so many steps."""
    network = build_model(settings.model, CLASSES, ratio=settings.ratio, timesteps=settings.timesteps)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = decaying(network, settings.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)
    total = max(steps, 3)
    warmup = max(settings.warmup, 2 / total)  # OneCycleLR divides by 0 where its first step is its top
    schedule = OneCycleLR(
        optimizer, settings.lr, total_steps=total, pct_start=warmup, cycle_momentum=False, final_div_factor=1e3
    )
    forward = cast(nn.Module, torch.compile(network)) if compiled else network
    return Trainer(settings, device, network, forward, average(network, settings.ema), optimizer, schedule)


def train(trainer: Trainer, loader: GPUImageLoader, progress: Progress) -> list[float]:
    """Train all epochs; return the mean loss of each."""
    losses: list[float] = []
    task = progress.add_task("training", total=trainer.settings.epochs * len(loader))
    trainer.forward.train()
    for epoch in range(trainer.settings.epochs):
        loader.set_epoch(epoch)
        total = torch.zeros((), device=trainer.device)
        for events, labels in loader:
            loss = trainer.loss(events, labels)
            loss.backward()
            trainer.update()
            trainer.schedule.step()
            total += loss.detach()
            progress.advance(task)
        losses.append(float(total) / len(loader))
        progress.console.print(f"epoch {epoch}: loss {losses[-1]:.4f}")
    progress.remove_task(task)
    return losses


def test(trainer: Trainer, loader: GPUImageLoader) -> float:
    """Accuracy of the averaged network, in percent, in float32."""
    return 100 * evaluate(trainer.averaged.module, loader, CLASSES, device=trainer.device).top1


# 4. A run


def run_seed(
    settings: Settings,
    data: tuple[ImageSet, ImageSet],
    seed: int,
    device: torch.device,
    compiled: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Train and test one network; return what it reached, and in how long."""
    torch.manual_seed(seed)
    train_images, test_images = data
    augment = RandomCropResizeFlip(settings.size, settings.crop, settings.padding, settings.flip)
    shared: dict[str, Any] = {
        "device": device,
        "output": "packed",
        "ratio": settings.ratio,
        "timesteps": settings.timesteps,
    }
    begin = clock(device)
    loader = GPUImageLoader(train_images, settings.batch_size, augment=augment, seed=seed, drop_last=True, **shared)
    size = (settings.size, settings.size)
    tested = GPUImageLoader(test_images, settings.batch_size, size=size, random=False, shuffle=False, **shared)
    trainer = build(settings, settings.epochs * len(loader), device, compiled)
    ready = clock(device)
    losses = train(trainer, loader, progress)
    trained = clock(device)
    accuracy = test(trainer, tested)
    done = clock(device)
    progress.console.print(f"seed {seed}: {accuracy:.2f} % in {done - begin:.1f} s")
    return {
        "seed": seed,
        "accuracy": accuracy,
        "losses": losses,
        "seconds": {
            "set up": ready - begin,
            "train": trained - ready,
            "test": done - trained,
            "all": done - begin,
        },
        "images_per_second": settings.epochs * len(loader) * settings.batch_size / (trained - ready),
        "seconds_of_a_step": time_parts(trainer, loader),
    }


def time_parts(trainer: Trainer, loader: GPUImageLoader) -> dict[str, float]:
    """Seconds of each part of a step, waiting for the device after each: the mean of some steps after training.

    Changes the weights: of use for nothing else afterwards.
    """
    trainer.forward.train()
    seconds = dict.fromkeys(("loader", "forward", "backward", "update"), 0.0)
    batches = iter(loader)
    steps = min(TIMED_STEPS, len(loader))
    for _ in range(steps):
        times = [clock(trainer.device)]
        events, labels = next(batches)
        times.append(clock(trainer.device))
        loss = trainer.loss(events, labels)
        times.append(clock(trainer.device))
        loss.backward()
        times.append(clock(trainer.device))
        trainer.update()
        times.append(clock(trainer.device))
        for name, start, stop in zip(seconds, times, times[1:]):
            seconds[name] += (stop - start) / steps
    return seconds


def clock(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


# 5. The record of several runs


def conditions(
    settings: Settings, data: tuple[ImageSet, ImageSet], device: torch.device, compiled: bool
) -> dict[str, Any]:
    """What runs of one record have in common."""
    neurons = "torch"
    if hasattr(functional, "neuron_implementation"):  # SpikingJelly 2.0; before, only PyTorch is used
        execution = "compile" if compiled else "eager"
        neurons = functional.neuron_implementation("lif", device, execution=execution)["implementation"]
    return {
        "settings": asdict(settings),
        "data": [images.fingerprint for images in data],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "neurons": neurons,
        "compiled": compiled,
    }


def finished(path: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs of a record that is there.

    Raises:
        ValueError: if they are of other conditions, or the file is no record.
    """
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text())
        others = [name for name, value in common.items() if found[name] != value]
        runs: list[dict[str, Any]] = found["runs"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no record of runs ({error!r}); move it away or take another --out") from error
    if others:
        raise ValueError(f"{path} holds runs of other {', '.join(others)}; move it away or take another --out")
    return runs


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and spread (standard deviation; 0 of one run) over the seeds."""
    found = {}
    for name, values in (
        ("accuracy", [run["accuracy"] for run in runs]),
        ("seconds", [run["seconds"]["all"] for run in runs]),
        ("images_per_second", [run["images_per_second"] for run in runs]),
    ):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = {"mean": statistics.mean(values), "spread": spread}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe with several seeds, and write the record after each."""
    parser = argparse.ArgumentParser(
        "python -m i2e_triton.training.fast_cifar10", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="CIFAR-10: Parquet files, or torchvision's root")
    parser.add_argument("--smoke", action="store_true", help="digits and small settings instead, for a CPU")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="runs/fast-cifar10, or runs/fast-cifar10-smoke")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many runs; those on record are kept")
    parser.add_argument("--epochs", type=int, metavar="N", help="others than the recipe's, to try it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {given.seeds}")
    if given.epochs is not None and given.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {given.epochs}")
    if given.smoke == (given.data is not None):
        parser.error("give either --data PATH or --smoke")
    try:
        device = torch.device(given.device)
    except RuntimeError:
        parser.error(f"--device must be cpu, cuda or cuda:N, got {given.device!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; --smoke --device cpu runs without one")
    torch.backends.cudnn.benchmark = True
    settings = SMOKE if given.smoke else Settings()
    if given.epochs is not None:
        settings = replace(settings, epochs=given.epochs)
    out = given.out or Path("runs/fast-cifar10-smoke" if given.smoke else "runs/fast-cifar10")
    path = out / "record.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # before an hour of work, if it cannot be written to
        data = digits() if given.smoke else cifar10(given.data, out / "cache")
        common = conditions(settings, data, device, given.compile)
        runs = finished(path, common)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    known = {run["seed"] for run in runs}
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for seed in sorted(set(range(given.seeds)) - known):
            runs.append(run_seed(settings, data, seed, device, given.compile, progress))
            with write_whole(path) as file:
                file.write(json.dumps({**common, "summary": summary(runs), "runs": runs}, indent=2).encode())
    accuracy = summary(runs)["accuracy"]
    text = f"{accuracy['mean']:.2f} % (spread {accuracy['spread']:.2f}) over {len(runs)} seeds, {path}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
