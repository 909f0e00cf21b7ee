"""Show events as an animation, or save it as a GIF or MP4 file.

Needs Pillow and NumPy (``pip install 'i2e-triton[cli]'``); MP4 also needs PyAV (``pip install 'i2e-triton[video]'``).
"""

from __future__ import annotations

import io
import math
import sys
import tempfile
import webbrowser
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.images import as_image_tensor
from i2e_triton.install_hints import needs_extra
from i2e_triton.io.atomic import write_whole
from i2e_triton.visualize.drawing import PALETTE, draw_image
from i2e_triton.visualize.grid import as_batch, as_grid

#: Default frames per second: a frame is shown for 120 ms.
FPS = 25 / 3
#: By default, small events are enlarged until the longer side has at least this number of pixels.
_MIN_SIDE = 256
_MAX_GIF_SIDE = 65535
_GAP = 4  # pixels between the image and its events, before they are enlarged


def show(
    events: Tensor,
    *,
    scale: int | None = None,
    fps: float = FPS,
    beside: Tensor | PIL.Image.Image | None = None,
    packed: bool | None = None,
) -> Path | None:
    """Show events as an animation: in a notebook below the cell, elsewhere in the browser.

    Args:
        events: as for :func:`save_gif`, like the other arguments.
        scale: factor by which the pictures are enlarged.
        fps: timesteps per second.
        beside: image to show to the left of its events.
        packed: whether uint8 events with 4 dimensions are packed.

    Returns:
        None in a notebook. Elsewhere the path of the GIF file, which stays in the folder for temporary files.

    Raises:
        ValueError: if an argument is not valid.
    """
    gif = io.BytesIO()
    save_gif(gif, events, scale=scale, fps=fps, beside=beside, packed=packed)
    if _in_notebook():
        from IPython import display

        display.display(display.Image(data=gif.getvalue(), format="gif"))
        return None
    path = Path(tempfile.mkdtemp(prefix="i2e-")) / "events.gif"
    path.write_bytes(gif.getvalue())
    webbrowser.open(path.as_uri())
    return path


def save_gif(
    path: Path | str | BinaryIO,
    events: Tensor,
    *,
    scale: int | None = None,
    fps: float = FPS,
    beside: Tensor | PIL.Image.Image | None = None,
    packed: bool | None = None,
) -> None:
    """Save events as a GIF that repeats forever, with one frame per timestep.

    ON events are red, OFF events are blue, and pixels with both are purple, on white.

    Args:
        path: file to write. Missing folders are created; an existing file is replaced. Or a binary file.
        events: dense ``[T, 2, H, W]`` or ``[T, B, 2, H, W]``, or packed ``[2, H, W]`` or ``[B, 2, H, W]``; any device.
            A batch is shown as a grid.
        scale: integer factor by which the pictures are enlarged. Default: None, enlarge small events to at least 256
            pixels.
        fps: timesteps per second, above 0 and at most 50. A GIF stores the duration of a frame in units of 10 ms.
        beside: image ``[C, H, W]``, images ``[B, C, H, W]`` or a PIL image to show to the left of the events.
        packed: whether uint8 events with 4 dimensions are packed. Default: None, they are if a value is above 1.

    Raises:
        ValueError: if an argument is not valid, or the picture is too large for a GIF.
        OSError: if the file cannot be written.

    Example:
        >>> events = i2e_triton.convert(image, packed=True)
        >>> i2e_triton.visualize.save_gif("events.gif", events, beside=image)
    """
    _check_fps(fps, maximum=50)
    first, *others = _frames(events, scale, beside, packed)
    check_gif_size(first.height, first.width)
    duration = 10 * round(100 / fps)
    with write_whole(Path(path)) if isinstance(path, (str, Path)) else nullcontext(path) as file:
        first.save(file, "GIF", save_all=True, append_images=others, loop=0, duration=duration, optimize=False)


def check_gif_size(height: int, width: int) -> None:
    """Raise ValueError if a picture is too large for the GIF format."""
    if max(height, width) > _MAX_GIF_SIDE:
        raise ValueError(f"a GIF can have at most {_MAX_GIF_SIDE} x {_MAX_GIF_SIDE} pixels, got {height} x {width}")


def save_mp4(
    path: Path | str,
    events: Tensor,
    *,
    scale: int | None = None,
    fps: float = FPS,
    beside: Tensor | PIL.Image.Image | None = None,
    packed: bool | None = None,
    repeat: int = 1,
) -> None:
    """Save events as an MP4 video (H.264), with one frame per timestep. Needs ``pip install 'i2e-triton[video]'``.

    Args:
        path: file to write. Missing folders are created; an existing file is replaced.
        events: as for :func:`save_gif`, like the arguments without a description here.
        scale: factor by which the pictures are enlarged.
        fps: timesteps per second.
        beside: image to show to the left of the events.
        packed: whether uint8 events with 4 dimensions are packed.
        repeat: how often the timesteps are shown. Default: 1.

    Raises:
        ModuleNotFoundError: if PyAV is not installed.
        ValueError: if an argument is not valid.
        OSError: if the file cannot be written.
    """
    with needs_extra("save_mp4", "video"):
        import av
    _check_fps(fps)
    if repeat < 1:
        raise ValueError(f"repeat must be at least 1, got {repeat}")
    frames = [frame.convert("RGB") for frame in _frames(events, scale, beside, packed)]
    with write_whole(Path(path)) as file, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)  # this format needs even sides
        for frame in frames * repeat:
            canvas = PIL.Image.new("RGB", (stream.width, stream.height), PALETTE[0])
            canvas.paste(frame)
            container.mux(stream.encode(av.VideoFrame.from_image(canvas)))
        container.mux(stream.encode())


def _frames(
    events: Tensor, scale: int | None, beside: Tensor | PIL.Image.Image | None, packed: bool | None
) -> list[PIL.Image.Image]:
    """Return the frames of an animation, one per timestep, as images with one common palette.

    The palette contains the color of each kind of event twice, and odd timesteps use the second copies. Otherwise
    Pillow would merge two consecutive timesteps with the same events into one frame.
    """
    batch = as_batch(events, packed)
    on, off = as_grid(batch.movedim(1, 0)).to(torch.uint8).unbind(1)
    kinds = on + 2 * off  # index into PALETTE
    copies = torch.arange(len(kinds), dtype=torch.uint8) % 2 * len(PALETTE)
    indices = kinds + copies[:, None, None]
    palette = [value for color in 2 * PALETTE for value in color]
    if beside is not None:
        left = _draw_beside(beside, batch).quantize(256 - 2 * len(PALETTE))
        palette += left.getpalette() or []
        image = torch.from_numpy(np.array(left)) + 2 * len(PALETTE)
        image = F.pad(image, (0, _GAP))  # in the color of the background
        indices = torch.cat([image.expand(len(indices), -1, -1), indices], dim=-1)
    scale = _check_scale(scale, indices.shape[-2:])
    frames = []
    for timestep in indices:
        frame = PIL.Image.fromarray(timestep.contiguous().numpy())
        frame.putpalette(palette)
        frames.append(frame.resize((scale * frame.width, scale * frame.height), PIL.Image.Resampling.NEAREST))
    return frames


def _draw_beside(images: Tensor | PIL.Image.Image, events: Tensor) -> PIL.Image.Image:
    """Draw the images of the events ``[T, B, 2, H, W]``, each in the size of its events, as a grid."""
    batch, _, height, width = events.shape[1:]
    tensor = as_image_tensor(images).cpu()
    tensor = tensor if tensor.dim() == 4 else tensor[None]
    if tensor.dim() != 4 or len(tensor) != batch or tensor.shape[1] not in (1, 3):
        raise ValueError(
            f"beside must be {batch} image(s) [C, H, W] or [B, C, H, W] with 1 or 3 channels, got shape "
            f"{list(as_image_tensor(images).shape)}"
        )
    drawn = [draw_image(image).convert("RGB").resize((width, height), PIL.Image.Resampling.BOX) for image in tensor]
    grid = as_grid(torch.stack([torch.from_numpy(np.array(image)).movedim(-1, 0) for image in drawn]), fill=255)
    return draw_image(grid)


def _check_scale(scale: int | None, size: tuple[int, ...]) -> int:
    if scale is None:
        return math.ceil(_MIN_SIDE / max(size))
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale must be an integer of at least 1, got {scale!r}")
    return scale


def _check_fps(fps: float, maximum: float = 1000) -> None:
    if not 0 < fps <= maximum:
        raise ValueError(f"fps must be above 0 and at most {maximum}, got {fps}")


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
