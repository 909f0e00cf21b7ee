# ruff: noqa: RUF009 - a function describes the values of the dataclasses
"""Recipes: every number of a training run, with the official values (Ma et al., AAAI 2026) where they exist.

``find_recipe("cifar10", "baseline2")`` returns one, ``print`` shows it, and :meth:`Recipe.changed` makes another.

* ``baseline1`` (little augmentation) and ``baseline2`` (full augmentation) of CIFAR-10, CIFAR-100 and ImageNet, and
  ``transfer2`` of CIFAR10-DVS have the values of the official code and README.
* The paper gives no numbers for fine-tuning on the other data sets. Their ``transfer1`` and ``transfer2`` use the data
  of ``baseline2`` and the optimizer and schedule of CIFAR10-DVS. The baselines of CIFAR10-DVS use the optimizer of
  CIFAR-10. Both are choices of this package. ``transfer1`` starts from weights of another data set, ``transfer2`` from
  weights of I2E-CIFAR10; the weights are an argument of the run.
* ``fast`` (CIFAR-10) is meant to reach in 10 minutes on one H100 what the paper reaches in 256 epochs on two RTX 4090:
  89.23 %. ``FAST_CIFAR10.md``, beside this file, says how to run it, what was estimated and what to try next.
* ``default`` (MNIST, Fashion-MNIST, digits, fake and own data) is a choice of this package.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from i2e_triton.checks import check_timesteps
from i2e_triton.shifts import DEFAULT_ORDER, ORDERS, Order, canonical_shifts, complete_order

#: Input of a network: events, or the image itself in colour or its value channel.
Input = Literal["events", "rgb", "value"]
#: The networks of :mod:`i2e_triton.training.models`, whose import takes seconds.
MODELS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
DATA, CONVERSION, NETWORK, OPTIMIZER = "Data", "Conversion", "Network", "Optimizer and schedule"
RUN, MACHINE = "Run", "Machine"


def _value(
    group: str,
    help: str,
    default: Any = None,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """Describe a value of a recipe, for its check and for the command line."""
    described = {"group": group, "help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=described)


@dataclass(frozen=True)
class Recipe:
    """All numbers of a run, except for where the data are and which machine is used.

    Raises:
        TypeError: if a value has another type.
        ValueError: if a value is out of range; the message says what is allowed.
    """

    name: str
    dataset: str

    classes: int = _value(DATA, "Number of classes.", 10, 1)
    size: int = _value(DATA, "Height and width of the converted images.", 128, 8)
    augmentation: str = _value(
        DATA,
        "none, flip, crop (of 32 x 32 images, padded by 4) or resized-crop; event data sets support none and flip.",
        "flip",
        choices=("none", "flip", "crop", "resized-crop"),
    )
    val_crop: bool = _value(DATA, "Validate on the center of images whose shorter side is 8/7 of the size.", False)
    batch_size: int = _value(DATA, "Images per optimizer step, over all processes.", 128, 1)
    mixup: bool = _value(DATA, "MixUp or CutMix in the first two thirds of the epochs.", False)
    holdout: float = _value(DATA, "Fraction of the training split that selects the best checkpoint.", 0.0, 0, 0.9)

    ratio: float = _value(CONVERSION, "Event threshold as a fraction of the brightness range of an image.", 0.07, 0, 1)
    order: Order = _value(CONVERSION, f"Order of the timesteps: {', '.join(ORDERS)}, or 0 to 5.", DEFAULT_ORDER)
    timesteps: int | None = _value(CONVERSION, "Number of timesteps; default 8, or 4 without conversion.", None, 1)
    random: bool = _value(CONVERSION, "Draw motion vectors for every training batch.", True)
    threshold: float | None = _value(CONVERSION, "Ablation: a fixed threshold instead of the ratio.", None, 0, 1)
    input: Input = _value(CONVERSION, "events; ablations: rgb or value.", "events", choices=get_args(Input))
    drop_to: int = _value(CONVERSION, "Train on this number of randomly chosen timesteps; 0: all.", 0, 0)

    model: str = _value(NETWORK, f"{', '.join(MODELS)}.", "resnet18", choices=MODELS)
    zero_init: bool = _value(NETWORK, "Initialize the last batch normalization of each block with 0.", False)

    epochs: int = _value(OPTIMIZER, "Number of epochs.", 256, 1)
    optimizer: str = _value(
        OPTIMIZER,
        "sgd (Nesterov momentum), momentum (plain), adam or adamw.",
        "sgd",
        choices=("sgd", "momentum", "adam", "adamw"),
    )
    lr: float = _value(OPTIMIZER, "Learning rate.", 0.1, 0)
    momentum: float = _value(OPTIMIZER, "Momentum.", 0.9, 0, 0.9999)
    weight_decay: float = _value(OPTIMIZER, "Weight decay, not of biases and batch normalization.", 2e-4, 0)
    label_smoothing: float = _value(OPTIMIZER, "Label smoothing of the training loss.", 0.1, 0, 1)
    scheduler: str = _value(
        OPTIMIZER,
        "cosineLR, stepLR or oneCycle (up and down once, by steps).",
        "cosineLR",
        choices=("cosineLR", "stepLR", "oneCycle"),
    )
    lr_min: float = _value(OPTIMIZER, "Last learning rate of cosineLR.", 5e-5, 0)
    warmup_epochs: int = _value(OPTIMIZER, "Epochs of linear warm-up.", 0, 0)
    warmup_lr: float = _value(OPTIMIZER, "First learning rate of the warm-up.", 0.0, 0)
    decay_epochs: int = _value(OPTIMIZER, "Epochs per step of stepLR.", 30, 1)
    decay_rate: float = _value(OPTIMIZER, "Factor of each step of stepLR.", 0.1, 0, 1)
    ema: float = _value(
        OPTIMIZER, "Decay of an average of the weights, which is then validated; 0: none.", 0.0, 0, 0.9999
    )
    accumulate: int = _value(OPTIMIZER, "Compute a batch in this number of parts, to save memory.", 1, 1)
    seed: int = _value(OPTIMIZER, "Seed of everything that is random.", 2024, 0, 2**32 - 1)

    def __post_init__(self) -> None:
        _check(self)
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of accumulate, got {self.accumulate}")
        if self.input == "events":
            timesteps = check_timesteps(self.timesteps or 8)
            canonical_shifts(self.order, timesteps)  # raises ValueError if an order has too few groups
            if self.drop_to > timesteps:
                raise ValueError(f"drop_to must be at most the {timesteps} timesteps, got {self.drop_to}")
        elif self.threshold is not None or self.drop_to:
            raise ValueError(f"threshold and drop_to need events, but the input is {self.input}")
        object.__setattr__(self, "order", _named(self.order))

    def changed(self, **changes: Any) -> Recipe:
        """Return a recipe with other values; None leaves a value as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """Return all values as numbers, strings and lists, for a checkpoint."""
        return {**asdict(self), "order": self.order if isinstance(self.order, (str, int)) else list(self.order)}

    def __str__(self) -> str:
        width = max(len(each.name) for each in fields(self))
        return "\n".join(f"{name:{width}}  {value}" for name, value in self.as_dict().items())


@dataclass(frozen=True)
class RunOptions:
    """What a run depends on besides its recipe; the values with a description are options of ``i2e train``."""

    recipe: Recipe
    given: dict[str, Any] = field(default_factory=dict)  #: values of the recipe that detection must not change
    data: Path | None = _value(
        DATA,
        "Class folders of images, Parquet files, tars, the root of a torchvision data set, or events of i2e dataset.",
    )
    download: bool = _value(DATA, "Download CIFAR, MNIST or CIFAR10-DVS if missing.", False)
    workers: int = _value(DATA, "Processes that load data; 0: the main process.", 4, 0)
    in_memory: bool = _value(
        DATA, "Keep all images, of one size, on the device; augment and draw motion vectors there, per image.", False
    )
    out: Path = _value(RUN, "Folder of the run; default runs/DATASET-RECIPE.", Path("runs"))
    init: str | None = _value(RUN, "Weights to start from: a file, or a name on the hub.")
    resume: bool = _value(RUN, "Continue the run in the folder; start it if it has no checkpoint.", False)
    overwrite: bool = _value(RUN, "Replace the run in the folder.", False)
    checkpoint_every: int = _value(RUN, "Steps between checkpoints within an epoch; 0: none.", 0, 0)
    log_every: int = _value(RUN, "Steps between logged losses.", 50, 1)
    max_steps: int | None = _value(RUN, "Steps of each epoch, to try a run.", None, 1)
    validate_every: int = _value(RUN, "Epochs between validations.", 1, 1)
    device: str = _value(MACHINE, "cpu, cuda, cuda:N, or auto: a GPU if there is one.", "auto")
    devices: int = _value(MACHINE, "Number of GPUs, or of processes on the CPU.", 1, 1)
    precision: str = _value(
        MACHINE,
        "auto (bfloat16 on a GPU), float32, bfloat16 or float16, of the network; the conversion is exact in all.",
        "auto",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    channels_last: bool | None = _value(MACHINE, "Layout of the weights; default on a GPU.")
    compile: str | None = _value(MACHINE, "torch.compile with a backend, such as inductor.")
    sync_bn: bool = _value(MACHINE, "Batch normalization over all GPUs instead of each one.", False)
    deterministic: bool = _value(MACHINE, "The same numbers in every run; slower.", False)
    fake: bool = False  #: random patterns instead of data
    evaluate: bool = False  #: no training
    new_folder: bool = False  #: the folder must not exist
    start_epoch: int = 0
    machines: int = 1
    backend: str | None = None  #: of torch.distributed on GPUs
    log_file: Path = Path("log.txt")  #: in the folder of the run

    def __post_init__(self) -> None:
        _check(self)
        if self.validate_every > self.recipe.epochs:
            raise ValueError(
                f"validate_every must be at most the {self.recipe.epochs} epochs of the run, got {self.validate_every}"
            )


def kind_of(value: Any) -> type:
    """Return the type of a field of :class:`Recipe` or :class:`RunOptions`."""
    kinds = {"int": int, "float": float, "bool": bool, "Path": Path}
    return kinds.get(str(value.type).partition(" ")[0], str)


def _check(described: Any) -> None:
    """Check the values of a dataclass against the descriptions of its fields."""
    for each in fields(described):
        name, value, allowed = each.name, getattr(described, each.name), each.metadata
        if not allowed or value is None:
            continue
        if allowed["choices"]:
            if value not in allowed["choices"]:
                raise ValueError(f"{name} must be one of {', '.join(allowed['choices'])}; got {value!r}")
        elif (kind := kind_of(each)) in (int, float):
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise TypeError(f"{name} must be of type {kind.__name__}, got {value!r}")
            minimum, maximum = allowed["minimum"], allowed["maximum"]
            if not (minimum <= value <= maximum and math.isfinite(value)):
                limits = f"{minimum} to {maximum}" if maximum < math.inf else f"at least {minimum}"
                raise ValueError(f"{name} must be {limits}, got {value}")


def _named(order: Order) -> Order:
    """Return the name of an order, or the numbers of all groups if it has no name."""
    groups = complete_order(order)
    return next((name for name, known in ORDERS.items() if known == groups), groups)


_DATASETS: dict[str, dict[str, Any]] = {
    "cifar10": {"classes": 10, "size": 128, "ratio": 0.07},
    "cifar100": {"classes": 100, "size": 128, "ratio": 0.07},
    "imagenet": {"classes": 1000, "size": 224, "ratio": 0.12, "val_crop": True, "epochs": 128, "weight_decay": 1e-5},
    "cifar10-dvs": {"classes": 10, "size": 128, "batch_size": 32},
}
_AUGMENTATION = {
    "baseline1": {"cifar10": "flip", "cifar100": "flip", "imagenet": "flip", "cifar10-dvs": "none"},
    "baseline2": {"cifar10": "crop", "cifar100": "crop", "imagenet": "resized-crop", "cifar10-dvs": "flip"},
}
_FINE_TUNING = {"epochs": 128, "lr": 5e-4, "lr_min": 0.0, "weight_decay": 0.0}
_DEFAULT = {"size": 32, "ratio": 0.1, "epochs": 20, "lr": 0.05, "weight_decay": 5e-4, "holdout": 0.1}


def _recipes() -> dict[tuple[str, str], Recipe]:
    recipes = {}
    for dataset, values in _DATASETS.items():
        for name, augmentation in _AUGMENTATION.items():
            recipes[dataset, name] = Recipe(name, dataset, augmentation=augmentation[dataset], **values)
        # The official fine-tuning uses CIFAR10-DVS without augmentation.
        start = recipes[dataset, "baseline1" if dataset == "cifar10-dvs" else "baseline2"]
        for name in ("transfer1", "transfer2"):
            recipes[dataset, name] = start.changed(name=name, **_FINE_TUNING)
    # 500 images are 100 equal steps per epoch; the learning rate is the official 0.1 for 128 images, times 4.
    fast = {"name": "fast", "batch_size": 500, "epochs": 60, "lr": 0.4, "scheduler": "oneCycle", "ema": 0.998}
    recipes["cifar10", "fast"] = recipes["cifar10", "baseline2"].changed(**fast)
    others: dict[str, dict[str, Any]] = {
        "mnist": {"augmentation": "none"},
        "fashion-mnist": {"ratio": 0.15},
        "own": {"batch_size": 32, "epochs": 30},  # classes, size and ratio are detected
        "fake": {"epochs": 4},  # random patterns, to try a machine
        "digits": {"augmentation": "none", "batch_size": 32, "timesteps": 2, "epochs": 3},  # a demo of two minutes
    }
    for dataset, values in others.items():
        recipes[dataset, "default"] = Recipe("default", dataset, **{**_DEFAULT, **values})
    return recipes


#: Recipes by data set and name.
RECIPES: dict[tuple[str, str], Recipe] = _recipes()
DATASETS = tuple(dict.fromkeys(dataset for dataset, _ in RECIPES))
#: Other spellings of data sets, the official one among them.
_SPELLINGS = {"dvscifar10": "cifar10-dvs", "cifar10dvs": "cifar10-dvs", "fashionmnist": "fashion-mnist"}


def find_recipe(dataset: str, name: str | None = None) -> Recipe:
    """Return a recipe.

    Args:
        dataset: one of :data:`DATASETS`, in lower or upper case, or the official spelling.
        name: name of the recipe. Default: ``"baseline2"``, or the only one of the data set.

    Raises:
        ValueError: if it does not exist; the message lists those that do.
    """
    dataset = _SPELLINGS.get(dataset.lower(), dataset.lower())
    names = [known for of, known in RECIPES if of == dataset]
    if not names:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}; got {dataset!r}")
    if name is None:
        name = "baseline2" if "baseline2" in names else names[0]
    if name not in names:
        raise ValueError(f"recipe must be one of {', '.join(names)} for {dataset}; got {name!r}")
    return RECIPES[dataset, name]
