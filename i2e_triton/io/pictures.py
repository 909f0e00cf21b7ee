"""Decode image files with Pillow.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import PIL.Image
import PIL.ImageOps
from torch import Tensor

from i2e_triton.images import as_image_tensor, in_plain_mode

# Errors that Pillow's decoders raise for damaged files.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)

#: Modes that need no conversion. A conversion would copy the image.
_PLAIN_MODES = ("L", "RGB", "F")


class PictureError(Exception):
    """An image file cannot be read. The message says why."""


def read_picture(file: Path | BinaryIO, size: tuple[int, int] | None = None) -> Tensor:
    """Return an image file as a tensor, decoded by :func:`decode_picture` and rotated by its EXIF orientation.

    Args:
        file: a path or a binary file, in any format that Pillow reads.
        size: height and width in pixels to resize to (bicubic, antialiased). Default: None, keep the size of the file.

    Returns:
        uint8 ``[3, H, W]`` for colour, uint8 ``[1, H, W]`` for grey and black-and-white, and float32 ``[1, H, W]`` with
        the stored values for grey with more than 8 bits.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with _as_picture_error():
        picture = decode_picture(file, upright=True)
        if size is not None:
            height, width = size
            picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    return as_image_tensor(picture)


def decode_picture(file: Path | BinaryIO, *, upright: bool) -> PIL.Image.Image:
    """Return an image file as a PIL image. Only the first frame of an animation is decoded.

    Args:
        file: a path or a binary file, in any format that Pillow reads.
        upright: rotate the image by its EXIF orientation. torchvision's data sets do not.

    Returns:
        An image of mode RGB for colour (palette, CMYK and other modes become RGB), L for grey and black-and-white, and
        F with the stored values for grey with more than 8 bits. Transparency is dropped, as in
        ``Image.convert("RGB")`` and torchvision's ``ImageFolder``.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    # Pillow warns about metadata, which does not matter here, and about very large images, which are refused.
    with _as_picture_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(file) as picture:
            picture.load()
            if upright:
                PIL.ImageOps.exif_transpose(picture, in_place=True)
            return picture if picture.mode in _PLAIN_MODES else in_plain_mode(picture)


@contextmanager
def _as_picture_error() -> Iterator[None]:
    """Raise what Pillow raises as a :class:`PictureError` that says what is wrong with the file."""
    try:
        yield
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise PictureError(f"too large: more than {PIL.Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except PIL.UnidentifiedImageError as error:
        raise PictureError("not an image that Pillow can read") from error
    except _DAMAGE as error:
        raise PictureError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"damaged ({type(error).__name__}: {error})"
