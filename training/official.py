"""Read, download, load and write checkpoints in the official format."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2e_triton.install_hints import pip_command
from i2e_triton.io.atomic import write_whole
from i2e_triton.training.models import ARCHITECTURES, BASIC
from i2e_triton.training.recipes import Input

HUB = "Ruichen0424/I2E"
#: Prefixes that wrappers add to the names of parameters: data parallelism, compilation, :class:`SpikingClassifier`.
_PREFIXES = ("module.", "_orig_mod.", "network.")
_INPUTS: dict[int, Input] = {1: "value", 2: "events", 3: "rgb"}  # by channels of the first layer
_FOLDER = 0x10  #: attribute of a folder in a zip file


class CheckpointError(ValueError):
    """A file is not a checkpoint, or does not match the network. The message says what to change."""


@dataclass(frozen=True)
class Weights:
    """The weights in a checkpoint; None for what the file does not contain."""

    path: Path
    state: dict[str, Tensor]  #: parameters and buffers by name, on the CPU, without the prefixes of wrappers
    name: str  #: the architecture, one of :data:`i2e_triton.training.models.ARCHITECTURES`
    input: Input
    num_classes: int
    epoch: int | None  #: last finished epoch, from 0
    recipe: dict[str, Any] | None


def find_weights(name: str | Path) -> Path:
    """Return the path of a file of weights. Download it from the hub if ``name`` is ``FOLDER/FILE`` and does not exist.

    A downloaded file is cached. A name of another form is returned as a path, even if there is no such file.

    Raises:
        FileNotFoundError: if the hub cannot be reached or does not have the file.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute() or len(path.parts) < 2:
        return path
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(HUB, str(name)))
    except ModuleNotFoundError as error:
        advice = f"to download it from the hub, run {pip_command('hub')}"
        raise FileNotFoundError(f"{name} does not exist; {advice}") from error
    except (OSError, ValueError) as error:  # no network, or no such file on the hub
        raise FileNotFoundError(
            f"{name} does not exist, and {HUB} on the hub could not be read ({str(error).splitlines()[0]}); check the "
            "name and the network, or download the file and pass its path"
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` that contains a dictionary, with tensors on the CPU. No code in it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged, contains something else, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch and Python raise a dozen types for damaged files
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.filename is not None):
            raise  # the file is not the cause, or cannot be opened
        if "unsupported global" in str(error).lower():
            raise CheckpointError(
                f"{path} contains more than tensors, numbers and containers, whose loading could run code; save the "
                "state_dict only"
            ) from error
        raise CheckpointError(f"{path} is damaged, or not a checkpoint") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains a {type(content).__name__}; a checkpoint is a dictionary")
    return content


def _check_sums(path: Path) -> None:
    """Verify the checksums in a checkpoint, which is a zip file. PyTorch writes them but does not check them."""
    if not zipfile.is_zipfile(path):
        return  # a file of PyTorch before 1.6, or not a checkpoint
    with zipfile.ZipFile(path) as archive:
        # If a member has the attribute of a folder, PyTorch loads it as empty, and testzip skips its checksum.
        folders = [info.filename for info in archive.infolist() if info.external_attr & _FOLDER]
        if damaged := folders[0] if folders else archive.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def read_weights(path: str | Path) -> Weights:
    """Read the weights of an MS-ResNet: ``{"state_dict": ..., "epoch": ..., "best_acc1": ...}``, or the state alone.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged or contains no weights of these networks.
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} contains no 'state_dict' of tensors, but {', '.join(map(str, content))}")
    state = {_without_prefixes(str(key)): value for key, value in state.items()}
    try:
        name, input = _architecture(state), _INPUTS[state["conv1.weight"].shape[1]]
        num_classes = state["fc.weight"].shape[0]
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"{path} contains the weights of another kind of network than MS-ResNet") from error
    return Weights(Path(path), state, name, input, num_classes, content.get("epoch"), content.get("recipe"))


def load_weights(model: nn.Module, source: str | Path | Weights, *, fine_tune: bool = False) -> Weights:
    """Load weights into a network and return them. Also sets the order of the timesteps, which the weights contain.

    Args:
        model: the network.
        source: checkpoint file, or the weights read from one. They do not contain the ratio.
        fine_tune: keep the network's own conversion, and its last layer if the number of classes differs.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged or of another network; the message says what to change.
    """
    weights = source if isinstance(source, Weights) else read_weights(source)
    own, path = model.state_dict(), weights.path
    classes = own["fc.weight"].shape[0]
    network = (_architecture(own), _INPUTS[own["conv1.weight"].shape[1]])
    if (weights.name, weights.input) != network:
        raise CheckpointError(
            f"{path}: weights of {weights.name} on {weights.input}, the network is {network[0]} on {network[1]}; use "
            f"--model {weights.name} --input {weights.input}"
        )
    if weights.num_classes != classes and not fine_tune:
        raise CheckpointError(
            f"{path}: weights for {weights.num_classes} classes, the network has {classes}; use {weights.num_classes} "
            "classes, or fine-tune, which trains a new last layer (fc)"
        )
    kept = [key for key in own if key.startswith("i2e.") and (fine_tune or key not in weights.state)]
    kept += ["fc.weight", "fc.bias"] if weights.num_classes != classes else []
    state = {**weights.state, **{key: own[key] for key in kept}}
    shapes = [{key: value.shape for key, value in each.items()} for each in (own, state)]
    if unfit := sorted(key for key in own.keys() | state.keys() if shapes[0].get(key) != shapes[1].get(key)):
        raise CheckpointError(
            f"{path} looks like {weights.name}, but {len(unfit)} of {len(own)} tensors are missing, unknown or of "
            f"another shape: {', '.join(unfit[:5])}"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return weights


def save_weights(path: Path, network: nn.Module, epoch: int, best_top1: float, recipe: dict[str, Any]) -> None:
    """Write a checkpoint that the official code can load. It also contains the recipe.

    Raises:
        OSError: if the file cannot be written.
    """
    state = {f"module.{key}": value.detach().cpu() for key, value in network.state_dict().items()}
    with write_whole(path) as file:
        torch.save({"epoch": epoch, "state_dict": state, "best_acc1": best_top1, "recipe": recipe}, file)


def _architecture(state: Mapping[str, Tensor]) -> str:
    """Return the name of the architecture of these weights, or raise a ValueError."""
    blocks = {key.rsplit(".", 2)[0] for key in state if key.startswith("layer") and key.endswith(".conv2.weight")}
    depths = tuple(sum(block.startswith(f"layer{stage}.") for block in blocks) for stage in (1, 2, 3, 4))
    basic = "layer1.0.conv3.weight" not in state
    for name, (kernels, expected) in ARCHITECTURES.items():
        if depths == expected and basic == (kernels == BASIC):
            return name
    raise ValueError(f"no architecture has {depths} blocks")


def _without_prefixes(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1]
    return key
