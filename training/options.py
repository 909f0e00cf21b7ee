"""The options of the training command: ours, and every flag of the published scripts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from i2e_triton.shifts import ORDERS
from i2e_triton.training.distributed import Launch
from i2e_triton.training.models import ARCHITECTURES
from i2e_triton.training.recipes import AUGMENTATIONS, DATASETS, NAMES, OPTIMIZERS, SCHEDULERS, Recipe, recipe

#: What ``--resume`` stands for without a file: the run's own last checkpoint.
OWN = Path("")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Options:
    """A recipe, and all that a run has besides: where, on what, how often."""

    recipe: Recipe
    data: Path | None
    fake: bool
    download: bool
    folder: Path
    new_folder: bool
    overwrite: bool
    log_folder: str
    init: Path | None
    resume: Path | None
    start_epoch: int
    evaluate: bool
    launch: Launch
    precision: torch.dtype | None
    channels_last: bool
    compile: str | None
    sync_bn: bool
    deterministic: bool
    workers: int
    topk: int
    print_every: int
    checkpoint_every: int
    most_steps: int | None


def build_parser(program: str) -> argparse.ArgumentParser:
    """Build the parser; defaults that a recipe sets are None."""
    parser = argparse.ArgumentParser(
        program,
        description="Train a spiking network on events that are converted from images while it trains.",
        epilog=f"Recipes: {', '.join(NAMES)} for {', '.join(DATASETS)}; demo for digits. Options change single values.",
        allow_abbrev=False,
    )
    group = parser.add_argument_group("recipe and data")
    group.add_argument("--recipe", metavar="NAME", help="baseline2 where not given")
    group.add_argument("--dataset", default="imagenet", type=_dataset, help=", ".join(DATASETS))
    group.add_argument("-dp", "--dataset_path", "--data", type=Path, metavar="PATH", help="where the data lie")
    group.add_argument("--download", action="store_true", help="fetch data that are not there, if torchvision can")
    group.add_argument("--dummy", action="store_true", help="make images up, of the data set's size and classes")
    group.add_argument("-cn", "--class_number", type=int, help="number of classes")
    group.add_argument("--size", type=int, help="height and width of the images that are converted")
    group.add_argument("--augmentation", choices=AUGMENTATIONS)
    group.add_argument("--mixup", action="store_true", default=None, help="MixUp and CutMix, for 2/3 of the epochs")
    group.add_argument("-w", "--workers", type=int, default=8, help="processes that load data, of each machine")
    group.add_argument("--show", action="store_true", help="print the recipe and exit")

    group = parser.add_argument_group("conversion and its ablations")
    group.add_argument("--ratio", type=float, help="sensitivity of the threshold")
    group.add_argument("--shuffle", "--order", type=_order, help=f"order: 0 to 5, or {', '.join(ORDERS)}")
    group.add_argument("--timesteps", type=int, help="the first ones of the order")
    group.add_argument("--no-random", dest="random", action="store_false", default=None, help="no random selection")
    group.add_argument("--threshold", type=float, help="a fixed threshold instead of the ratio")
    group.add_argument("--input", choices=("events", "rgb", "value"), help="what the network sees")
    group.add_argument("--t_train", type=int, help="random choice of so many timesteps at each step")

    group = parser.add_argument_group("network")
    group.add_argument("--model", choices=tuple(ARCHITECTURES))
    group.add_argument("--zero-init", action="store_true", default=None, help="residual branches start as zero")
    group.add_argument(
        "--init", type=Path, metavar="FILE", help="weights to start from; a last layer of other size stays"
    )

    group = parser.add_argument_group("optimiser and schedule")
    group.add_argument("-e", "--epochs", type=int)
    group.add_argument("-bz", "--batch_size", type=int, help="of all processes together")
    group.add_argument("--accumulate", type=int, metavar="N", help="compute a batch in N parts, for less memory")
    group.add_argument("--opt", choices=OPTIMIZERS, help="sgd is with Nesterov's momentum, as timm's")
    group.add_argument("--lr", type=float)
    group.add_argument("-m", "--momentum", type=float)
    group.add_argument("-wd", "--weight_decay", type=float)
    group.add_argument("--label_smooth", type=float)
    group.add_argument("--scheduler", choices=SCHEDULERS)
    group.add_argument("--lr_min", type=float)
    group.add_argument("--warmup_t", type=int, help="epochs of warm-up")
    group.add_argument("--warmup_lr_init", type=float)
    group.add_argument("--decay_t", type=int, help="epochs of a step of stepLR")
    group.add_argument("--decay_rate", type=float)
    group.add_argument("--ema", type=float, metavar="DECAY", help="validate an average of the weights, such as 0.999")

    group = parser.add_argument_group("run")
    group.add_argument("-sp", "--save_path", type=Path, default=Path("run"), help="folder of all runs")
    group.add_argument("-n", "--name", help="folder of this run in it")
    group.add_argument("-lp", "--log_path", default="/log", help="folder of the text log in that")
    group.add_argument("-eo", "--exist_ok", dest="new_folder", action="store_true", help="the folder must be new")
    group.add_argument("--overwrite", action="store_true", help="start anew in the folder of another run")
    group.add_argument(
        "--resume", nargs="?", type=Path, const=OWN, metavar="FILE", help="go on; with the last state of its own"
    )
    group.add_argument("-se", "--start_epoch", type=int, default=0, help="epoch to go on at, of a published checkpoint")
    group.add_argument("--evaluate", action="store_true", help="validate the weights of --init or --resume and exit")
    group.add_argument("-s", "--seed", type=int)
    group.add_argument("--deterministic", action="store_true", help="the same numbers in every run, slower")
    group.add_argument("-tk", "--topk", type=int, default=5)
    group.add_argument("-p", "--print_freq", type=int, default=200, metavar="STEPS")
    group.add_argument("--checkpoint-every", type=int, default=0, metavar="STEPS", help="besides the end of each epoch")
    group.add_argument("--max-steps", type=int, metavar="STEPS", help="of each epoch, to try a run")

    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    group.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bfloat16 on a GPU")
    group.add_argument("--amp", action="store_true", help="as published: no mixed precision")
    group.add_argument("--channels-last", action=argparse.BooleanOptionalAction, help="default: on a GPU")
    group.add_argument("--compile", nargs="?", const="inductor", metavar="BACKEND", help="torch.compile")
    group.add_argument("--sync-bn", action="store_true", help="batch normalisation over all GPUs")
    group.add_argument("--gpu", type=int, metavar="INDEX", help="the one GPU to use")
    group.add_argument("--multiprocessing_distributed", action="store_true", help="a process for each GPU")
    group.add_argument("--world_size", type=int, default=1, metavar="MACHINES")
    group.add_argument("--rank", type=int, default=0, metavar="MACHINE", help="number of this machine")
    group.add_argument("--dist_url", metavar="URL", help="of machine 0, as tcp://127.0.0.1:8080")
    group.add_argument("--dist_backend", choices=("nccl", "gloo"), default="nccl")
    return parser


def parse_options(arguments: Sequence[str], program: str = "train.py") -> Options:
    """Parse and check a command line; errors end the process with status 2, as argparse's do."""
    parser = build_parser(program)
    given = parser.parse_args(arguments)
    try:
        chosen = _recipe(given)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    if given.show:
        print(chosen)  # noqa: T201
        parser.exit()
    device = _device(parser, given)
    if given.world_size > 1 and given.dist_url is None:
        parser.error("--world_size needs --dist_url, the same on all machines: tcp://ADDRESS-OF-MACHINE-0:PORT")
    if given.evaluate and given.init is None and given.resume is None:
        parser.error("--evaluate needs weights: --init FILE or --resume")
    if given.init is not None and given.resume is not None:
        parser.error("--init starts a new run, --resume goes on with one; give one of them")
    return Options(
        recipe=chosen,
        data=given.dataset_path,
        fake=given.dummy,
        download=given.download,
        folder=given.save_path / (given.name or f"{chosen.dataset}-{chosen.name}"),
        new_folder=given.new_folder,
        overwrite=given.overwrite,
        log_folder=given.log_path,
        init=given.init,
        resume=given.resume,
        start_epoch=given.start_epoch,
        evaluate=given.evaluate,
        launch=Launch(
            device=device,
            gpu=given.gpu,
            spawn=given.multiprocessing_distributed,
            nodes=given.world_size,
            node=given.rank,
            url=given.dist_url,
            backend=given.dist_backend,
        ),
        precision=_precision(given, device),
        channels_last=device == "cuda" if given.channels_last is None else given.channels_last,
        compile=given.compile,
        sync_bn=given.sync_bn,
        deterministic=given.deterministic,
        workers=given.workers,
        topk=given.topk,
        print_every=max(1, given.print_freq),
        checkpoint_every=given.checkpoint_every,
        most_steps=given.max_steps,
    )


def _recipe(given: argparse.Namespace) -> Recipe:
    return recipe(given.recipe, given.dataset).changed(
        classes=given.class_number,
        size=given.size,
        augmentation=given.augmentation,
        mixup=given.mixup,
        ratio=given.ratio,
        order=given.shuffle,
        timesteps=given.timesteps,
        random=given.random,
        threshold=given.threshold,
        input=given.input,
        drop_to=given.t_train,
        model=given.model,
        zero_init=given.zero_init,
        epochs=given.epochs,
        batch_size=given.batch_size,
        accumulate=given.accumulate,
        optimizer=given.opt,
        lr=given.lr,
        momentum=given.momentum,
        weight_decay=given.weight_decay,
        label_smoothing=given.label_smooth,
        scheduler=given.scheduler,
        lr_min=given.lr_min,
        warmup_epochs=given.warmup_t,
        warmup_lr=given.warmup_lr_init,
        decay_epochs=given.decay_t,
        decay_rate=given.decay_rate,
        ema=given.ema,
        seed=given.seed,
    )


def _dataset(name: str) -> str:
    """Take the published spellings too."""
    return {"dvscifar10": "cifar10-dvs", "cifar10dvs": "cifar10-dvs"}.get(name.lower(), name.lower())


def _order(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _device(parser: argparse.ArgumentParser, given: argparse.Namespace) -> str:
    count = torch.cuda.device_count()
    if given.device == "cpu" or (given.device == "auto" and count == 0 and given.gpu is None):
        return "cpu"
    if count == 0:
        parser.error("PyTorch finds no GPU; leave out --gpu and --device cuda to train on the CPU")
    if given.gpu is not None and not 0 <= given.gpu < count:
        parser.error(f"--gpu must be 0 to {count - 1}, got {given.gpu}")
    return "cuda"


def _precision(given: argparse.Namespace, device: str) -> torch.dtype | None:
    if given.amp:
        return None
    if given.precision == "auto":
        return torch.bfloat16 if device == "cuda" else None
    return PRECISIONS[given.precision]
