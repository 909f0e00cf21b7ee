"""Published checkpoints load; anything else is refused with what to change, and nothing in a file is run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import Tensor, nn

from i2e_triton import I2E, canonical_shifts
from i2e_triton.training.models import build_model
from i2e_triton.training.official import CheckpointError, load_weights, read_checkpoint, read_weights, save_weights
from tests.training.networks import enliven, sample_images
from tests.training.official_network import OfficialNetwork

Save = Callable[..., Path]


@pytest.fixture
def official(generator: torch.Generator) -> OfficialNetwork:
    network = OfficialNetwork("resnet18", 10, 0.07)
    enliven(network, generator)
    return network


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a checkpoint as the official script does, from within data parallelism."""

    def write(network: nn.Module, **more: Any) -> Path:
        path = tmp_path / "best.pth.tar"
        state = {f"module.{key}": value for key, value in network.state_dict().items()}
        torch.save({"epoch": 255, "state_dict": state, "best_acc1": 89.25, **more}, path)
        return path

    return write


@torch.no_grad()
def test_the_same_logits(official: OfficialNetwork, save: Save, generator: torch.Generator) -> None:
    network = build_model("resnet18", 10, ratio=0.07).eval()
    weights = load_weights(network, save(official))
    assert (weights.name, weights.input, weights.num_classes, weights.epoch) == ("resnet18", "events", 10, 255)
    images = sample_images(generator)
    assert torch.equal(network(images), official(images))


def small_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights of a network, all of them one number in memory."""
    return {key: torch.zeros(()).expand(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrapped_networks(prefix: str, tmp_path: Path) -> None:
    network = build_model("resnet18", 10)
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, tmp_path / "weights.pth")
    weights = read_weights(tmp_path / "weights.pth")
    assert list(weights.state) == list(network.state_dict())
    assert weights.epoch is None


def test_the_order_of_timesteps_comes_with_the_weights(save: Save) -> None:
    network = build_model("resnet18", 10, order=4)
    load_weights(network, save(build_model("resnet18", 10, order="beta-gamma-alpha")))
    assert isinstance(network.i2e, I2E)
    assert network.i2e.shuffle == (2, 3, 4, 5, 6, 7, 0, 1)


def test_another_last_layer(official: OfficialNetwork, save: Save) -> None:
    network = build_model("resnet18", 5)
    own = network.fc.weight.detach().clone()
    path = save(official)
    with pytest.raises(CheckpointError, match="weights for 10 classes, the network has 5; use 10 classes, or fine-"):
        load_weights(network, path)
    assert load_weights(network, path, fine_tune=True).num_classes == 10
    assert torch.equal(network.fc.weight, own)
    assert torch.equal(network.conv1.weight, official.conv1.weight)


def test_fine_tuning_keeps_the_conversion_and_a_last_layer_that_fits(save: Save) -> None:
    trained, network = build_model("resnet18", 10, order=4), build_model("resnet18", 10, order=1)
    load_weights(network, save(trained), fine_tune=True)
    assert isinstance(network.i2e, I2E)
    assert torch.equal(network.i2e.candidates[0], canonical_shifts(1))
    assert torch.equal(network.i2e.weight, I2E(shuffle=1).weight)
    assert torch.equal(network.fc.weight, trained.fc.weight)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_another_architecture(name: str, save: Save) -> None:
    with torch.device("meta"):
        network = build_model(name, 10)
    path = save(nn.Module(), state_dict=small_state(network))
    assert read_weights(path).name == name
    with pytest.raises(
        CheckpointError, match=f"weights of {name} on events, the network is resnet18 on events; use --model {name}"
    ):
        load_weights(build_model("resnet18", 10), path)


@pytest.mark.parametrize("seen", ["rgb", "value"])
def test_another_input(seen: Any, save: Save) -> None:
    path = save(build_model("resnet18", 10, input=seen))
    with pytest.raises(
        CheckpointError,
        match=f"weights of resnet18 on {seen}, the network is resnet18 on events; use .* --input {seen}",
    ):
        load_weights(build_model("resnet18", 10), path)
    load_weights(build_model("resnet18", 10, input=seen), path)


def test_all_of_the_weights_are_needed_and_no_more(save: Save) -> None:
    network = build_model("resnet18", 10)
    state = network.state_dict()
    del state["bn1.bias"]
    state["layer1.0.bn2.weight"] = torch.zeros(65)
    state["head.weight"] = torch.zeros(3)
    message = r"3 of 123 tensors .*: bn1\.bias, head\.weight, layer1\.0\.bn2\.weight"
    with pytest.raises(CheckpointError, match=message):
        load_weights(network, save(nn.Module(), state_dict=state))


def test_an_order_that_is_none(save: Save) -> None:
    network = build_model("resnet18", 10)
    state = {**network.state_dict(), "i2e.weight": torch.ones(8, 1, 3, 3)}
    with pytest.raises(CheckpointError, match=r"i2e\.weight"):
        load_weights(network, save(nn.Module(), state_dict=state))


class Runs:
    """What runs when a pickle is read without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch.save"])
def test_nothing_in_a_file_is_run(plain: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    if plain:
        path.write_bytes(pickle.dumps(Runs(trace), protocol=2))
    else:
        torch.save({"state_dict": {}, "epoch": Runs(trace)}, path)
    with pytest.raises(
        CheckpointError, match=r"evil\.pth (contains more than tensors, numbers and containers|is damaged)"
    ):
        read_checkpoint(path)
    assert not trace.exists()


def test_damaged_files(save: Save, generator: torch.Generator) -> None:
    path = save(build_model("resnet18", 10))
    whole = path.read_bytes()
    cuts = torch.randint(1, len(whole) - 100, (3,), generator=generator).tolist()
    for damaged in (b"", b"not a checkpoint at all", *(whole[:cut] for cut in cuts)):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged, or not a checkpoint"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "contains a list; a checkpoint is a dictionary"),
        ({"model": 1, "epoch": 2}, "contains no 'state_dict' of tensors, but model, epoch"),
        ({"state_dict": nn.Linear(2, 2).state_dict()}, "another kind of network than MS-ResNet"),
    ],
    ids=["list", "no weights", "other network"],
)
def test_files_of_something_else(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"other.pth .*{message}"):
        read_weights(tmp_path / "other.pth")


def test_weights_are_written_in_the_official_form(tmp_path: Path, generator: torch.Generator) -> None:
    network = enliven(build_model("resnet18", 10, ratio=0.07), generator)
    save_weights(tmp_path / "best.pt", network, 3, 50.0, {"dataset": "own"})
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (content["epoch"], content["best_acc1"]) == (3, 50.0)
    official = OfficialNetwork("resnet18", 10, 0.07)
    nn.DataParallel(official).load_state_dict(content["state_dict"])  # as the official script does
    images = sample_images(generator)
    with torch.no_grad():
        assert torch.equal(official.eval()(images), network(images))


def test_wrong_bytes_are_damage_or_harmless(tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / "last.pt"
    torch.save({"weight": torch.arange(30.0)}, path)
    whole = path.read_bytes()
    found = 0
    for place in torch.randint(len(whole), (150,), generator=generator).tolist():
        wrong = bytearray(whole)
        wrong[place] ^= 1 << int(torch.randint(1, 8, (), generator=generator))
        path.write_bytes(wrong)
        try:
            assert torch.equal(read_checkpoint(path)["weight"], torch.arange(30.0))
        except CheckpointError:
            found += 1
    assert found > 50


def test_weights_without_a_conversion_keep_the_networks(save: Save) -> None:
    state = build_model("resnet18", 10, order=4).state_dict()
    del state["i2e.weight"]  # official weights for stored events
    network = build_model("resnet18", 10, order=1)
    load_weights(network, save(nn.Module(), state_dict=state))
    assert isinstance(network.i2e, I2E)
    assert torch.equal(network.i2e.weight, I2E(order=1).weight)


def test_weights_of_the_hub(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(build_model("resnet18", 10))
    asked: list[tuple[str, ...]] = []

    def download(*names: str) -> Path:
        asked.append(names)
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    network = build_model("resnet18", weights="I2E-CIFAR10/some.pth.tar")
    assert asked == [("Ruichen0424/I2E", "I2E-CIFAR10/some.pth.tar")]
    assert network.fc.out_features == 10
    assert isinstance(network.i2e, I2E)
    assert network.i2e.ratio == 0.07


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> None:
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot connect")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        FileNotFoundError, match=r"Ruichen0424/I2E on the hub .*cannot connect.*; check the name and the"
    ):
        build_model("resnet18", weights="I2E-CIFAR10/some.pth.tar")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such checkpoint file"):
        load_weights(build_model("resnet18", 10), tmp_path / "none.pth")
