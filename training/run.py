"""Train a network and test its best checkpoint."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only

from i2e_triton.analysis.plots import draw_training, save
from i2e_triton.io.atomic import PARTIAL_FILES
from i2e_triton.training.callbacks import BEST, LAST, CheckpointFiles, ResumePoints, RunRecord
from i2e_triton.training.data import DataModule
from i2e_triton.training.models import convert_sync_batchnorm
from i2e_triton.training.module import SpikingClassifier, average_weights
from i2e_triton.training.official import CheckpointError, find_weights, load_weights, read_checkpoint, read_weights
from i2e_triton.training.recipes import Recipe, RunOptions

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


def run(options: RunOptions) -> RunRecord:
    """Train, and report the accuracy of the best checkpoint on the test split.

    Raises:
        ValueError: if an option is invalid, data or a checkpoint does not match the recipe, or the loss is not finite.
        OSError: if a file cannot be read or written.
        MemoryError: if there is too little memory.
    """
    quiet()
    pl.seed_everything(options.recipe.seed, verbose=False)
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    if not on_gpu and (options.sync_bn or options.device.startswith("cuda")):
        raise ValueError("PyTorch finds no GPU, which --sync-bn and --device cuda need; leave them out")
    with _locked_folder(options):
        data = DataModule(
            options.recipe,
            options.data,
            workers=options.workers,
            in_memory=options.in_memory,
            download=options.download,
            fake=options.fake,
            given=options.given,
        )
        module = SpikingClassifier(data.recipe)
        if options.init is not None:
            load_weights(module.network, read_weights(find_weights(options.init)), fine_tune=not options.evaluate)
        if options.sync_bn:
            convert_sync_batchnorm(module.network)
        channels_last = on_gpu if options.channels_last is None else options.channels_last
        if channels_last:
            module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if on_gpu:
            torch.set_float32_matmul_precision("high")
        if options.compile is not None:
            # network.compile() would also compile hooks, and torch.compile(network) would rename parameters.
            vars(module.network)["forward"] = torch.compile(module.network.forward, backend=options.compile)
        return _run(module, data, options, on_gpu)


def _run(module: SpikingClassifier, data: DataModule, options: RunOptions, on_gpu: bool) -> RunRecord:
    record = RunRecord(options.out, options.out / options.log_file, options.log_every)
    record.say(f"{data.recipe}\n{data.splits}")
    checkpoint = _checkpoint_to_resume(options, data.recipe, record)
    trainer = make_trainer(options, data.recipe, record, on_gpu)
    # Trainer has no argument for the first epoch.
    vars(trainer.fit_loop.epoch_progress.current).update(processed=options.start_epoch)
    try:
        if not options.evaluate:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            best = read_checkpoint(options.out / BEST)["state_dict"]
            module.network.load_state_dict({key.removeprefix("module."): value for key, value in best.items()})
        (test,) = trainer.test(module, data, verbose=False)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(
                f"out of memory; compute the batch of {data.recipe.batch_size} in parts with --accumulate "
                f"{2 * data.recipe.accumulate}, or lower --batch-size"
            ) from error
        raise
    if trainer.is_global_zero and record.history:
        save(draw_training(record.history), options.out / "curves.png")
    record.say(_result(record, data, test))
    return record


def make_trainer(options: RunOptions, recipe: Recipe, record: RunRecord, on_gpu: bool) -> pl.Trainer:
    """Return the ``Trainer`` of a run."""
    under_torchrun = torch.distributed.is_torchelastic_launched()
    index = options.device.partition(":")[2]
    devices = [int(index)] if index else "auto" if under_torchrun and on_gpu else options.devices
    strategy = DDPStrategy(process_group_backend=options.backend if on_gpu else "gloo")
    precision = ("bfloat16" if on_gpu else "float32") if options.precision == "auto" else options.precision
    csv = CSVLogger(options.out, name="logs")
    callbacks = [record, ResumePoints(options.out, options.checkpoint_every)]
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=options.machines,
        strategy=strategy if under_torchrun or options.devices * options.machines > 1 else "auto",
        precision=_PRECISIONS[precision],  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        limit_train_batches=options.max_steps and options.max_steps * recipe.accumulate,
        limit_val_batches=options.max_steps,
        limit_test_batches=options.max_steps,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=options.validate_every,
        accumulate_grad_batches=recipe.accumulate,
        log_every_n_steps=options.log_every,
        logger=[csv, TensorBoardLogger(options.out, name="logs", version=csv.version)],
        callbacks=[*callbacks, average_weights(recipe.ema)] if recipe.ema else callbacks,
        plugins=[CheckpointFiles()],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        benchmark=not options.deterministic,
        deterministic="warn" if options.deterministic else None,
        use_distributed_sampler=False,
    )


def _checkpoint_to_resume(options: RunOptions, recipe: Recipe, record: RunRecord) -> Path | None:
    """Return the checkpoint to resume from, or None."""
    path = options.out / LAST
    if not options.resume:
        # --overwrite deletes the files of the earlier run only after the options and data are checked.
        if _is_first_process() and not options.evaluate:
            for name in (LAST, BEST):
                (options.out / name).unlink(missing_ok=True)
        return None
    if not path.exists():
        record.say(f"{options.out} contains no checkpoint; starting from the beginning")
        return None
    state = read_checkpoint(path)
    if missing := {"callbacks", "loops", "optimizer_states", "pytorch-lightning_version"} - state.keys():
        raise CheckpointError(
            f"{path} is not the state of a run: it has no {', '.join(sorted(missing))}; start a new run from its "
            f"weights with --init {path} and another --out"
        )
    try:
        found = Recipe(**state["recipe"]).as_dict()
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} was written by another version of i2e-triton ({error}); start a new run with --init {path}"
        ) from error
    wanted = recipe.as_dict()
    if differing := [
        f"{name} {found[name]!r} (now {wanted[name]!r})" for name in wanted if found[name] != wanted[name]
    ]:
        raise CheckpointError(
            f"{path} belongs to a run with {', '.join(differing)}; use the same settings, or start a new run from its "
            f"weights with --init {path} and another --out"
        )
    record.say(f"resuming from {path}")
    return path


def _result(record: RunRecord, data: DataModule, test: Mapping[str, float]) -> str:
    """Return the summary of a run: best epoch, accuracy on the test split, and how to read them."""
    lines = []
    if record.history:
        last, smoothing = record.history[-1], data.recipe.label_smoothing
        lines.append(f"best.pt: epoch {record.best[1]}, chosen by its validation top-1 of {record.best[0]:.2%}")
        if smoothing and last["train_loss"] > last["val_loss"]:
            lines.append(
                f"The training loss is above the validation loss because it includes label "
                f"smoothing ({smoothing:g}), "
                "which validation leaves out. Compare the accuracies."
            )
    lines.append(f"test: top-1 {test['test/top1']:.2%}, top-5 {test['test/top5']:.2%}, loss {test['test/loss']:.4f}")
    if data.splits.test is data.splits.validation:
        lines.append(
            "This checkpoint was selected on the test split, as in the paper, so the test accuracy is optimistic. "
            "--holdout 0.1 selects it on a part of the training split."
        )
    return "\n".join(lines)


@contextmanager
def _locked_folder(options: RunOptions) -> Iterator[None]:
    """Lock the folder of a run against other runs, and remove partial files of killed runs."""
    folder = options.out
    if not _is_first_process():
        yield
        return
    if options.new_folder and folder.exists():
        raise ValueError(
            f"{folder} exists; choose another --name, or leave out --exist_ok (as in the official code, it means "
            "that the folder must not exist)"
        )
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            found = any((folder / name).exists() for name in (LAST, BEST))
            if found and not (options.resume or options.overwrite or options.evaluate):
                raise ValueError(
                    f"{folder} contains a run; add --resume to continue it, or --overwrite, or change --out"
                )
            for part in folder.glob(PARTIAL_FILES):
                part.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise ValueError(f"another run uses {folder}; wait for it, or choose another --out") from error
    finally:
        if created and {path.name for path in folder.iterdir()} <= {".lock"}:  # the run failed before it began
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()


def _is_first_process() -> bool:
    """Return whether this is the first process, also before Lightning has started the others."""
    return bool(vars(rank_zero_only)["rank"] == 0)


def quiet() -> None:
    """Keep Lightning from printing advertisements, device lists and advice about workers."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", module=name)
