"""The official loop and this package's loop compute the same steps from the same images and weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.baselines.official_loop import Conversion, Images, OfficialLoop, accuracy
from i2e_triton import convert, random_shifts, reference
from i2e_triton.training.data import training_transform
from i2e_triton.training.module import SpikingClassifier
from i2e_triton.training.recipes import find_recipe
from tests.samples import assert_same_events, noise, photograph
from tests.training.tiny import FAKE, TinyNetwork

RECIPE = FAKE.changed(random=False)


@pytest.fixture
def module() -> SpikingClassifier:
    """Return this package's module with a small network, without random selection."""
    return SpikingClassifier(RECIPE, TinyNetwork(RECIPE))


def official_loop(module: SpikingClassifier, precision: torch.dtype | None = None) -> OfficialLoop:
    """Return the official loop with a copy of the network."""
    network = TinyNetwork(RECIPE)
    network.load_state_dict(module.network.state_dict())
    network.add_module("i2e", Conversion(RECIPE.ratio))
    network.train().get_submodule("i2e").eval()
    optimizer = SpikingClassifier(RECIPE, network).configure_optimizers()
    return OfficialLoop(network, optimizer, RECIPE.label_smoothing, precision)


def test_steps_equal_those_of_this_package(module: SpikingClassifier, generator: torch.Generator) -> None:
    official, optimizer = official_loop(module), module.configure_optimizers()
    losses = []
    for size in (7, 12):
        images = noise((size, 3, 16, 16), torch.uint8, generator)
        labels = torch.randint(10, (size,), generator=generator)
        loss = module.training_step((images, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert official.step(reference.scale(images), labels) == pytest.approx(float(loss.detach()), rel=1e-5)
        losses.append(float(loss.detach()))
    assert losses[0] != losses[1]
    expected = {name: value for name, value in module.network.state_dict().items() if not name.startswith("i2e")}
    for name, value in expected.items():
        torch.testing.assert_close(official.network.state_dict()[name], value, msg=name)
    assert official.totals[0] == pytest.approx(7 * losses[0] + 12 * losses[1], rel=1e-5)


def test_float16_step_equals_a_float32_step_up_to_rounding(
    module: SpikingClassifier, generator: torch.Generator
) -> None:
    plain, mixed = official_loop(module), official_loop(module, torch.float16)
    images, labels = torch.rand(16, 3, 16, 16, generator=generator), torch.randint(10, (16,), generator=generator)
    assert mixed.step(images, labels) == pytest.approx(plain.step(images, labels), rel=0.05)
    assert mixed.scaler.get_scale() > 1
    start = module.network.get_parameter("fc.weight").detach()
    by_plain, by_mixed = (
        (changed.network.get_parameter("fc.weight").detach() - start).flatten() for changed in (plain, mixed)
    )
    assert float(F.cosine_similarity(by_mixed, by_plain, dim=0)) > 0.95
    assert float(by_mixed.norm() / by_plain.norm()) == pytest.approx(1, abs=0.1)


def test_conversion_equals_this_package(generator: torch.Generator) -> None:
    conversion = Conversion(0.07)
    images = torch.stack([photograph("astronaut"), noise((3, 512, 512), torch.uint8, generator)])
    assert_same_events(conversion.eval()(reference.scale(images)), convert(images, 0.07))
    seed = int(torch.randint(2**31, (), generator=generator))
    torch.manual_seed(seed)
    events = [conversion.train()(reference.scale(images)) for _ in range(2)]
    torch.manual_seed(seed)
    for drawn in events:
        assert_same_events(drawn, convert(images, 0.07, shifts=random_shifts()))
    assert not torch.equal(*events)


def test_augmentation_equals_baseline_2(generator: torch.Generator) -> None:
    image = noise((3, 32, 32), torch.uint8, generator)
    ours = training_transform(find_recipe("cifar10", "baseline2"))
    samples = Images([(image, 3)])
    assert len(samples) == 1
    for seed in torch.randint(2**31, (4,), generator=generator).tolist():
        torch.manual_seed(seed)
        expected = v2.functional.to_dtype(ours(image), torch.float32, scale=True)
        torch.manual_seed(seed)
        actual, label = samples[0]
        assert torch.equal(actual, expected)
        assert label == 3


def ranks(logits: Tensor, labels: Tensor) -> list[int]:
    """Return, for each image, the number of logits that are higher than the logit of the label."""
    return [sum(x > row[label] for x in row) for row, label in zip(logits.tolist(), labels.tolist())]


def test_accuracy_is_the_percentage_of_labels_among_the_highest_logits(generator: torch.Generator) -> None:
    logits = F.one_hot(torch.randint(10, (50,), generator=generator), 10) + torch.randn(50, 10, generator=generator)
    labels = torch.randint(10, (50,), generator=generator)
    found = ranks(logits, labels)
    top1, top5 = accuracy(logits, labels, (1, 5))
    assert float(top1) == pytest.approx(100 * sum(rank < 1 for rank in found) / 50)
    assert float(top5) == pytest.approx(100 * sum(rank < 5 for rank in found) / 50)
    assert 0 < top1 < top5
