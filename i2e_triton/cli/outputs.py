"""What is written for a picture, format by format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from i2e_triton.formats.event_files import write_csv, write_h5
from i2e_triton.formats.event_list import to_event_list
from i2e_triton.formats.npz import save_npz
from i2e_triton.io.atomic import write_whole
from i2e_triton.visualize.contact_sheet import draw_contact_sheet
from i2e_triton.visualize.gif import write_gif


@dataclass(frozen=True)
class Converted:
    """An image and its events, on the CPU."""

    image: Tensor  #: ``[C, H, W]``
    events: Tensor  #: bool ``[T, 2, H, W]``
    shifts: Tensor  #: ``[T, 4]``
    vector_names: list[str]
    timestep_us: int  #: duration of a timestep in event lists, in microseconds


def write_outputs(converted: Converted, target: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write one file for each format, whole, and return their paths: ``target`` and a suffix.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if the image is too large for a format.
    """
    paths = output_paths(target, formats)
    for name, path in zip(formats, paths):
        with write_whole(path) as file:
            FORMATS[name](converted, file)
    return paths


def output_paths(target: Path, formats: tuple[str, ...]) -> list[Path]:
    """Name the files of a picture."""
    return [target.with_name(f"{target.name}.{name}") for name in formats]


def _write_gif(converted: Converted, file: BinaryIO) -> None:
    write_gif(file, converted.events)


def _write_png(converted: Converted, file: BinaryIO) -> None:
    sheet = draw_contact_sheet(converted.image, converted.events, converted.shifts, converted.vector_names)
    sheet.save(file, "PNG")


def _write_npz(converted: Converted, file: BinaryIO) -> None:
    save_npz(file, converted.events)


def _write_npy(converted: Converted, file: BinaryIO) -> None:
    np.save(file, converted.events.numpy(), allow_pickle=False)


def _write_csv(converted: Converted, file: BinaryIO) -> None:
    write_csv(file, to_event_list(converted.events, converted.timestep_us))


def _write_h5(converted: Converted, file: BinaryIO) -> None:
    timesteps, _, height, width = converted.events.shape
    listed = to_event_list(converted.events, converted.timestep_us)
    write_h5(file, listed, (timesteps, height, width), converted.timestep_us)


#: Writers by the name of the format, which is its suffix.
FORMATS: dict[str, Callable[[Converted, BinaryIO], None]] = {
    "gif": _write_gif,
    "png": _write_png,
    "npz": _write_npz,
    "npy": _write_npy,
    "csv": _write_csv,
    "h5": _write_h5,
}
