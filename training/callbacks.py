"""Callbacks that write the files of a run: a checkpoint that resumes exactly, the best weights and a log."""

from __future__ import annotations

import errno
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from i2e_triton.cli.terminal import print_line
from i2e_triton.io.atomic import write_whole
from i2e_triton.training.official import save_weights

#: The state to resume from, and the best weights in the official form.
LAST, BEST = "last.pt", "best.pt"


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all. Lightning's own class does not sync the file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        try:
            with write_whole(Path(path)) as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # PyTorch hides the error of the disk behind its own
            raise OSError(errno.ENOSPC, f"not written, is the disk full? ({error})", str(path)) from error


class ResumePoints(Checkpoint):
    """Saves ``last.pt`` after each epoch and every ``every`` steps in it, with the state of PyTorch's generators.

    Args:
        folder: folder of the run.
        every: optimizer steps between checkpoints; 0: only after each epoch.
    """

    def __init__(self, folder: Path, every: int = 0):
        self._path, self._every = folder / LAST, every
        self._random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the random number generators."""
        return {"random": {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until the first batch: what comes before it may draw numbers."""
        self._random = state_dict["random"]

    def on_train_batch_start(self, *_: Any) -> None:
        """Restore the generators once after resuming. Those of GPUs are restored if the number of GPUs is the same."""
        if self._random is not None:
            torch.set_rng_state(self._random["torch"])
            if len(self._random["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._random["cuda"])
            self._random = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Save every ``every`` optimizer steps of an epoch."""
        if self._every and (index + 1) % (self._every * trainer.accumulate_grad_batches) == 0:
            trainer.save_checkpoint(self._path)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after an epoch."""
        trainer.save_checkpoint(self._path)


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
        self._batches = 0  # trained on by this process since the last validation
        self.history: list[dict[str, float]] = []  #: losses and accuracies (0 to 1) of each validated epoch
        self.best: tuple[float, int] = (-1.0, 0)  #: best accuracy of validation, and its epoch

    @rank_zero_only
    def say(self, text: str) -> None:
        """Print lines, and append them to the log file; only in the first process."""
        for line in text.splitlines():
            print_line(self._console, line)
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Return the history."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a history."""
        self.history, self.best = state_dict["history"], state_dict["best"]

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock at the first batch of this process after a validation."""
        self._started = self._started or time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Raise a ValueError if the loss is not a finite number."""
        self._batches += 1
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
        if not self._seconds:
            return  # an epoch without validation; the metrics are of an earlier one
        names = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "top1", "top5")]
        row = {name.replace("/", "_"): float(trainer.callback_metrics[name]) for name in names}
        images = self._batches * module.recipe.batch_size / module.recipe.accumulate
        row |= {"lr": trainer.optimizers[0].param_groups[0]["lr"], "images_per_second": images / self._seconds}
        self._batches, self._seconds = 0, 0.0
        self.history.append(row)
        module.log_dict({name: row[name] for name in ("lr", "images_per_second")})
        self.say(
            f"epoch {trainer.current_epoch}: validation top-1 {row['val_top1']:.2%}, top-5 {row['val_top5']:.2%}, "
            f"loss {row['val_loss']:.4f}; training top-1 {row['train_top1']:.2%}, loss {row['train_loss']:.4f}; "
            f"best {self.best[0]:.2%}; {row['images_per_second']:.0f} images/s"
        )
