"""The options of the training command: ours, and every flag of the published scripts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from i2e_triton.shifts import ORDERS
from i2e_triton.training.distributed import Launch
from i2e_triton.training.models import ARCHITECTURES
from i2e_triton.training.recipes import AUGMENTATIONS, DATASETS, NAMES, OPTIMIZERS, SCHEDULERS, Recipe, recipe

WORKERS = min(8, os.cpu_count() or 1)
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
    """Build the parser. What changes the recipe is stored under the name of its value, None where not given."""
    parser = argparse.ArgumentParser(
        program,
        description="Train a spiking network on events that are converted from images while it trains.",
        epilog=f"Recipes: {', '.join(NAMES)} for {', '.join(DATASETS)}; demo for digits. Options change single values.",
        allow_abbrev=False,
    )
    _add_data(parser.add_argument_group("recipe and data").add_argument)
    _add_conversion(parser.add_argument_group("conversion and its ablations").add_argument)
    _add_network(parser.add_argument_group("network").add_argument)
    _add_optimizer(parser.add_argument_group("optimiser and schedule").add_argument)
    _add_run(parser.add_argument_group("run").add_argument)
    _add_machine(parser.add_argument_group("machine").add_argument)
    return parser


def _add_data(add: Callable[..., object]) -> None:
    add("--recipe", metavar="NAME", help="baseline2 where not given")
    add("--dataset", default="imagenet", type=_dataset, metavar="NAME", help=", ".join(DATASETS))
    add("-dp", "--dataset_path", "--data", type=Path, metavar="PATH", help="where the data lie")
    add("--download", action="store_true", help="fetch data that are not there, if torchvision can")
    add("--dummy", action="store_true", help="make images up, of the data set's size and classes")
    add("-cn", "--class_number", dest="classes", type=int, metavar="N", help="number of classes")
    add("--size", type=int, metavar="PIXELS", help="height and width of the images that are converted")
    add("--augmentation", choices=AUGMENTATIONS)
    add("--mixup", action="store_true", default=None, help="MixUp and CutMix, for two thirds of the epochs")
    add("-w", "--workers", type=int, default=WORKERS, metavar="N", help="processes that load data, on each machine")
    add("--show", action="store_true", help="print the recipe and exit")


def _add_conversion(add: Callable[..., object]) -> None:
    add("--ratio", type=float, metavar="R", help="sensitivity of the threshold")
    add("--shuffle", "--order", dest="order", type=_order, metavar="ORDER", help=f"0 to 5, or {', '.join(ORDERS)}")
    add("--timesteps", type=int, metavar="T", help="the first ones of the order")
    add("--no-random", dest="random", action="store_false", default=None, help="no random selection")
    add("--threshold", type=float, metavar="THETA", help="a fixed threshold instead of the ratio")
    add("--input", choices=("events", "rgb", "value"), help="what the network sees")
    add("--t_train", dest="drop_to", type=int, metavar="T", help="a random choice of so many timesteps at each step")


def _add_network(add: Callable[..., object]) -> None:
    add("--model", choices=tuple(ARCHITECTURES))
    add("--zero-init", action="store_true", default=None, help="residual branches start as zero")
    add("--init", type=Path, metavar="FILE", help="weights to start from; a last layer of other classes is made anew")


def _add_optimizer(add: Callable[..., object]) -> None:
    add("-e", "--epochs", type=int, metavar="N")
    add("-bz", "--batch_size", type=int, metavar="N", help="of all processes together")
    add("--accumulate", type=int, metavar="N", help="compute a batch in N parts, for less memory")
    add("--opt", dest="optimizer", choices=OPTIMIZERS, help="sgd is with Nesterov's momentum, as timm's")
    add("--lr", type=float, help="learning rate at the start")
    add("-m", "--momentum", type=float)
    add("-wd", "--weight_decay", type=float)
    add("--label_smooth", dest="label_smoothing", type=float)
    add("--scheduler", choices=SCHEDULERS)
    add("--lr_min", type=float, help="where the cosine ends")
    add("--warmup_t", dest="warmup_epochs", type=int, metavar="EPOCHS")
    add("--warmup_lr_init", dest="warmup_lr", type=float)
    add("--decay_t", dest="decay_epochs", type=int, metavar="EPOCHS", help="length of a step of stepLR")
    add("--decay_rate", type=float)
    add("--ema", type=float, metavar="DECAY", help="validate an average of the weights, such as 0.999")
    add("-s", "--seed", type=int)


def _add_run(add: Callable[..., object]) -> None:
    add("-sp", "--save_path", type=Path, default=Path("run"), metavar="FOLDER", help="folder of all runs")
    add("-n", "--name", help="folder of this run in it")
    add("-lp", "--log_path", default="/log", metavar="FOLDER", help="of the text log, in the run's")
    add("-eo", "--exist_ok", dest="new_folder", action="store_true", help="as published: the folder must be new")
    add("--overwrite", action="store_true", help="start anew in the folder of another run")
    add("--resume", nargs="?", type=Path, const=OWN, metavar="FILE", help="go on, from the run's own last state")
    add("-se", "--start_epoch", type=int, default=0, metavar="EPOCH", help="where a published checkpoint goes on")
    add("--evaluate", action="store_true", help="validate the weights of --init or --resume, and exit")
    add("-tk", "--topk", type=int, default=5, metavar="K")
    add("-p", "--print_freq", type=int, default=200, metavar="STEPS")
    add("--checkpoint-every", type=int, default=0, metavar="STEPS", help="besides the end of each epoch")
    add("--max-steps", type=int, metavar="STEPS", help="of each epoch, to try a run")
    add("--deterministic", action="store_true", help="the same numbers in every run, slower")


def _add_machine(add: Callable[..., object]) -> None:
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bfloat16 on a GPU, else float32")
    add("--amp", action="store_true", help="as published: no mixed precision")
    add("--channels-last", action=argparse.BooleanOptionalAction, help="layout of the weights; default: on a GPU")
    add("--compile", nargs="?", const="inductor", metavar="BACKEND", help="torch.compile")
    add("--sync-bn", action="store_true", help="batch normalisation over all GPUs")
    add("--gpu", type=int, metavar="INDEX", help="the one GPU to use")
    add("--multiprocessing_distributed", action="store_true", help="a process for each GPU")
    add("--world_size", type=int, default=1, metavar="MACHINES")
    add("--rank", type=int, default=0, metavar="MACHINE", help="number of this machine")
    add("--dist_url", metavar="URL", help="of machine 0, as tcp://127.0.0.1:8080")
    add("--dist_backend", choices=("nccl", "gloo"), default="nccl")


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
    for name in ("print_freq", "topk", "max_steps"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"{name} must be at least 1, got {getattr(given, name)}")
    device = _device(parser, given)
    if given.world_size > 1 and given.dist_url is None:
        parser.error("--world_size needs --dist_url, the same on all machines: tcp://ADDRESS-OF-MACHINE-0:PORT")
    if given.evaluate and given.init is None and given.resume is None:
        parser.error("--evaluate needs weights: --init FILE or --resume")
    if given.init is not None and given.resume is not None:
        parser.error("--init starts a new run, --resume goes on with one; give one of them")
    weights = given.init is not None or given.resume is not None or given.start_epoch > 0
    if chosen.name.startswith("transfer") and not weights:
        parser.error(f"{chosen.name} starts from the weights of another run; add --init FILE")
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
        print_every=given.print_freq,
        checkpoint_every=given.checkpoint_every,
        most_steps=given.max_steps,
    )


def _recipe(given: argparse.Namespace) -> Recipe:
    """Take what was given in the place of the recipe's values; ``name`` is the run's here."""
    names = {field.name for field in fields(Recipe)} - {"name", "dataset"}
    changes = {name: value for name, value in vars(given).items() if name in names}
    return recipe(given.recipe, given.dataset).changed(**changes)


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
