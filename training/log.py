"""What a run leaves to be read: two tables, TensorBoard, a text log and a picture of the curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from torch.utils.tensorboard import SummaryWriter

from i2e_triton.io.atomic import write_whole

T = TypeVar("T")
STEPS = ("epoch", "step", "loss", "lr")
EPOCHS = ("epoch", "lr", "train_loss", "train_top1", "val_loss", "val_top1", "val_topk", "images_per_second")


class RunLog:
    """The records of a run in its folder: ``steps.csv``, ``epochs.csv``, ``log/log.txt``, TensorBoard, ``curves.png``.

    Args:
        folder: of the run.
        log_folder: of the text log, below it.
        epoch: from which the run starts; what the tables hold from there on is of steps that are done again.
        step: in this epoch.
    """

    def __init__(self, folder: Path, log_folder: str, epoch: int = 0, step: int = 0):
        self._folder = folder
        self._console = Console(stderr=True)
        self._text = folder / log_folder.strip("/") / "log.txt"
        self._text.parent.mkdir(parents=True, exist_ok=True)
        self._cut(STEPS, "steps.csv", lambda row: (int(row["epoch"]), int(row["step"])) < (epoch, step))
        self._cut(EPOCHS, "epochs.csv", lambda row: int(row["epoch"]) < epoch)
        self._board = SummaryWriter(str(folder), purge_step=epoch)
        self._progress = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._board.close()

    def say(self, text: str) -> None:
        """Print a line, and keep it in the text log."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        with self._text.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def track(self, phase: str, batches: Iterable[T], steps: int, done: int = 0) -> Iterator[T]:
        """Iterate, and show in the progress bar how many of the steps of a phase are done."""
        self._progress.reset(self._task, total=steps, completed=done, description=phase)
        for batch in batches:
            yield batch
            self._progress.advance(self._task)

    def add_steps(self, epoch: int, first_step: int, losses: Iterable[float], lr: float) -> None:
        """Add the losses of steps that follow each other."""
        rows = [(epoch, step, repr(loss), repr(lr)) for step, loss in enumerate(losses, first_step)]
        with (self._folder / "steps.csv").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def add_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add what an epoch came to: the values of :data:`EPOCHS` but for ``epoch`` itself."""
        with (self._folder / "epochs.csv").open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, EPOCHS).writerow({"epoch": epoch, **values})
        for name, value in values.items():
            self._board.add_scalar(name.replace("train_", "Train/").replace("val_", "Val/"), value, epoch)
        self._board.flush()

    def draw(self) -> None:
        """Draw the curves of all epochs so far into ``curves.png``."""
        with (self._folder / "epochs.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        draw_curves(rows, self._folder / "curves.png")

    def _cut(self, header: tuple[str, ...], name: str, keep: Callable[[dict[str, str]], bool]) -> None:
        """Write a table anew, with the rows that stay valid."""
        path = self._folder / name
        rows = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if keep(row)]
        with write_whole(path) as binary, io.TextIOWrapper(binary, encoding="utf-8", newline="") as table:
            writer = csv.DictWriter(table, header)
            writer.writeheader()
            writer.writerows(rows)


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Draw loss and accuracy over the epochs of an ``epochs.csv`` as a PNG."""
    with write_whole(path) as file:
        curves(rows).savefig(file, format="png", dpi=120)


def curves(rows: list[dict[str, str]]) -> Figure:
    """Draw loss and accuracy over the epochs of an ``epochs.csv``."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [int(row["epoch"]) for row in rows]
    for split, label in (("train", "training"), ("val", "validation")):
        loss.plot(epochs, [float(row[f"{split}_loss"]) for row in rows], marker=".", label=label)
        accuracy.plot(epochs, [100 * float(row[f"{split}_top1"]) for row in rows], marker=".", label=label)
    for axes, title in ((loss, "loss"), (accuracy, "top-1 accuracy, %")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
