"""``i2e convert``: pictures to events."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.progress import Progress

from i2e_triton.cli.conversion import Report, convert_picture
from i2e_triton.cli.inputs import Inputs, find_pictures
from i2e_triton.cli.options import Device, Order, Timesteps
from i2e_triton.cli.outputs import output_paths
from i2e_triton.cli.printable import printable
from i2e_triton.cli.report import print_reports
from i2e_triton.cli.settings import Settings, check_settings
from i2e_triton.formats.event_list import TIMESTEP_US
from i2e_triton.io.pictures import PictureError
from i2e_triton.shifts import DEFAULT_ORDER


def convert(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Files, folders with all that is in them, and patterns such as 'photos/*.jpg'."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="Folder to write to; made if it is not there.")
    ],
    size: Annotated[
        Optional[tuple[int, int]],  # noqa: UP045  # typer reads this at run time
        typer.Option(metavar="H W", help="Resize to this height and width (bicubic) before the conversion."),
    ] = None,
    ratio: Annotated[
        float,
        typer.Option(
            metavar="R",
            help="Sensitivity: an event is a step of at least this share of the image's range. "
            "The paper uses 0.12 at 224 x 224 and 0.07 at 128 x 128.",
        ),
    ] = 0.12,
    order: Order = DEFAULT_ORDER,
    timesteps: Timesteps = 8,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMATS",
            help="What to write for each image, with commas between: gif (animation: ON red, OFF blue), png (contact "
            "sheet), npz (as the published data sets: bool [T,2,H,W] under arr_0), npy (the same, not compressed), "
            "csv and h5 (event list: x, y, t, p, where p 0 is ON and 1 OFF).",
        ),
    ] = "gif,png,npz",
    timestep_us: Annotated[
        int, typer.Option(metavar="US", help="Duration of a timestep in event lists, in microseconds.")
    ] = TIMESTEP_US,
    device: Device = "cpu",
) -> None:
    """Convert pictures to events, and draw or save them.

    Results lie in OUT as the pictures do in the deepest folder that holds all IMAGEs, under the same names:
    photos/a/1.jpg becomes OUT/a/1.gif for the IMAGE photos, and OUT/1.gif for the IMAGE photos/a/1.jpg. Names of one
    folder that differ in their suffix alone keep it: 1.jpg.gif and 1.png.gif.

    Whatever Pillow opens is read: turned upright by its EXIF orientation, the first frame of an animation, without
    transparency, grey of more than 8 bits at full precision.

    A file that cannot be read is named and skipped, and the exit status is 1. Wrong arguments give the exit status 2,
    and nothing is written.
    """
    settings = check_settings(size, ratio, order, timesteps, formats, device, timestep_us)
    _check_folder(out)
    inputs = find_pictures(images, out)
    _check_overwriting(inputs, settings.formats)
    errors = Console(stderr=True)
    for path, reason in inputs.missing.items():
        _print_skipped(errors, path, reason)
    reports, failed = _convert_all(inputs.targets, settings, errors)
    print_reports(Console(), reports, settings, out)
    skipped = len(inputs.missing) + failed
    if skipped:
        errors.print(f"{skipped} of {skipped + len(reports)} skipped", highlight=False)
        raise typer.Exit(1)


def _convert_all(targets: Mapping[Path, Path], settings: Settings, errors: Console) -> tuple[list[Report], int]:
    """Convert every picture that can be; return the reports and how many could not."""
    reports: list[Report] = []
    failed = 0
    work: Iterable[tuple[Path, Path]] = targets.items()
    with ExitStack() as stack:
        if errors.is_terminal:
            progress = stack.enter_context(Progress(console=errors, transient=True))
            work = progress.track(work, total=len(targets), description="converting")
        for picture, target in work:
            try:
                reports.append(convert_picture(picture, target, settings))
            except PictureError as error:
                _print_skipped(errors, picture, str(error))
                failed += 1
            except OSError as error:
                _print_skipped(errors, picture, f"cannot write {printable(target)}: {error.strerror or error}")
                failed += 1
    return reports, failed


def _print_skipped(errors: Console, path: Path, reason: str) -> None:
    errors.print(f"skipped {printable(path)}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _check_folder(out: Path) -> None:
    """Refuse to write where no folder can be."""
    existing = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise _wrong_folder(f"{printable(existing)} is there and is not a folder; choose another name")


def _check_overwriting(inputs: Inputs, formats: tuple[str, ...]) -> None:
    """Refuse to write over the pictures."""
    originals = {os.path.realpath(picture) for picture in inputs.targets}
    for picture, target in inputs.targets.items():
        for path in output_paths(target, formats):
            if os.path.realpath(path) in originals:
                raise _wrong_folder(f"the events of {printable(picture)} would overwrite the picture {printable(path)}")


def _wrong_folder(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="'--out' / '-o'")
