"""One picture file: read, convert, write."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from i2e_triton.cli.outputs import Converted, write_outputs
from i2e_triton.cli.settings import Settings, name_vectors
from i2e_triton.formats.event_list import check_event_list_size
from i2e_triton.functional import convert, event_rate
from i2e_triton.io.pictures import PictureError, read_picture
from i2e_triton.visualize.gif import check_gif_size

WARM_CALLS = 3
_SIZE_CHECKS = {"gif": check_gif_size, "csv": check_event_list_size, "h5": check_event_list_size}


@dataclass(frozen=True)
class Report:
    """What there is to say about a picture that was converted."""

    picture: Path
    size: tuple[int, int]  #: height and width as converted
    rates: list[tuple[float, float]]  #: event rate per timestep, ON and OFF
    first_ms: float  #: the first call of the conversion
    warm_ms: float  #: the median of the :data:`WARM_CALLS` after it
    files: list[Path]


def convert_picture(picture: Path, target: Path, settings: Settings) -> Report:
    """Convert a picture file and write its events below the name ``target``.

    Raises:
        PictureError: if the picture cannot be read, or is too large for a format.
        OSError: if a file cannot be written.
    """
    image = read_picture(picture, settings.size)
    _, height, width = image.shape
    _check_size(height, width, settings.formats)
    try:
        return _convert_image(image, picture, target, settings)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        where = settings.device.type
        raise PictureError(f"{height} x {width} pixels are too many for the {where}'s memory; use --size") from error


def _check_size(height: int, width: int, formats: tuple[str, ...]) -> None:
    for name, check in _SIZE_CHECKS.items():
        if name in formats:
            try:
                check(height, width)
            except ValueError as error:
                raise PictureError(f"{error}; leave {name} out of --format") from error


def _out_of_memory(error: Exception) -> bool:
    """PyTorch's allocator for the CPU has no error of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def _convert_image(image: Tensor, picture: Path, target: Path, settings: Settings) -> Report:
    _, height, width = image.shape
    on_device = image.to(settings.device)
    # The first call pays once for kernels, tables and fresh memory; the others say what a conversion costs.
    events, first_ms = _timed_conversion(on_device, settings)
    warm_ms = statistics.median(_timed_conversion(on_device, settings)[1] for _ in range(WARM_CALLS))
    converted = Converted(image, events.cpu(), settings.shifts, name_vectors(settings.shifts), settings.timestep_us)
    files = write_outputs(converted, target, settings.formats)
    # One timestep at a time: counting takes eight times the memory of what it counts.
    rates = [(on, off) for on, off in (event_rate(timestep, (1, 2)).tolist() for timestep in converted.events)]
    return Report(picture, (height, width), rates, first_ms, warm_ms, files)


def _timed_conversion(image: Tensor, settings: Settings) -> tuple[Tensor, float]:
    """Return the events and the milliseconds from the call to the last of them."""
    shifts = settings.shifts.to(image.device)
    _wait_for(image.device)
    start = time.perf_counter()
    events = convert(image, settings.ratio, shifts=shifts, dtype=torch.bool)
    _wait_for(image.device)
    return events, 1000 * (time.perf_counter() - start)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
