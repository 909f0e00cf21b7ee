"""Weights from checkpoint files: the published ones, and those that training here writes in the same form."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2e_triton.training.encoders import Input
from i2e_triton.training.models import ARCHITECTURES, BasicBlock

#: What wrappers put before the names of parameters: (distributed) data parallelism, averaging, compilation.
_PREFIXES = ("module.", "_orig_mod.")
_INPUTS: dict[int, Input] = {1: "value", 2: "events", 3: "rgb"}  # by channels of the first layer
#: What ``torch.load`` may raise for a damaged or foreign file.
_UNREADABLE = (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)
#: How pickles begin that ``torch.save`` never writes, of later protocols than its own.
_PLAIN_PICKLES = (b"\x80\3", b"\x80\4", b"\x80\5")


class CheckpointError(ValueError):
    """A file is no checkpoint, or does not fit the network; the message says what would."""


class DamagedError(CheckpointError):
    """A file is not whole, or no checkpoint at all."""


@dataclass(frozen=True)
class Weights:
    """What a checkpoint file holds of a network.

    Attributes:
        path: of the file.
        state: parameters and buffers by name, on the CPU, without the prefixes of wrappers.
        name: the architecture, one of :data:`i2e_triton.training.models.ARCHITECTURES`.
        input: what the network sees.
        num_classes: number of logits.
        epoch: the last one finished, from 0, where the file says so.
        best_top1: best validation accuracy in percent, where the file says so.
        recipe: values of the recipe that they were trained with, where the file says so.
    """

    path: Path
    state: dict[str, Tensor]
    name: str
    input: Input
    num_classes: int
    epoch: int | None
    best_top1: float | None
    recipe: dict[str, Any] | None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` that holds a dictionary, without running code from it.

    Tensors, containers and numbers are read, NumPy's numbers too, as published files hold them; tensors to the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedError: if the file cannot be read.
        CheckpointError: if it holds anything else, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        read = "only tensors, numbers and containers are read"
        with path.open("rb") as file:
            plain = file.read(2) in _PLAIN_PICKLES
        if plain or "unsupported global" in str(error).lower():
            raise CheckpointError(f"{path}: may ask for code to be run, and is refused; {read}") from error
        raise DamagedError(f"{path}: damaged or no checkpoint; {read}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}; a checkpoint is a dictionary")
    return content


def read_weights(path: str | Path) -> Weights:
    """Read the weights of an MS-ResNet: ``{"state_dict": ..., "epoch": ..., "best_acc1": ...}``, or the state alone.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged or holds no weights of these networks.
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path}: holds no 'state_dict' of tensors, but {', '.join(map(str, content)) or 'nothing'}"
        )
    state = {_bare(str(key)): value for key, value in state.items()}
    try:
        name, num_classes, input = _name(state), state["fc.weight"].shape[0], _INPUTS[state["conv1.weight"].shape[1]]
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"{path}: holds the weights of another kind of network than MS-ResNet") from error
    epoch, best, recipe = (content.get(key) for key in ("epoch", "best_acc1", "recipe"))
    recipe = recipe if isinstance(recipe, dict) else None
    return Weights(Path(path), state, name, input, num_classes, _number(epoch, int), _number(best, float), recipe)


def load_weights(model: nn.Module, source: str | Path | Weights, *, fine_tune: bool = False) -> Weights:
    """Load weights into a network.

    The order of timesteps comes with them, see :class:`i2e_triton.I2E`; the ratio is not in the file.

    Args:
        model: the network.
        source: checkpoint file, or what was read from one.
        fine_tune: keep the network's own conversion, and its last layer where the weights are for other classes.

    Returns:
        The weights.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged or of another network; the message says what to change.
    """
    weights = source if isinstance(source, Weights) else read_weights(source)
    path = weights.path
    own = model.state_dict()
    _check_fit(weights, own, fine_tune)
    state = dict(weights.state)
    if fine_tune:
        kept = ("i2e.",) if weights.num_classes == own["fc.weight"].shape[0] else ("i2e.", "fc.")
        state |= {key: value for key, value in own.items() if key.startswith(kept)}
    unfit = [key for key in own.keys() | state.keys() if _shape(own, key) != _shape(state, key)]
    if unfit:
        raise CheckpointError(
            f"{path}: {weights.name}, but {len(unfit)} of {len(own)} tensors are missing, of another shape "
            f"or unknown: {', '.join(sorted(unfit)[:5])}"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return weights


def _check_fit(weights: Weights, own: Mapping[str, Tensor], fine_tune: bool) -> None:
    path = weights.path
    name, input = _name(own), _INPUTS[own["conv1.weight"].shape[1]]
    num_classes = own["fc.weight"].shape[0]
    if weights.name != name:
        raise CheckpointError(f"{path}: weights of {weights.name}, the network is {name}; choose model {weights.name}")
    if weights.input != input:
        raise CheckpointError(f"{path}: trained on {weights.input}, the network takes {input}; choose {weights.input}")
    if weights.num_classes != num_classes and not fine_tune:
        raise CheckpointError(
            f"{path}: weights for {weights.num_classes} classes, the network has {num_classes}; "
            f"choose {weights.num_classes} classes, or fine-tune, which trains the last layer (fc) anew"
        )


def _name(state: Mapping[str, Tensor]) -> str:
    """Tell the architecture by its blocks.

    Raises:
        ValueError: if the state is of none.
    """
    blocks = {key.rsplit(".", 2)[0] for key in state if key.startswith("layer") and key.endswith(".conv2.weight")}
    depths = tuple(sum(block.startswith(f"layer{stage}.") for block in blocks) for stage in (1, 2, 3, 4))
    basic = "layer1.0.conv3.weight" not in state
    for name, (block, expected) in ARCHITECTURES.items():
        if depths == expected and basic == (block is BasicBlock):
            return name
    raise ValueError(f"no architecture has {depths} blocks")


def _bare(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1]
    return key


def _shape(state: Mapping[str, Tensor], key: str) -> torch.Size | None:
    return state[key].shape if key in state else None


def _number(value: Any, kind: type) -> Any:
    """A number that may come as a tensor or be absent."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return kind(value) if isinstance(value, int | float) else None


class _NumberType:
    """Stands for ``numpy.dtype`` while a file is read: NumPy's own would believe any state that a file claims."""

    FORMATS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}  # noqa: RUF012

    def __init__(self, code: str, *_: Any):
        self.format = self.FORMATS[code]
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = {"<": "<", ">": ">"}.get(state[1], "=")


def _scalar(kind: _NumberType, data: bytes) -> float:
    """Stands for the function that rebuilds NumPy's numbers."""
    (number,) = struct.unpack(kind.byte_order + kind.format, data)
    return float(number)


#: NumPy 1 and 2 name them so.
_NUMBERS: list[Any] = [
    (_NumberType, "numpy.dtype"),
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
]
