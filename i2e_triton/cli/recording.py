"""``i2e import``: recordings of event cameras to data sets of packed events."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from i2e_triton.cli.options import in_range, option_error
from i2e_triton.cli.terminal import exit_on_errors, new_progress

if TYPE_CHECKING:
    from i2e_triton.recordings.importing import ImportConfig, RecordingSet


def import_recordings(
    recording: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING",
            exists=True,
            help="File (.aedat4, .raw, .dat, .hdf5 or .h5 of Prophesee, or .bin of N-MNIST and N-Caltech101), or "
            "folder with a folder of such files for each class.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", file_okay=False, help="Output folder; created if missing.")
    ],
    window_us: Annotated[
        int | None,
        typer.Option(metavar="N", callback=in_range(1), help="Cut the recording into windows of N microseconds."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", callback=in_range(1), help="Cut the recording into windows of N events.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Make each recording one window.")] = False,
    timesteps: Annotated[
        int,
        typer.Option(
            metavar="T",
            callback=in_range(1, 8),
            help="Timesteps of a window, 1 to 8, of equal duration; with --count, of an equal number of events.",
        ),
    ] = 8,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", show_default="that in the file", help="Height and width of the sensor in pixels."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Name of the split.")] = "train",
    test_fraction: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Put this fraction of the recordings of each class into a split `test`, chosen by the hash of their "
            "names: always the same. 0.1 for CIFAR10-DVS.",
        ),
    ] = None,
) -> None:
    """Convert recordings of event cameras to packed events, one row for each window, for EventDataset and training.

    All events are read once to count the windows and to find damaged files, and a second time to write the rows. If a
    file is empty, truncated or damaged, nothing is written. A recording of any length takes the memory of one window.
    Rerun the same command to resume after an interruption.
    """
    from i2e_triton.cli.dataset_report import DatasetProgress, print_summary
    from i2e_triton.pipeline.dataset import write_dataset
    from i2e_triton.pipeline.local_engine import convert_shards
    from i2e_triton.recordings.importing import ROWS_PER_SHARD, ImportConfig, RecordingConverter

    if (window_us is not None) + (count is not None) + whole != 1:
        raise option_error(None, "pass one of --window-us N, --count N and --whole")
    if size is not None and min(size) < 1:
        raise option_error("--size", f"height and width must be at least 1 pixel, got {size[0]} {size[1]}")
    if test_fraction is not None and (split == "test" or not 0 <= test_fraction <= 1):
        raise option_error("--test-fraction", "must be in [0, 1], and the other split must not be named test")
    config = ImportConfig(
        ratio=0.0,
        size=size,
        timesteps=timesteps,
        bits="packed",
        rows_per_shard=ROWS_PER_SHARD,
        window_us=window_us,
        count=count,
        whole=whole,
    )
    errors, out = Console(stderr=True), out.absolute()
    with exit_on_errors(errors, interrupted="interrupted; rerun the same command to resume"):
        sources = _open(recording, config, split, test_fraction, errors)
        converters = {name: RecordingConverter(source, config, out) for name, source in sources.items()}
        with DatasetProgress(errors) as progress:
            manifest = write_dataset(
                sources,
                "recording",
                out,
                config,
                lambda shard, rows_done: converters[shard.split](shard, rows_done),
                partial(convert_shards, workers=0),  # in order, because a recording is read from its beginning
                progress,
            )
    print_summary(manifest, out)


def _open(
    location: Path, config: ImportConfig, split: str, test_fraction: float | None, errors: Console
) -> dict[str, RecordingSet]:
    """Open the recordings of each split, and count their windows."""
    from i2e_triton.recordings.importing import RecordingSet, find_recordings
    from i2e_triton.recordings.split import hashed_split

    files, classes = find_recordings(location)
    groups = {split: files}
    if test_fraction is not None:
        train, test = (set(names) for names in hashed_split([file.name for file in files], test_fraction))
        groups = {split: [file for file in files if file.name in train]}
        groups["test"] = [file for file in files if file.name in test]
    with new_progress(errors) as progress:
        task = progress.add_task("reading events", total=None)
        return {
            name: RecordingSet(members, classes, config, lambda events: progress.advance(task, events))
            for name, members in groups.items()
        }
