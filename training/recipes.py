"""Recipes: every number of a training run, as published with I2E (Ma et al., AAAI 2026) where it is.

``recipe("baseline2", "cifar10")`` is one; ``print`` shows all of it, and :meth:`Recipe.changed` makes another.

The published code and README give the numbers of ``baseline1`` (little augmentation) and ``baseline2`` (full
augmentation) for CIFAR-10, CIFAR-100 and ImageNet, and those of fine-tuning on CIFAR10-DVS. The paper fine-tunes on the
other sets too and does not give numbers: their ``transfer1`` and ``transfer2`` keep the data of ``baseline2`` and take
optimiser and schedule from CIFAR10-DVS. Nor are there numbers for CIFAR10-DVS from scratch: its baselines take those of
CIFAR-10, a choice of this package. ``transfer1`` starts from weights of another data set, ``transfer2`` from those
of I2E-CIFAR10; the weights are an argument of the run (``--init``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from i2e_triton.checks import check_timesteps
from i2e_triton.shifts import DEFAULT_ORDER, ORDERS, Order, canonical_shifts, complete_order
from i2e_triton.training.encoders import Input
from i2e_triton.training.ranges import Range

#: What the values of a recipe may be that are one of a few.
CHOICES: dict[str, tuple[str, ...]] = {
    "augmentation": ("none", "flip", "crop", "resized-crop"),
    "input": get_args(Input),
    "model": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "optimizer": ("sgd", "momentum", "adam", "adamw"),
    "scheduler": ("cosineLR", "stepLR"),
}
#: What those may be that are numbers.
RANGES: dict[str, Range] = {
    "classes": Range(int, 1),
    "size": Range(int, 8),  # of a smaller image the first stage would see one pixel
    "batch_size": Range(int, 1),
    "ratio": Range(float, 0),
    "timesteps": Range(int, 1),
    "threshold": Range(float, 0, most=1),
    "drop_to": Range(int, 0),
    "epochs": Range(int, 1),
    "lr": Range(float, 0),
    "momentum": Range(float, 0, below=1),
    "weight_decay": Range(float, 0),
    "label_smoothing": Range(float, 0, most=1),
    "lr_min": Range(float, 0),
    "warmup_epochs": Range(int, 0),
    "warmup_lr": Range(float, 0),
    "decay_epochs": Range(int, 1),
    "decay_rate": Range(float, 0, most=1),
    "ema": Range(float, 0, below=1),
    "accumulate": Range(int, 1),
    "seed": Range(int, 0, most=2**32 - 1),
}


@dataclass(frozen=True)
class Recipe:
    """What a run depends on, apart from the data's place and the machine.

    Raises:
        TypeError: if a value is of the wrong type.
        ValueError: if a value is unfit; the message names it and what would be right.
    """

    name: str
    dataset: str

    # Data
    classes: int
    size: int  #: height and width of the images that are converted
    augmentation: str  #: see :mod:`i2e_triton.training.augmentation`
    val_crop: bool = False  #: validate the middle of an image whose short side has 8/7 of the size
    batch_size: int = 128  #: of one optimiser step, over all processes
    mixup: bool = False  #: MixUp or CutMix, for the first two thirds of the epochs

    # Conversion
    ratio: float = 0.07
    order: Order = DEFAULT_ORDER  #: kept by its name, or as the numbers of all groups where it has none
    timesteps: int | None = None  #: the first ones of the order; None: 8, and 4 of images without conversion
    random: bool = True  #: random selection of motion vectors
    threshold: float | None = None  #: ablation: a fixed threshold, in the place of ``ratio`` times the image's range
    input: Input = "events"  #: ablation: ``"rgb"`` or ``"value"``, the image itself
    drop_to: int = 0  #: published ``t_train``: a random choice of so many timesteps at each step; 0: all

    # Network
    model: str = "resnet18"
    zero_init: bool = False

    # Optimiser and schedule
    epochs: int = 256
    optimizer: str = "sgd"  #: timm's names: ``"sgd"`` is with Nesterov's momentum, ``"momentum"`` without
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 2e-4  #: of weights; biases and batch normalisation are left alone
    label_smoothing: float = 0.1
    scheduler: str = "cosineLR"  #: see :mod:`i2e_triton.training.optimizer`
    lr_min: float = 5e-5
    warmup_epochs: int = 0
    warmup_lr: float = 0.0
    decay_epochs: int = 30
    decay_rate: float = 0.1
    ema: float = 0.0  #: decay of an average of the weights, which is then what is validated; 0: none
    accumulate: int = 1  #: parts that a batch is computed in, one after the other
    seed: int = 2024

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name, allowed in RANGES.items():
            if getattr(self, name) is not None:
                allowed.check(name, getattr(self, name))
        if self.batch_size < self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be computed in {self.accumulate} parts")
        if self.input == "events":
            self._check_events()
        elif self.threshold is not None or self.drop_to:
            raise ValueError(f"threshold and drop_to (--t_train) are for events, and the input is {self.input}")
        object.__setattr__(self, "order", _named(self.order))

    def _check_events(self) -> None:
        timesteps = 8 if self.timesteps is None else self.timesteps
        check_timesteps(timesteps, "the paper's microsaccade has no others")
        canonical_shifts(self.order, timesteps)  # an order of fewer groups has too few for more timesteps
        if self.drop_to > timesteps:
            raise ValueError(f"drop_to (--t_train) must be at most the {timesteps} timesteps, got {self.drop_to}")

    def changed(self, **changes: Any) -> Recipe:
        """Return a recipe with other values; None leaves a value as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """Return all values as numbers, texts and lists, for a checkpoint."""
        return {**asdict(self), "order": self.order if isinstance(self.order, (str, int)) else list(self.order)}

    def __str__(self) -> str:
        width = max(len(field.name) for field in fields(self))
        return "\n".join(f"{name:{width}}  {value}" for name, value in self.as_dict().items())


def _named(order: Order) -> Order:
    """One value for all ways of writing an order."""
    groups = complete_order(order)
    return next((name for name, known in ORDERS.items() if known == groups), groups)


_DATASETS: dict[str, dict[str, Any]] = {
    "cifar10": {"classes": 10, "size": 128, "ratio": 0.07, "epochs": 256, "weight_decay": 2e-4},
    "cifar100": {"classes": 100, "size": 128, "ratio": 0.07, "epochs": 256, "weight_decay": 2e-4},
    "imagenet": {
        "classes": 1000,
        "size": 224,
        "val_crop": True,
        "ratio": 0.12,
        "epochs": 128,
        "weight_decay": 1e-5,
    },
    "cifar10-dvs": {"classes": 10, "size": 128, "epochs": 256, "weight_decay": 2e-4, "batch_size": 32},
}
_AUGMENTATION = {
    "baseline1": {"cifar10": "flip", "cifar100": "flip", "imagenet": "flip", "cifar10-dvs": "none"},
    "baseline2": {"cifar10": "crop", "cifar100": "crop", "imagenet": "resized-crop", "cifar10-dvs": "flip"},
}
_FINE_TUNING = {"epochs": 128, "lr": 5e-4, "lr_min": 0.0, "weight_decay": 0.0}

NAMES = ("baseline1", "baseline2", "transfer1", "transfer2")


def _published() -> dict[tuple[str, str], Recipe]:
    recipes = {}
    for dataset, values in _DATASETS.items():
        for name, augmentation in _AUGMENTATION.items():
            recipes[name, dataset] = Recipe(name, dataset, augmentation=augmentation[dataset], **values)
        # Fine-tuning sees CIFAR10-DVS as it was recorded.
        start = recipes["baseline1" if dataset == "cifar10-dvs" else "baseline2", dataset]
        for name in ("transfer1", "transfer2"):
            recipes[name, dataset] = start.changed(name=name, **_FINE_TUNING)
    return recipes


#: Recipes by name and data set.
RECIPES: dict[tuple[str, str], Recipe] = {
    **_published(),
    # Patterns made up on the spot: to try a machine, or these commands.
    ("baseline1", "fake"): Recipe("baseline1", "fake", classes=10, size=32, augmentation="flip", epochs=4),
    # scikit-learn's 1,797 handwritten digits, shown as events: 95 % and more in a minute or two on two cores.
    ("demo", "digits"): Recipe(
        "demo",
        "digits",
        classes=10,
        size=32,
        augmentation="none",
        batch_size=32,
        ratio=0.1,
        timesteps=4,
        epochs=5,
        lr=0.05,
        weight_decay=5e-4,
    ),
}

DATASETS = tuple(dict.fromkeys(dataset for _, dataset in RECIPES))
#: Other ways to write a data set's name, the published one among them.
_SPELLINGS = {"dvscifar10": "cifar10-dvs", "cifar10dvs": "cifar10-dvs"}


def recipe(name: str | None, dataset: str) -> Recipe:
    """Look a recipe up.

    Args:
        name: as in :data:`RECIPES`; None is ``"baseline2"`` where there is one, as the published commands are.
        dataset: as in :data:`DATASETS`, or as the published script writes it.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    dataset = _SPELLINGS.get(dataset.lower(), dataset.lower())
    names = names_for(dataset)
    if not names:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    if name is None:
        name = "baseline2" if "baseline2" in names else names[0]
    if name not in names:
        own = (
            "; it is a program of its own: python -m i2e_triton.training.fast_cifar10" if name == "fast-cifar10" else ""
        )
        raise ValueError(f"recipe must be one of {', '.join(names)} for {dataset}, got {name!r}{own}")
    return RECIPES[name, dataset]


def names_for(dataset: str) -> list[str]:
    """List the recipes of a data set."""
    return [name for name, other in RECIPES if other == dataset]
