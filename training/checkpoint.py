"""Checkpoints of a run: written whole, checked when they are read, never unpickled.

A run's folder holds ``last.pt``, ``previous.pt`` (the one before it) and ``best.pt``. All have the published keys
``state_dict``, ``epoch`` and ``best_acc1``, and the recipe; the first two have all else that a run continues from.
``state_dict`` is what was validated: where a run averages its weights, their average.
"""

from __future__ import annotations

import os
import random
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from i2e_triton.io.atomic import write_whole
from i2e_triton.training.published import CheckpointError, DamagedError, read_checkpoint
from i2e_triton.training.recipes import Recipe

#: Attribute of a folder in a zip file.
_FOLDER = 0x10
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
#: What is needed to continue a run, besides weights.
_TO_CONTINUE = ("next_epoch", "next_step", "optimizer", "scaler", "averaging", "random", "metrics", "recipe")
#: What Python's reader of zip files raises where a byte is wrong.
_WRONG_BYTES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


def save_last(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``last.pt``; the one that was there becomes ``previous.pt``."""
    with write_whole(folder / LAST) as file:
        torch.save(state, file)
        if (folder / LAST).exists():
            os.replace(folder / LAST, folder / PREVIOUS)


def save_best(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``best.pt``."""
    with write_whole(folder / BEST) as file:
        torch.save(state, file)


def read_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU, after a look at the checksums that PyTorch writes and does not read.

    Raises:
        FileNotFoundError: if there is none.
        DamagedError: if it is not whole.
        CheckpointError: if it holds more than tensors, numbers, texts and their containers.
    """
    if path.is_file():  # else reading it tells, as of files of before PyTorch 1.6 and of those that are no checkpoint
        with path.open("rb") as file:
            if file.read(4) == b"PK\3\4":
                _check_sums(path, file)
    return read_checkpoint(path)


def _check_sums(path: Path, file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            # PyTorch takes a member with a folder's attribute for one without content, whatever its checksum.
            folders = (info.filename for info in archive.infolist() if info.external_attr & _FOLDER)
            damaged = next(folders, None) or archive.testzip()
    except _WRONG_BYTES as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if damaged is not None:
        raise DamagedError(f"{path} is damaged: {damaged} is not what was written")


def read_last(folder: Path) -> tuple[Path, dict[str, Any], str | None]:
    """Read ``last.pt``, or ``previous.pt`` where that is missing or damaged.

    Returns:
        The file that was read, its content, and what was wrong with ``last.pt``, None if nothing was.

    Raises:
        FileNotFoundError: if there is none.
        CheckpointError: if neither can be used.
    """
    try:
        return folder / LAST, read_whole(folder / LAST), None
    except (FileNotFoundError, DamagedError) as error:
        if not (folder / PREVIOUS).exists():
            raise
        return folder / PREVIOUS, read_whole(folder / PREVIOUS), str(error)


def can_continue(state: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint holds all that a run goes on from; published ones and ``best.pt`` hold weights."""
    return all(name in state for name in _TO_CONTINUE)


def check_same_run(path: Path, state: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise unless a checkpoint is of a run of this recipe.

    Raises:
        CheckpointError: naming what differs, or if it is of a version whose recipes were others.
    """
    try:
        found = Recipe(**state["recipe"]).as_dict()
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is of another version ({error}); start a new run from its weights with --init {path} and another "
            "--name"
        ) from error
    wanted = recipe.as_dict()
    differing = [name for name in wanted if found[name] != wanted[name]]
    if differing:
        listed = ", ".join(f"{name} {found[name]!r} (now {wanted[name]!r})" for name in differing)
        raise CheckpointError(
            f"{path} is of a run with {listed}; give the same settings, or start a new run from its weights with "
            f"--init {path} and another --name"
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and PyTorch, on the CPU and on the device."""
    numpy_state = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": {**numpy_state, "state": {**numpy_state["state"], "key": numpy_state["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set the generators to what :func:`random_state` returned; the GPU's too where both runs have one."""
    random.setstate(state["python"])
    key = np.array(state["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
