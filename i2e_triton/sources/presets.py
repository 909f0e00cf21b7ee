"""The settings with which the official data sets were converted: stretched to the size, bicubic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    """The settings of one official data set, from the catalogue of the official repository."""

    size: tuple[int, int]  #: height and width
    ratio: float
    #: name of a split in the source -> name in the official data set; only names that differ
    splits: Mapping[str, str] = field(default_factory=dict)
    #: kind of the source, one of :data:`i2e_triton.sources.KINDS`; None if torchvision does not have the data set
    kind: str | None = None


_TEST = {"test": "validation"}

#: Value of the option ``--preset`` -> settings.
PRESETS: dict[str, Preset] = {
    "cifar10": Preset((128, 128), 0.07, _TEST, "cifar10"),
    "cifar100": Preset((128, 128), 0.07, _TEST, "cifar100"),
    "imagenet": Preset((224, 224), 0.12),
    "caltech101": Preset((224, 224), 0.12, {}, "caltech101"),
    "caltech256": Preset((224, 224), 0.12, {}, "caltech256"),
    "mini-imagenet": Preset((224, 224), 0.12),
    "mnist": Preset((32, 32), 0.10, _TEST, "mnist"),
    "fashion-mnist": Preset((32, 32), 0.15, _TEST, "fashion-mnist"),
}
