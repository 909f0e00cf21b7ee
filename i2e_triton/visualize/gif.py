"""Write events as an animated GIF. Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``."""

from __future__ import annotations

from typing import BinaryIO

import PIL.Image
from torch import Tensor

from i2e_triton.visualize.drawing import PALETTE, draw_timestep

#: Duration of a frame in milliseconds.
FRAME_MS = 120
_MAX_SIDE = 65535


def check_gif_size(height: int, width: int) -> None:
    """Raise ValueError if an image is too large for the GIF format."""
    if max(height, width) > _MAX_SIDE:
        raise ValueError(f"a GIF can have at most {_MAX_SIDE} x {_MAX_SIDE} pixels, got {height} x {width}")


def write_gif(file: BinaryIO, events: Tensor) -> None:
    """Write events as a GIF that repeats forever, with one frame per timestep.

    ON events are red, OFF events are blue, and the background is white.

    Args:
        file: a binary file, open for writing.
        events: bool ``[T, 2, H, W]`` on the CPU.

    Raises:
        ValueError: if the events are too large for a GIF.
    """
    check_gif_size(*events.shape[-2:])
    first, *others = (_frame(timestep, t) for t, timestep in enumerate(events))
    first.save(file, "GIF", save_all=True, append_images=others, loop=0, duration=FRAME_MS, optimize=False)


def _frame(events: Tensor, t: int) -> PIL.Image.Image:
    """Draw timestep ``t`` with a palette that contains every color twice; odd timesteps use the second copies.

    Otherwise Pillow would merge two consecutive timesteps with the same events into one frame.
    """
    frame = draw_timestep(events).point([index + len(PALETTE) * (t % 2) for index in range(256)])
    frame.putpalette([value for color in 2 * PALETTE for value in color])
    return frame
