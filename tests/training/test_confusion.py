"""What the picture of a confusion matrix shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from i2e_triton.training.confusion import draw_confusion, plot_confusion


def test_shares_numbers_and_names() -> None:
    confusion = torch.tensor([[1500, 500, 0], [0, 30, 10], [0, 0, 0]])
    (axes, _) = draw_confusion(confusion, ["cat", "dog", "no one"]).axes
    (image,) = axes.images
    shares = np.array([[0.75, 0.25, 0], [0, 0.75, 0.25], [0, 0, 0]])
    np.testing.assert_array_equal(np.asarray(image.get_array()), shares)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "1,500", (1, 0): "500", (1, 1): "30", (2, 1): "10"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "no one"]
    assert axes.get_title() == "1,530 of 2,040 right"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(("classes", "numbered", "named"), [(10, True, True), (100, False, True), (257, False, False)])
def test_many_classes(classes: int, numbered: bool, named: bool, tmp_path: Path, generator: torch.Generator) -> None:
    confusion = torch.randint(1, 9, (classes, classes), generator=generator) + 90 * torch.eye(
        classes, dtype=torch.int64
    )
    (axes, _) = draw_confusion(confusion).axes
    assert len(axes.texts) == classes**2 * numbered
    assert (len(axes.get_yticklabels()) == classes) == named
    plot_confusion(confusion, tmp_path / "out" / "confusion.png")
    with PIL.Image.open(tmp_path / "out" / "confusion.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 2 * classes  # every cell is seen
    assert (pixels.std(2) > 20).mean() > 0.2 / classes  # blue


@pytest.mark.parametrize(("shape", "names"), [((2, 3), None), ((2, 2), ["a"])], ids=["not square", "a name is missing"])
def test_what_does_not_fit(shape: tuple[int, int], names: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"a confusion matrix is \[classes, classes\], got \[2, [23]\] for [12] names"):
        draw_confusion(torch.ones(shape), names)
