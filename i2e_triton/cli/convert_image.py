"""Read one image file, convert it and write the results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from i2e_triton.formats.camera_files import CAMERA_FORMATS, check_camera_size, write_camera_file
from i2e_triton.formats.event_files import write_csv, write_h5
from i2e_triton.formats.event_list import check_event_list_size, to_event_list
from i2e_triton.formats.npz import save_npz
from i2e_triton.functional import convert, event_rate
from i2e_triton.io.atomic import write_whole
from i2e_triton.io.pictures import PictureError, read_picture
from i2e_triton.visualize.animation import check_gif_size, save_gif
from i2e_triton.visualize.sheet import draw_contact_sheet

_SIZE_CHECKS: dict[str, Callable[[int, int], None]] = {
    "gif": check_gif_size,
    "csv": check_event_list_size,
    "h5": check_event_list_size,
    **{format: partial(check_camera_size, format) for format in CAMERA_FORMATS},
}


@dataclass(frozen=True)
class ConvertOptions:
    """How images are converted, and which files are written for each."""

    size: tuple[int, int] | None  #: height and width to resize to
    rule: str  #: how to resize; one of `i2e_triton.io.geometry.RESIZE_RULES`
    ratio: float | None  #: None: the paper's ratio for the size
    shifts: Tensor  #: motion vectors ``[T, 4]``
    device: torch.device
    formats: tuple[str, ...]
    timestep_us: int  #: duration of a timestep in event lists, in microseconds
    scale: int | None  #: factor by which a GIF is enlarged; None: small images are enlarged
    fps: float  #: timesteps per second of a GIF
    beside: bool  #: show the image beside its events in a GIF


@dataclass(frozen=True)
class ConvertedImage:
    """What the command prints about a converted image."""

    path: Path
    size: tuple[int, int]  #: height and width of the converted image
    ratio: float
    rates: Tensor  #: ON and OFF event rate of each timestep, ``[T, 2]``
    files: list[Path]  #: the written files


def convert_image(path: Path, target: Path, options: ConvertOptions) -> ConvertedImage:
    """Convert an image file and write its events to files named ``target`` plus a suffix.

    Raises:
        PictureError: if the image cannot be read, is too large for an output format, or does not fit in memory.
        OSError: if a file cannot be written.
    """
    try:
        image = read_picture(path, options.size, options.rule)
        _, height, width = image.shape
        _check_size(height, width, options.formats)
        ratio = paper_ratio(height, width) if options.ratio is None else options.ratio
        shifts = options.shifts.to(options.device)
        events = convert(image.to(options.device), ratio, shifts=shifts, dtype=torch.bool).cpu()
        files = output_paths(target, options.formats)
        for format, file in zip(options.formats, files):
            with write_whole(file) as stream:
                _write(stream, format, image, events, options)
    except (MemoryError, RuntimeError) as error:
        # PyTorch's allocators raise RuntimeErrors. Illegal memory accesses of kernels are RuntimeErrors, too.
        if isinstance(error, RuntimeError) and not re.search(r"out of memory|allocate memory", str(error)):
            raise
        raise PictureError(f"not enough memory on {options.device}; pass a smaller --size") from error
    return ConvertedImage(path, (height, width), ratio, event_rate(events, dim=(2, 3)), files)


def paper_ratio(height: int, width: int) -> float:
    """Return the paper's ratio for the nearest of its image sizes: 0.07 for 128 x 128, 0.12 for 224 x 224."""
    return 0.07 if math.sqrt(height * width) < (128 + 224) / 2 else 0.12


def output_paths(target: Path, formats: tuple[str, ...]) -> list[Path]:
    """Return the path of the output file of each format."""
    return [target.with_name(target.name + suffix(format)) for format in formats]


def suffix(format: str) -> str:
    """Return the suffix of the files of a format: ``.raw`` for evt2, ``.bin`` for nmnist, else its name."""
    return CAMERA_FORMATS[format].suffix if format in CAMERA_FORMATS else f".{format}"


def _write(file: BinaryIO, format: str, image: Tensor, events: Tensor, options: ConvertOptions) -> None:
    """Write the bool events ``[T, 2, H, W]`` of an image in one format."""
    timesteps, _, height, width = events.shape
    match format:
        case "gif":
            beside = image if options.beside else None
            try:
                save_gif(file, events, scale=options.scale, fps=options.fps, beside=beside)
            except ValueError as error:
                raise PictureError(f"{error}; pass a smaller --scale, or leave gif out of --format") from error
        case "png":
            draw_contact_sheet(image, events[:, None], options.shifts).save(file, "PNG")
        case "npz":
            save_npz(file, events)
        case "npy":
            np.save(file, events.numpy(), allow_pickle=False)
        case "csv":
            write_csv(file, to_event_list(events, options.timestep_us))
        case "h5":
            event_list = to_event_list(events, options.timestep_us)
            write_h5(file, event_list, (timesteps, height, width), options.timestep_us)
        case _:
            event_list = to_event_list(events, options.timestep_us)
            write_camera_file(Path(file.name), format, [event_list], (height, width))


def _check_size(height: int, width: int, formats: tuple[str, ...]) -> None:
    for format in formats:
        try:
            if format in _SIZE_CHECKS:
                _SIZE_CHECKS[format](height, width)
        except ValueError as error:
            raise PictureError(f"{error}; leave {format} out of --format") from error
