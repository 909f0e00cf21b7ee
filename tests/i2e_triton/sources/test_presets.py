from __future__ import annotations

import pytest

from i2e_triton.sources import KINDS, PRESETS, RESIZE_RULES, check_resize

#: Size and ratio of each data set in the catalogue of the official repository.
OFFICIAL = {
    "cifar10": (128, 0.07),
    "cifar100": (128, 0.07),
    "imagenet": (224, 0.12),
    "caltech101": (224, 0.12),
    "caltech256": (224, 0.12),
    "mini-imagenet": (224, 0.12),
    "mnist": (32, 0.10),
    "fashion-mnist": (32, 0.15),
}


def test_every_official_data_set_has_a_preset() -> None:
    assert list(PRESETS) == list(OFFICIAL)


@pytest.mark.parametrize("name", OFFICIAL)
def test_presets_have_the_official_settings(name: str) -> None:
    preset = PRESETS[name]
    size, ratio = OFFICIAL[name]
    assert (preset.size, preset.ratio) == ((size, size), ratio)
    assert preset.kind == (name if name in KINDS else None)
    official = {"test": "validation"} if "cifar" in name or "mnist" in name else {}
    assert preset.splits == official
    for rule in RESIZE_RULES:
        check_resize(preset.size, rule)
