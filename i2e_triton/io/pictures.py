"""Decode image files with Pillow.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps
from torch import Tensor

from i2e_triton.images import as_image_tensor, to_supported_mode
from i2e_triton.io.geometry import RESIZE_RULES, crop_or_pad, scaled_size

if find_spec("pillow_heif") is not None:
    import pillow_heif

    pillow_heif.register_heif_opener()

#: Formats that are decoded -> divisor of the pixel limit ``PIL.Image.MAX_IMAGE_PIXELS``. Decoding WebP and JPEG 2000
#: takes 16 and 20 bytes per pixel (measured at 4000 x 4000 pixels), so they have half the limit. The others take 4 to
#: 12. Pillow's other formats are not decoded: EPS starts Ghostscript, and WMF runs a renderer.
FORMATS = {
    "AVIF": 1,
    "BMP": 1,
    "DIB": 1,
    "GIF": 1,
    "HEIF": 1,  # if pillow-heif is installed
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
_BYTES_PER_PIXEL = 12  # most memory that decoding takes, for divisor 1

# Errors that Pillow's decoders raise for damaged files. Not MemoryError: the file may be valid.
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

#: Modes that are returned without a conversion, which would copy the image.
_SUPPORTED_MODES = ("L", "RGB", "F")


class PictureError(Exception):
    """An image file cannot be read. The message says why."""


def read_picture(file: Path | BinaryIO, size: tuple[int, int] | None = None, rule: str = "bicubic") -> Tensor:
    """Return an image file as a tensor, decoded by :func:`decode_picture` and rotated by its EXIF orientation.

    Args:
        file: a path or a binary file, in one of :data:`FORMATS`.
        size: height and width in pixels to resize to (antialiased). Default: None, keep the size of the file.
        rule: one of :data:`i2e_triton.io.geometry.RESIZE_RULES`.

    Returns:
        uint8 ``[3, H, W]`` for colour, uint8 ``[1, H, W]`` for grey and black-and-white, and float32 ``[1, H, W]`` with
        the stored values for grey with more than 8 bits.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or has too many pixels.
        MemoryError: if there is not enough memory.
    """
    picture = decode_picture(file, upright=True)
    if size is None:
        return as_image_tensor(picture)
    height, width = scaled_size(picture.height, picture.width, size, rule)
    check_scaled((height, width), size)
    _, interpolation = RESIZE_RULES[rule]
    with _as_picture_error():
        picture = picture.resize((width, height), PIL.Image.Resampling[interpolation.upper()])
    return crop_or_pad(as_image_tensor(picture), size)


def check_scaled(scaled: tuple[int, int], size: tuple[int, int]) -> None:
    """Check the number of pixels of a picture that is scaled before it is cropped to ``size``.

    Raises:
        PictureError: if it has more pixels than a picture may have.
    """
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if scaled != size and limit is not None and scaled[0] * scaled[1] > limit:
        raise PictureError(
            f"too narrow: scaled to cover {size[0]} x {size[1]}, it would have more than {limit:,} pixels"
        )


def decode_picture(file: Path | BinaryIO, *, upright: bool) -> PIL.Image.Image:
    """Return an image file as a PIL image. Only the first frame of an animation is decoded.

    The number of pixels in the header is checked before anything is decoded: the limit is
    ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million), and half of that for WebP and JPEG 2000. Decoding therefore takes at
    most about 1.1 GB. Decoding never starts another program.

    Args:
        file: a path or a binary file, in one of :data:`FORMATS`.
        upright: rotate the image by its EXIF orientation. torchvision's data sets do not rotate.

    Returns:
        An image of mode RGB for colour (palette, CMYK and other modes become RGB), L for grey and black-and-white, and
        F with the stored values for grey with more than 8 bits. Transparency is dropped, as in
        ``Image.convert("RGB")`` and torchvision's ``ImageFolder``.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or has too many pixels.
        MemoryError: if there is not enough memory.
    """
    PIL.Image.init()
    formats = [name for name in FORMATS if name in PIL.Image.OPEN]
    memory = 0  # most bytes that decoding may take
    try:
        # Ignore Pillow's warnings about metadata. Its warning about very large images becomes an error.
        with _as_picture_error(), warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            opened = stack.enter_context(_BoundedFile(file)) if isinstance(file, Path) else file
            with PIL.Image.open(opened, formats=formats) as picture:
                memory = _check_size(picture)
                picture.load()
                if upright:
                    PIL.ImageOps.exif_transpose(picture, in_place=True)
                return picture if picture.mode in _SUPPORTED_MODES else to_supported_mode(picture)
    except PictureError as error:
        # If memory is short, some decoders report damage: JPEG a broken data stream, WebP "could not create decoder
        # object" before the size is known. So check whether the memory is available.
        if str(error) == "could not create decoder object":
            memory = (PIL.Image.MAX_IMAGE_PIXELS or 0) * _BYTES_PER_PIXEL
        np.empty(memory, np.uint8)  # raises MemoryError; nothing is written to it
        raise


class _BoundedFile(io.BufferedReader):
    """A file that does not allocate more memory for ``read`` than it has bytes left: headers can name any size."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._bytes = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._bytes - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _check_size(picture: PIL.Image.Image) -> int:
    """Check the number of pixels in the header, and return the most bytes that decoding may take."""
    pixels, divisor = picture.width * picture.height, FORMATS.get(picture.format or "", 1)  # 1: MPO, a kind of JPEG
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit // divisor:
        raise PictureError(f"too large: more than {limit // divisor:,} pixels, the limit for {picture.format}")
    return pixels * divisor * _BYTES_PER_PIXEL


@contextmanager
def _as_picture_error() -> Iterator[None]:
    """Convert errors of Pillow to a :class:`PictureError` that says what is wrong with the file."""
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
