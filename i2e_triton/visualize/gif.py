"""Events as an animated GIF. Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.

Pillow merges frames that look alike and crops the others to what changes, so it would not give one frame for each
timestep. It encodes the frames one by one here, and the file is put together from them.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from torch import Tensor

from i2e_triton.visualize.drawing import draw_timestep

#: How long a frame stays, in milliseconds.
FRAME_MS = 120
_MAX_SIDE = 65535

_SCREEN_BYTES = 13  # signature and logical screen descriptor
_LOOP_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_FRAME_CONTROL = struct.pack(
    "<BBBBHBB", 0x21, 0xF9, 4, 1 << 2, FRAME_MS // 10, 0, 0
)  # 1 << 2: leave the frame in place
_TRAILER = b"\x3b"


def check_gif_size(height: int, width: int) -> None:
    """Raise ValueError if a GIF cannot be as large as this."""
    if max(height, width) > _MAX_SIDE:
        raise ValueError(f"a GIF has at most {_MAX_SIDE} pixels a side, this is {height} x {width}")


def write_gif(file: BinaryIO, events: Tensor) -> None:
    """Write events as a GIF that plays for ever: a frame for each timestep, a pixel for each position.

    Args:
        file: open for writing.
        events: bool ``[T, 2, H, W]`` on the CPU. ON events are red, OFF events blue, the ground is white.

    Raises:
        ValueError: if the events are too large for a GIF.
    """
    check_gif_size(*events.shape[-2:])
    for t, timestep in enumerate(events):
        screen, frame = _encode(timestep)
        if t == 0:
            file.write(screen + _LOOP_FOR_EVER)
        file.write(_FRAME_CONTROL + frame)
    file.write(_TRAILER)


def _encode(events: Tensor) -> tuple[bytes, bytes]:
    """Encode one timestep: the head of the file up to the colour table, and the frame."""
    buffer = io.BytesIO()
    draw_timestep(events).save(buffer, "GIF", optimize=False, interlace=False)
    encoded = buffer.getvalue()
    table_bytes = 3 * 2 ** ((encoded[10] & 7) + 1)
    head = _SCREEN_BYTES + table_bytes
    return b"GIF89a" + encoded[6:head], encoded[head : -len(_TRAILER)]
