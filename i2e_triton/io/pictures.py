"""Picture files: what Pillow reads, as the image that is converted.

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

# What Pillow's decoders raise on damaged files: whatever the parsing of nonsense runs into.
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

#: Modes that need no conversion, which would be a copy.
_PLAIN_MODES = ("L", "RGB", "F")


class PictureError(Exception):
    """A file holds no picture that can be read; the message says why."""


def read_picture(file: Path | BinaryIO, size: tuple[int, int] | None = None) -> Tensor:
    """Read a picture file as an image, by the rules of :func:`decode_picture`, upright as its EXIF orientation says.

    Args:
        file: a path or a binary file, in any format that Pillow reads.
        size: height and width to resize to (bicubic, antialiased), in pixels; None keeps the picture's own.

    Returns:
        uint8 ``[3, H, W]`` for colour, uint8 ``[1, H, W]`` for grey and black-and-white, and float32 ``[1, H, W]`` with
        the stored values for grey of more than 8 bits.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with _damage_explained():
        picture = decode_picture(file, upright=True)
        if size is not None:
            height, width = size
            picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    return as_image_tensor(picture)


def decode_picture(file: Path | BinaryIO, *, upright: bool) -> PIL.Image.Image:
    """Decode a picture file: the first frame of an animation.

    Args:
        file: a path or a binary file, in any format that Pillow reads.
        upright: turn it as its EXIF orientation says; torchvision's data sets leave it as it is stored.

    Returns:
        A picture of mode RGB for colour (palette, CMYK and the like become RGB), L for grey and black-and-white, and F
        with the stored values for grey of more than 8 bits. Transparency is dropped, as ``Image.convert("RGB")`` and so
        torchvision's ``ImageFolder`` do.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    # Remarks on a file's metadata are none of the user's business, but a suspiciously large picture is refused.
    with _damage_explained(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(file) as picture:
            picture.load()
            if upright:
                PIL.ImageOps.exif_transpose(picture, in_place=True)
            return picture if picture.mode in _PLAIN_MODES else in_plain_mode(picture)


@contextmanager
def _damage_explained() -> Iterator[None]:
    """Turn what Pillow raises into an error that says what is wrong with the file."""
    try:
        yield
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise PictureError(f"too large: more than {PIL.Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except PIL.UnidentifiedImageError as error:
        raise PictureError("not a picture that Pillow can read") from error
    except _DAMAGE as error:
        raise PictureError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"damaged ({type(error).__name__}: {error})"
