"""Single parts of a step."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton import convert
from i2e_triton.training import loop, train
from i2e_triton.training.distributed import Place
from i2e_triton.training.log import EPOCHS, curves, draw_curves
from i2e_triton.training.metrics import build_metrics, read, restore_state, summed_state
from i2e_triton.training.models import build_model
from i2e_triton.training.options import parse_options
from i2e_triton.training.run import Run
from i2e_triton.training.sync_bn import SyncBatchNorm2d, synchronise
from tests.training.networks import enliven, sample_images
from tests.training.tiny import TinyNetwork, rows
from tests.training.tiny import run as trained

DRAW = draw_curves  # other tests do without


def prepared(*arguments: object) -> Run:
    """A run that is ready, with the tiny network without normalisation."""
    options = parse_options(["--dataset", "fake", "--size", "16", "--device", "cpu", "-w", "0", *map(str, arguments)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_network", lambda recipe: TinyNetwork(recipe, normalised=False))
        train._set_modes(options, Place(torch.device("cpu")))
        return train.prepare(options, Place(torch.device("cpu")), train.Start())


def batch(run: Run, size: int) -> tuple[Tensor, Tensor]:
    samples = [run.loaders.train.dataset[index] for index in range(size)]
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])


def test_a_batch_in_parts_is_the_batch() -> None:
    whole, parts = prepared("--no-random"), prepared("--no-random", "--accumulate", 3)
    images, labels = batch(whole, 8)
    losses = [loop.train_step(run, images, labels, 0) for run in (whole, parts)]
    torch.testing.assert_close(losses[1], losses[0])
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, msg=name)
    assert read(parts.counts) == pytest.approx(read(whole.counts))


def test_parts_are_never_empty() -> None:
    run = prepared("--accumulate", 4)
    images, labels = batch(run, 3)
    assert torch.isfinite(loop.train_step(run, images, labels, 0))
    assert [len(part) for _, part in loop._parts(images, labels, 4)] == [1, 1, 1]
    events = convert(images)
    assert [part.shape[:2] for part, _ in loop._parts(events, labels, 2)] == [(8, 2), (8, 1)]


def test_the_step_is_nesterovs(generator: torch.Generator) -> None:
    run = prepared("--no-random", "-wd", 0.1, "--lr", 0.5, "-m", 0.9)
    images, labels = batch(run, 4)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    loss = torch.nn.functional.cross_entropy(run.network(images), labels, label_smoothing=0.1)
    gradients = torch.autograd.grad(loss, list(run.network.parameters()))
    loop.train_step(run, images, labels, 0)
    for (name, value), gradient in zip(run.network.named_parameters(), gradients):
        step = gradient + (0.1 * before[name] if before[name].ndim > 1 else 0)
        torch.testing.assert_close(value, before[name] - 0.5 * (1 + 0.9) * step, msg=name)
        assert value.grad is None  # nothing is left for the next step


def test_mixing_ends_after_two_thirds_of_the_epochs() -> None:
    run = prepared("--mixup", "-e", 3)
    images, labels = batch(run, 8)
    mixed, targets = loop.mix(run, images, labels, 2)
    assert (mixed.dtype, targets.shape) == (torch.float32, (8, 10))
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert not torch.equal(mixed, v2.functional.to_dtype(images, torch.float32, scale=True))
    assert loop.mix(run, images, labels, 3)[0] is images
    assert loop.mix(prepared(), images, labels, 0)[1] is labels


def test_dropping_keeps_some_timesteps_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared("--t_train", 3, "--no-random")
    images, _ = batch(run, 2)
    monkeypatch.setattr(torch, "randperm", lambda count: torch.tensor([6, 1, 4, 0, 2, 3, 5, 7])[:count])
    kept = loop.drop_timesteps(run, images)
    assert torch.equal(kept, convert(images, run.recipe.ratio)[[1, 4, 6]])
    events = convert(images, 0.1)
    assert torch.equal(loop.drop_timesteps(run, events), events[[1, 4, 6]])
    packed = convert(images, 0.1, packed=True)
    assert torch.equal(loop.drop_timesteps(run, packed), events[[1, 4, 6]])
    assert loop.drop_timesteps(prepared(), images) is images


def test_the_average_moves_by_its_decay_and_is_validated() -> None:
    run = prepared("--ema", 0.75)
    images, labels = batch(run, 4)
    assert run.averaged is not None
    loop.train_step(run, images, labels, 0)
    first = run.network.get_parameter("fc.weight").detach().clone()
    loop.train_step(run, images, labels, 0)
    average = run.averaged.module
    torch.testing.assert_close(
        average.get_parameter("fc.weight"), 0.75 * first + 0.25 * run.network.get_parameter("fc.weight")
    )
    run.averaged.module.get_parameter("fc.weight").data.zero_()
    run.averaged.module.get_parameter("fc.bias").data.copy_(torch.arange(10.0))
    run.most_steps = 2
    assert loop.validate(run).top1 == pytest.approx(0.1, abs=0.02)  # always the last class: the average is validated


def test_counts_go_on_where_they_were(generator: torch.Generator) -> None:
    logits = torch.randn(12, 5, generator=generator)
    labels = torch.randint(0, 5, (12,), generator=generator)
    losses = torch.rand(12, generator=generator)
    whole, cut, resumed = (build_metrics(5, 2, torch.device("cpu")) for _ in range(3))
    whole.update(preds=logits, target=labels, value=losses)
    cut.update(preds=logits[:5], target=labels[:5], value=losses[:5])
    restore_state(resumed, summed_state(cut))
    resumed.update(preds=logits[5:], target=labels[5:], value=losses[5:])
    assert read(resumed) == pytest.approx(read(whole))
    top = logits.topk(2).indices
    expected = {
        "loss": float(losses.mean()),
        "top1": float((top[:, 0] == labels).float().mean()),
        "topk": float((top == labels[:, None]).any(1).float().mean()),
    }
    assert read(whole) == pytest.approx(expected)


def test_synchronised_normalisation_is_the_same_on_one_device(generator: torch.Generator) -> None:
    network = enliven(build_model("resnet18", 10), generator).double()
    images = sample_images(generator)
    names, expected = list(network.state_dict()), network(images)
    synchronise(network)
    assert list(network.state_dict()) == names
    assert sum(isinstance(module, SyncBatchNorm2d) for module in network.modules()) == 20
    assert torch.equal(network(images), expected)


@pytest.mark.parametrize("epochs", [[0], [3, 4], list(range(256))])
def test_curves_count_whole_epochs(epochs: list[int]) -> None:
    figure = curves([{**dict.fromkeys(EPOCHS, "0.5"), "epoch": str(epoch)} for epoch in epochs])
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown
        assert set(shown) <= set(epochs)


def test_curves_are_drawn(tmp_path: Path) -> None:
    values = dict.fromkeys(EPOCHS, "0.5")
    DRAW([{**values, "epoch": "0"}, {**values, "epoch": "1", "val_top1": "0.75"}], tmp_path / "curves.png")
    with PIL.Image.open(tmp_path / "curves.png") as image:
        colours = image.convert("RGB").getcolors(image.width * image.height)
    assert colours is not None
    blue = [count for count, (red, _, blue) in colours if blue - red > 100]
    orange = [count for count, (red, _, blue) in colours if red - blue > 100]
    assert sum(blue) > 100  # curves of training
    assert sum(orange) > 100  # and of validation


def test_a_real_network_trains_on_some_of_its_timesteps(tmp_path: Path) -> None:
    small = ("--size", 8, "--timesteps", 2, "--t_train", 1, "-bz", 360, "-e", 1, "--max-steps", 1)
    trained("--dataset", "digits", *small, "-sp", tmp_path, "-n", "run")
    (step,) = rows(tmp_path / "run" / "steps.csv")
    assert 1 < float(step["loss"]) < 5
