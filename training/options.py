"""The options of the training command: ours, and every flag of the published scripts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

import torch

from i2e_triton.shifts import ORDERS
from i2e_triton.training.distributed import Launch
from i2e_triton.training.ranges import Range
from i2e_triton.training.recipes import CHOICES, DATASETS, RANGES, Recipe, names_for, recipe

WORKERS = min(8, os.cpu_count() or 1)
#: What ``--resume`` stands for without a file: the run's own last checkpoint.
OWN = Path("")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Flags on how images become events, by the value of the recipe that they change.
_CONVERSION = {"ratio": "--ratio", "order": "--shuffle", "random": "--no-random", "threshold": "--threshold"}
#: Flags that have no meaning for events that are there already.
_FOR_IMAGES = {**_CONVERSION, "size": "--size", "mixup": "--mixup"}
_NONE = Range(int, 0)
_ONE = Range(int, 1)


@dataclass(frozen=True)
class Options:
    """A recipe, and all that a run has besides: where, on what, how often."""

    recipe: Recipe
    for_images: tuple[str, ...]  #: flags that were given and that sets of events cannot follow
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


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: the usage of so many options would hide them."""

    def error(self, message: str) -> NoReturn:
        """Print an error, and end the process."""
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help lists all options)\n")


def build_parser(program: str) -> argparse.ArgumentParser:
    """Build the parser. What changes the recipe is stored under the name of its value, None where not given."""
    parser = _Parser(
        program,
        description="Train a spiking network on events that are converted from images while it trains.",
        epilog=f"Recipes: {_known_recipes()}. --show prints one; options change single values of it.",
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
    add("--recipe", metavar="NAME", help="default: baseline2, or the only one of the data set")
    add("--dataset", default="imagenet", metavar="NAME", help=f"{', '.join(DATASETS)}; default: imagenet")
    add("-dp", "--dataset_path", "--data", type=Path, metavar="PATH", help="where the data lie")
    add("--download", action="store_true", help="fetch CIFAR-10, CIFAR-100 or CIFAR10-DVS if it is not there")
    add("--dummy", action="store_true", help="make images up, of the data set's size and classes")
    add("-cn", "--class_number", dest="classes", type=_recipes("classes"), metavar="N", help="number of classes")
    add("--size", type=_recipes("size"), metavar="PIXELS", help="height and width of the images that are converted")
    add("--augmentation", choices=CHOICES["augmentation"], help="of images; sets of events know none and flip")
    add("--mixup", action="store_true", default=None, help="MixUp and CutMix, for two thirds of the epochs")
    add("-w", "--workers", type=_NONE.parse, default=WORKERS, metavar="N", help="processes that load data, per machine")
    add("--show", action="store_true", help="print the recipe and exit")


def _add_conversion(add: Callable[..., object]) -> None:
    add("--ratio", type=_recipes("ratio"), metavar="R", help="sensitivity of the threshold")
    add("--shuffle", "--order", dest="order", type=_order, metavar="ORDER", help=f"0 to 5, or {', '.join(ORDERS)}")
    add("--timesteps", type=_recipes("timesteps"), metavar="T", help="the first ones of the order")
    add("--no-random", dest="random", action="store_false", default=None, help="no random selection")
    add("--threshold", type=_recipes("threshold"), metavar="THETA", help="a fixed threshold instead of the ratio")
    add("--input", choices=CHOICES["input"], help="what the network sees")
    add("--t_train", dest="drop_to", type=_recipes("drop_to"), metavar="T", help="train on so many timesteps by chance")


def _add_network(add: Callable[..., object]) -> None:
    add("--model", choices=CHOICES["model"])
    add("--zero-init", action="store_true", default=None, help="residual branches start as zero")
    add("--init", type=Path, metavar="FILE", help="weights to start from; a last layer of other classes is made anew")


def _add_optimizer(add: Callable[..., object]) -> None:
    add("-e", "--epochs", type=_recipes("epochs"), metavar="N")
    add("-bz", "--batch_size", type=_recipes("batch_size"), metavar="N", help="of all processes together")
    add("--accumulate", type=_recipes("accumulate"), metavar="N", help="compute a batch in N parts, for less memory")
    add("--opt", dest="optimizer", choices=CHOICES["optimizer"], help="sgd (Nesterov's), momentum (plain), adam, adamw")
    add("--lr", type=_recipes("lr"), metavar="RATE", help="learning rate at the start")
    add("-m", "--momentum", type=_recipes("momentum"), metavar="M")
    add("-wd", "--weight_decay", type=_recipes("weight_decay"), metavar="DECAY")
    add("--label_smooth", dest="label_smoothing", type=_recipes("label_smoothing"), metavar="SHARE")
    add("--scheduler", choices=CHOICES["scheduler"])
    add("--lr_min", type=_recipes("lr_min"), metavar="RATE", help="where the cosine ends")
    add("--warmup_t", dest="warmup_epochs", type=_recipes("warmup_epochs"), metavar="EPOCHS")
    add("--warmup_lr_init", dest="warmup_lr", type=_recipes("warmup_lr"), metavar="RATE")
    add("--decay_t", dest="decay_epochs", type=_recipes("decay_epochs"), metavar="EPOCHS", help="of a step of stepLR")
    add("--decay_rate", type=_recipes("decay_rate"), metavar="FACTOR", help="of a step of stepLR")
    add("--ema", type=_recipes("ema"), metavar="DECAY", help="validate an average of the weights, such as 0.999")
    add("-s", "--seed", type=_recipes("seed"), metavar="N")


def _add_run(add: Callable[..., object]) -> None:
    add("-sp", "--save_path", type=Path, default=Path("run"), metavar="FOLDER", help="folder of all runs")
    add("-n", "--name", help="folder of this run in it")
    add("-lp", "--log_path", default="/log", metavar="FOLDER", help="of the text log, in the run's")
    add("-eo", "--exist_ok", dest="new_folder", action="store_true", help="as published: the folder must be new")
    add("--overwrite", action="store_true", help="start anew in the folder of another run")
    add("--resume", nargs="?", type=Path, const=OWN, metavar="FILE", help="go on, from the run's own last state")
    add("-se", "--start_epoch", type=_NONE.parse, default=0, metavar="EPOCH", help="where published weights go on")
    add("--evaluate", action="store_true", help="validate the weights of --init or --resume, and exit")
    add("-tk", "--topk", type=_ONE.parse, default=5, metavar="K", help="count the K largest logits as well")
    add("-p", "--print_freq", type=_ONE.parse, default=200, metavar="STEPS")
    add("--checkpoint-every", type=_NONE.parse, default=0, metavar="STEPS", help="besides the end of each epoch")
    add("--max-steps", type=_ONE.parse, metavar="STEPS", help="of each epoch, to try a run")
    add("--deterministic", action="store_true", help="the same numbers in every run, slower")


def _add_machine(add: Callable[..., object]) -> None:
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bfloat16 on a GPU, else float32")
    add("--amp", action="store_true", help="as published: no mixed precision")
    add("--channels-last", action=argparse.BooleanOptionalAction, help="layout of the weights; default: on a GPU")
    add("--compile", nargs="?", const="inductor", metavar="BACKEND", help="torch.compile")
    add("--sync-bn", action="store_true", help="batch normalisation over all GPUs")
    add("--gpu", type=_NONE.parse, metavar="INDEX", help="the one GPU to use")
    add("--multiprocessing_distributed", action="store_true", help="a process for each GPU")
    machines, number = _or_environment("WORLD_SIZE", _ONE), _or_environment("RANK", _NONE)
    add("--world_size", type=machines, default=1, metavar="MACHINES", help="-1: WORLD_SIZE of the environment")
    add("--rank", type=number, default=0, metavar="MACHINE", help="number of this machine; -1: RANK of the environment")
    add("--dist_url", metavar="URL", help="of machine 0, as tcp://127.0.0.1:8080, or env://")
    add("--dist_backend", choices=("nccl", "gloo"), default="nccl")


def _known_recipes() -> str:
    datasets: dict[str, list[str]] = {}
    for dataset in DATASETS:
        datasets.setdefault(", ".join(names_for(dataset)), []).append(dataset)
    return "; ".join(f"{names} for {', '.join(of)}" for names, of in datasets.items())


def _recipes(name: str) -> Callable[[str], float]:
    """The type of a flag that changes a number of the recipe."""
    return RANGES[name].parse


def _or_environment(variable: str, numbers: Range) -> Callable[[str], float]:
    """The type of a flag that takes a number, or -1 for that of a variable, as the published script does."""

    def parse(text: str) -> float:
        if text != "-1":
            return numbers.parse(text)
        if variable not in os.environ:
            raise argparse.ArgumentTypeError(f"-1 stands for {variable} of the environment, which is not set")
        return numbers.parse(os.environ[variable])

    return parse


def _order(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def parse_options(arguments: Sequence[str], program: str = "train.py") -> Options:
    """Parse and check a command line; errors end the process with status 2, as argparse's do."""
    parser = build_parser(program)
    given = parser.parse_args(arguments)
    try:
        chosen = _recipe(given)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    if given.show:
        sys.stdout.write(f"{chosen}\n")
        parser.exit()
    for problem in _problems(given, chosen):
        parser.error(problem)
    device = "cuda" if _on_gpu(given) else "cpu"
    return Options(
        recipe=chosen,
        for_images=_for_images(given),
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


def _problems(given: argparse.Namespace, chosen: Recipe) -> Iterator[str]:
    """What is wrong with options that are right by themselves."""
    if chosen.input != "events" and (flags := _given(given, _CONVERSION)):
        yield f"{', '.join(flags)}: on how images become events, and the input is {chosen.input}; leave that out"
    if given.amp and given.precision not in ("auto", "float32"):
        yield f"--amp turns mixed precision off, --precision {given.precision} turns it on; leave one of them out"
    if given.compile is not None and given.compile not in (known := torch.compiler.list_backends(())):
        yield f"--compile must be one of {', '.join(known)}, got {given.compile}"
    if given.evaluate and given.init is None and given.resume is None:
        yield "--evaluate needs weights: --init FILE or --resume"
    if given.init is not None and given.resume is not None:
        yield "--init starts a new run, --resume goes on with one; give one of them"
    if chosen.name.startswith("transfer") and given.init is None and given.resume is None and not given.start_epoch:
        yield f"{chosen.name} starts from the weights of another run; add --init FILE"
    if given.start_epoch >= chosen.epochs:
        yield f"--start_epoch must be less than the {chosen.epochs} epochs, got {given.start_epoch}"
    if given.world_size > 1 and given.dist_url is None:
        yield "--world_size needs --dist_url, the same on all machines: tcp://ADDRESS-OF-MACHINE-0:PORT"
    if given.rank >= given.world_size:
        yield f"--rank must be less than the {given.world_size} machines of --world_size, got {given.rank}"
    yield from _problems_of_gpus(given)


def _problems_of_gpus(given: argparse.Namespace) -> Iterator[str]:
    count = torch.cuda.device_count()
    if given.gpu is not None and given.device == "cpu":
        yield f"--gpu {given.gpu} and --device cpu: leave one of them out"
    if given.gpu is not None and given.multiprocessing_distributed:
        yield "--gpu takes one GPU, --multiprocessing_distributed all of them; give one of them"
    if _on_gpu(given) and count == 0:
        yield "PyTorch finds no GPU; leave out --gpu and --device cuda to train on the CPU"
    if given.gpu is not None and given.gpu >= count:
        yield f"--gpu must be 0 to {count - 1}, got {given.gpu}"


def _given(given: argparse.Namespace, flags: dict[str, str]) -> list[str]:
    """List those of some flags that were given."""
    return [flag for name, flag in flags.items() if getattr(given, name) is not None]


def _for_images(given: argparse.Namespace) -> tuple[str, ...]:
    cropping = ["--augmentation"] if given.augmentation in ("crop", "resized-crop") else []
    return (*_given(given, _FOR_IMAGES), *cropping)


def _on_gpu(given: argparse.Namespace) -> bool:
    if given.device == "auto":
        return given.gpu is not None or torch.cuda.device_count() > 0
    return str(given.device) == "cuda"


def _precision(given: argparse.Namespace, device: str) -> torch.dtype | None:
    if given.amp:
        return None
    if given.precision == "auto":
        return torch.bfloat16 if device == "cuda" else None
    return PRECISIONS[given.precision]
