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

import numpy as np
import PIL.Image
import PIL.ImageOps
from torch import Tensor

from i2e_triton.images import as_image_tensor, in_plain_mode

#: The formats that are decoded, and which part of ``PIL.Image.MAX_IMAGE_PIXELS`` an image may have: 1/1 or 1/2.
#: Pillow knows more: EPS files start Ghostscript, and WMF files run a renderer. WebP and JPEG 2000 take 16 and 20 bytes
#: a pixel to decode (measured at 4000 x 4000 pixels), the other formats 4 to 12.
FORMATS = {
    "AVIF": 1,
    "BMP": 1,
    "DIB": 1,
    "GIF": 1,
    "HEIF": 1,  # if pillow-heif is installed and registered
    "JPEG": 1,
    "JPEG2000": 2,
    "PCX": 1,
    "PNG": 1,
    "PPM": 1,
    "QOI": 1,
    "SGI": 1,
    "TGA": 1,
    "TIFF": 1,
    "WEBP": 2,
}
_BYTES_A_PIXEL = 12  # to decode an image, times the divisor above

# Errors that Pillow's decoders raise for damaged files. MemoryError is not one of them: the file may be valid.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
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
        file: a path or a binary file, in one of :data:`FORMATS`.
        size: height and width in pixels to resize to (bicubic, antialiased). Default: None, keep the size of the file.

    Returns:
        uint8 ``[3, H, W]`` for colour, uint8 ``[1, H, W]`` for grey and black-and-white, and float32 ``[1, H, W]`` with
        the stored values for grey with more than 8 bits.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or has too many pixels.
        MemoryError: if the memory does not suffice.
    """
    picture = decode_picture(file, upright=True)
    if size is not None:
        height, width = size
        with _as_picture_error():
            picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    return as_image_tensor(picture)


def decode_picture(file: Path | BinaryIO, *, upright: bool) -> PIL.Image.Image:
    """Return an image file as a PIL image. Only the first frame of an animation is decoded.

    The number of pixels in the header is checked before anything is decoded: at most ``PIL.Image.MAX_IMAGE_PIXELS``
    (89 million), and half of it for WebP and JPEG 2000. Decoding therefore takes at most about 1.1 GB. No other program
    is started.

    Args:
        file: a path or a binary file, in one of :data:`FORMATS`.
        upright: rotate the image by its EXIF orientation. torchvision's data sets do not.

    Returns:
        An image of mode RGB for colour (palette, CMYK and other modes become RGB), L for grey and black-and-white, and
        F with the stored values for grey with more than 8 bits. Transparency is dropped, as in
        ``Image.convert("RGB")`` and torchvision's ``ImageFolder``.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or has too many pixels.
        MemoryError: if the memory does not suffice.
    """
    PIL.Image.init()
    formats = [name for name in FORMATS if name in PIL.Image.OPEN]
    memory = 0  # bytes that decoding takes at most
    try:
        # Pillow warns about metadata, which does not matter here, and about very large images, which are refused.
        with _as_picture_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file, formats=formats) as picture:
                memory = _check_size(picture)
                picture.load()
                if upright:
                    PIL.ImageOps.exif_transpose(picture, in_place=True)
                return picture if picture.mode in _PLAIN_MODES else in_plain_mode(picture)
    except PictureError as error:
        # Decoders report a lack of memory as damage: JPEG as a broken data stream, WebP before the size is known.
        if str(error) == "could not create decoder object":
            memory = (PIL.Image.MAX_IMAGE_PIXELS or 0) * _BYTES_A_PIXEL
        np.empty(memory, np.uint8)  # raises MemoryError; nothing is written to it
        raise


def _check_size(picture: PIL.Image.Image) -> int:
    """Return how many bytes decoding takes at most, after checking the number of pixels in the header."""
    pixels, divisor = picture.width * picture.height, FORMATS.get(picture.format or "", 1)  # MPO is a kind of JPEG
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit // divisor:
        raise PictureError(f"too large: more than {limit // divisor:,} pixels, the limit for {picture.format}")
    return pixels * divisor * _BYTES_A_PIXEL


@contextmanager
def _as_picture_error() -> Iterator[None]:
    """Raise what Pillow raises as a :class:`PictureError` that says what is wrong with the file."""
    try:
        yield
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise PictureError(f"too large: more than {PIL.Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except PIL.UnidentifiedImageError as error:
        raise PictureError("not an image of a supported format") from error
    except _DAMAGE as error:
        raise PictureError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"damaged ({type(error).__name__}: {error})"
