"""How the events of a set were made, as far as its files say."""

from __future__ import annotations

from pathlib import Path

from i2e_triton.pipeline.manifest import ManifestError, read_manifest
from i2e_triton.training.data import DataError
from i2e_triton.training.recipes import Recipe


def as_converted(recipe: Recipe, path: Path | None) -> Recipe:
    """Take over from a set of ``i2e dataset`` how it was converted: ratio, order, random selection, size.

    So that what is printed is true, and that weights say with which conversion they go. A recipe stays as it is for
    all else: images, and sets of events that do not say.

    Raises:
        DataError: if the set says what cannot be.
    """
    try:
        manifest = None if path is None else read_manifest(path)
    except ManifestError:
        return recipe  # of something else, or damaged: opening the set says so
    if manifest is None:
        return recipe
    try:
        made = dict(manifest.settings)
        height, width = made.get("size") or (None, None)
        return recipe.changed(
            ratio=made.get("ratio"),
            order=made.get("order"),
            random=made.get("random_shifts"),
            size=height if height == width else None,
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: its manifest says nothing that could be of its events ({error})") from error
