"""Accuracy and confusion, counted a second time."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

from i2e_triton.training.evaluation import LabelError, evaluate

Batches = list[tuple[Tensor, Tensor]]


def made_up(classes: int, generator: torch.Generator) -> Batches:
    """Batches whose images are the logits already, wrong often enough."""
    batches = []
    for size in (17, 64, 1):
        labels = torch.randint(classes, (size,), generator=generator)
        logits = torch.randn(size, classes, generator=generator)
        logits[torch.arange(size), labels] += 0.7
        batches.append((logits, labels))
    return batches


@pytest.mark.parametrize("classes", [3, 5, 10, 120])
def test_against_a_count_by_hand(classes: int, generator: torch.Generator) -> None:
    batches = made_up(classes, generator)
    result, two = evaluate(nn.Identity(), batches, classes), evaluate(nn.Identity(), batches, classes, topk=2)
    logits, labels = (torch.cat(parts) for parts in zip(*batches))
    order = logits.argsort(1, descending=True)
    assert result.images == len(labels) == 82
    assert result.top1 == pytest.approx(float((order[:, 0] == labels).double().mean()))
    assert result.topk == pytest.approx(float((order[:, :5] == labels[:, None]).any(1).double().mean()))
    assert result.topk == 1 if classes <= 5 else result.top1 < result.topk
    assert two.topk == pytest.approx(float((order[:, :2] == labels[:, None]).any(1).double().mean()))
    chances = logits.double().softmax(1)[torch.arange(82), labels]
    assert result.loss == pytest.approx(float(-chances.log().mean()))  # of images, not of batches
    expected = confusion_matrix(labels, order[:, 0], labels=range(classes))
    assert torch.equal(result.confusion, torch.from_numpy(expected))


class Mode(nn.Module):
    """Says class 1 while evaluating, class 0 while training, and of what type its sums are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.dtypes: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        self.dtypes.append(self.fc(x).dtype)
        return torch.tensor([[1.0, 0.0]] if self.training else [[0.0, 1.0]]).expand(len(x), 2)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_modes(training: bool, autocast: torch.dtype | None) -> None:
    model = Mode().train(training)
    result = evaluate(model, [(torch.rand(3, 2), torch.ones(3, dtype=torch.long))], 2, autocast=autocast)
    assert result.top1 == 1
    assert model.training == training
    assert model.dtypes == [autocast or torch.float32]


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_are_no_class(label: int) -> None:
    model = nn.Identity().train()
    with pytest.raises(LabelError, match=f"labels are {min(2, label)} to {max(2, label)}, the network has 4 classes"):
        evaluate(model, [(torch.rand(2, 4), torch.tensor([2, label]))], 4)
    assert model.training


def test_other_numbers_of_classes_and_no_images() -> None:
    with pytest.raises(ValueError, match="the network has 4 classes, the set 5"):
        evaluate(nn.Identity(), [(torch.rand(2, 4), torch.tensor([2, 1]))], 5)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(nn.Identity(), [], 5)
