"""What a run keeps in its folder: checkpoints that resume exactly, the best weights, and lines to read."""

from __future__ import annotations

import errno
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from i2e_triton.cli.terminal import print_line
from i2e_triton.io.atomic import write_whole
from i2e_triton.training.official import CheckpointError, read_checkpoint, save_weights

#: The state to resume from, the one before it, and the best weights in the official form.
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all, and keeps the one before it.

    Lightning's own class keeps no previous file and does not sync the file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; a ``last.pt`` becomes ``previous.pt``."""
        path = Path(path)
        try:
            with write_whole(path) as file:
                torch.save(checkpoint, file)
                if path.name == LAST and path.exists():
                    os.replace(path, path.with_name(PREVIOUS))
        except RuntimeError as error:  # PyTorch hides the error of the disk behind its own
            raise OSError(errno.ENOSPC, f"not written, is the disk full? ({error})", str(path)) from error

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint. Nothing in it is executed."""
        return read_checkpoint(path)


class ResumePoints(Checkpoint):
    """Saves ``last.pt`` after each epoch and after each ``every`` steps, with the states of the random generators.

    Args:
        folder: folder of the run.
        every: optimizer steps between checkpoints; 0: only after each epoch.
    """

    def __init__(self, folder: Path, every: int = 0):
        self._folder, self._every = folder, every
        self._saved_step = 0
        self._random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the random number generators."""
        return {"random": random_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until the first batch: what comes before it may draw numbers."""
        self._random = state_dict["random"]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Restore the random number generators once after resuming."""
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None
            self._saved_step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save if the number of optimizer steps is a multiple of ``every``."""
        step = trainer.global_step
        if self._every and step % self._every == 0 and step != self._saved_step:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after an epoch."""
        self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep only the weights of a finished run, which take a quarter of the space."""
        if trainer.is_global_zero and trainer.current_epoch >= (trainer.max_epochs or 0):
            save_weights(self._folder / LAST, module.network, trainer.current_epoch - 1, 0.0, module.recipe.as_dict())
            (self._folder / PREVIOUS).unlink(missing_ok=True)

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved_step = trainer.global_step
        trainer.save_checkpoint(self._folder / LAST)


class RunRecord(Callback):
    """Keeps the best weights, and prints and remembers the result of each epoch.

    Place it before callbacks that average weights, so that the averaged weights are kept.

    Args:
        folder: folder of the run, for ``best.pt``.
        log_file: file to which the printed lines are appended.
        every: batches between checks that the loss is a finite number.
    """

    def __init__(self, folder: Path, log_file: Path, every: int = 50):
        self._folder, self._log_file, self._every = folder, log_file, every
        self._console = Console(stderr=True)
        self._started = self._seconds = 0.0
        self.batches = 0  #: trained on by this process since the last epoch
        self.history: list[dict[str, float]] = []  #: losses and accuracies (0 to 1) of each epoch
        self.best: tuple[float, int] = (-1.0, 0)  #: best accuracy of validation, and its epoch

    def say(self, text: str) -> None:
        """Print lines, and append them to the log file; only in the first process."""
        if is_first_process():
            for line in text.splitlines():
                print_line(self._console, line)
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Return the history."""
        return {"history": self.history, "best": list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a history."""
        self.history = [{name: float(value) for name, value in row.items()} for row in state_dict["history"]]
        self.best = (float(state_dict["best"][0]), int(state_dict["best"][1]))

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock at the first batch of this process in an epoch."""
        self._started = self._started or time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Raise a ValueError if the loss is not a finite number."""
        self.batches += 1
        if (index + 1) % self._every == 0 and not math.isfinite(loss := float(outputs["loss"])):
            raise ValueError(
                f"the loss of epoch {trainer.current_epoch}, step {index} is {loss}; lower --lr, or use --precision "
                "float32"
            )

    def on_validation_start(self, *_: Any) -> None:
        """Stop the clock of training."""
        self._seconds, self._started = time.perf_counter() - self._started, 0.0

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the weights if they are the best; these are averaged weights, if a callback averages them."""
        top1 = float(trainer.callback_metrics["val/top1"])
        if top1 > self.best[0]:
            self.best = (top1, trainer.current_epoch)
            if trainer.is_global_zero:
                recipe = module.recipe.as_dict()
                save_weights(self._folder / BEST, module.network, trainer.current_epoch, 100 * top1, recipe)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Remember, log and print the result of an epoch."""
        names = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "top1", "top5")]
        if "val/top1" not in trainer.callback_metrics:
            return  # an epoch without validation
        row = {name.replace("/", "_"): float(trainer.callback_metrics[name]) for name in names}
        images = self.batches * module.recipe.batch_size / module.recipe.accumulate
        row |= {
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": images / max(self._seconds, 1e-9),
        }
        self.batches = 0
        self.history.append(row)
        module.log_dict({name: row[name] for name in ("lr", "images_per_second")})
        self.say(
            f"epoch {trainer.current_epoch}: validation top-1 {row['val_top1']:.2%}, top-5 {row['val_top5']:.2%}, "
            f"loss {row['val_loss']:.4f}; training top-1 {row['train_top1']:.2%}, loss {row['train_loss']:.4f}; "
            f"best {self.best[0]:.2%}; {row['images_per_second']:.0f} images/s"
        )


def is_first_process() -> bool:
    """Return whether this is the first process, also before Lightning has started the others."""
    return getattr(rank_zero_only, "rank", 0) == 0


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and PyTorch as tensors, numbers and lists."""
    numpy_state: Any = np.random.get_state(legacy=False)
    inner = {**numpy_state["state"], "key": numpy_state["state"]["key"].tolist()}
    torch_state = {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    return {"python": random.getstate(), "numpy": {**numpy_state, "state": inner}, **torch_state}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`random_state` returned; those of GPUs if there are as many as then."""
    random.setstate(state["python"])
    inner = {**state["numpy"]["state"], "key": np.array(state["numpy"]["state"]["key"], dtype=np.uint32)}
    np.random.set_state({**state["numpy"], "state": inner})
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def read_last(folder: Path) -> tuple[Path, dict[str, Any], str | None]:
    """Return the newest valid checkpoint of a folder, its content, and what is wrong with a newer one.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        CheckpointError: if none is valid.
    """
    problem: Exception | None = None
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            return path, _resumable(path), None if problem is None else str(problem)
        except (FileNotFoundError, CheckpointError) as error:
            problem = problem if isinstance(problem, CheckpointError) else error
    assert problem is not None
    raise problem


def _resumable(path: Path) -> dict[str, Any]:
    """Read a checkpoint, and check the counts that tell Lightning's loops where to continue."""
    state = read_checkpoint(path)
    if path.name == LAST and state.keys() == {"epoch", "state_dict", "best_acc1", "recipe"}:
        return state  # of a finished run
    try:
        _check_counts([state["epoch"], state["global_step"], state["loops"]["fit_loop"]])
        missing = {"state_dict", "optimizer_states", "callbacks", "recipe"} - state.keys()
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} has no valid state of a run ({error!r}); start again with --overwrite"
        ) from error
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}; start again with --overwrite")
    return state


def _check_counts(value: Any) -> None:
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            _check_counts(each)
    elif not isinstance(value, (bool, str, type(None))) and not (type(value) is int and 0 <= value < 2**53):
        raise TypeError(f"{value!r} is not a count")
