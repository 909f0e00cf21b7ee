"""Where a run starts: at the beginning, from weights, or where it was cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2e_triton.training import checkpoint
from i2e_triton.training.options import OWN, Options
from i2e_triton.training.published import CheckpointError, Weights, read_weights


@dataclass(frozen=True)
class Start:
    """What to load before training."""

    weights: Weights | None = None  #: weights alone, as of ``--init``
    state: dict[str, Any] | None = None  #: all of a run
    folder: Path | None = None  #: of the run that ``state`` is of
    note: str = "starting anew"

    def continues(self, folder: Path) -> bool:
        """Whether it goes on with the run in a folder."""
        return self.folder is not None and self.folder.resolve() == folder.resolve()


def find_start(options: Options) -> Start:
    """Find what ``--init``, ``--resume`` and ``--start_epoch`` ask for.

    A published checkpoint holds weights alone: resuming takes them, and goes on at ``--start_epoch``.

    Raises:
        FileNotFoundError: if the file asked for is not there.
        CheckpointError: if it is damaged, or of another run.
    """
    if options.init is not None:
        return Start(weights=read_weights(options.init), note=f"starting from the weights of {options.init}")
    if options.resume == OWN:
        return _continue_own(options)
    path = options.resume
    if path is None and options.start_epoch > 0:
        # As the published script finds it, in the folder of its own run.
        path = options.folder / "weights" / f"epoch{options.start_epoch - 1}.pth.tar"
    if path is None:
        return Start()
    if path.name == checkpoint.LAST and (path.exists() or path.with_name(checkpoint.PREVIOUS).exists()):
        return _continue_in(path.parent, options)
    state = checkpoint.read_whole(path)
    if not checkpoint.can_continue(state):
        note = f"going on with the weights of {path} at epoch {options.start_epoch}"
        return Start(weights=read_weights(path), note=note)
    checkpoint.check_same_run(path, state, options.recipe)
    return Start(state=state, folder=path.parent, note=_continuing(path, state))


def _continue_own(options: Options) -> Start:
    try:
        return _continue_in(options.folder, options)
    except FileNotFoundError:
        return Start(note=f"starting anew: there is no checkpoint in {options.folder} yet")


def _continue_in(folder: Path, options: Options) -> Start:
    """Go on with the last checkpoint of a folder, or the one before where that is damaged."""
    path, state, problem = checkpoint.read_last(folder)
    if not checkpoint.can_continue(state):
        raise CheckpointError(f"{path} holds weights alone; start a new run from them with --init {path}")
    checkpoint.check_same_run(path, state, options.recipe)
    return Start(state=state, folder=folder, note=_continuing(path, state) + (f" ({problem})" if problem else ""))


def _continuing(path: Path, state: dict[str, Any]) -> str:
    return f"going on with {path} at epoch {state['next_epoch']}, step {state['next_step']}"
