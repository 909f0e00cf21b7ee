"""Picture files: what Pillow reads, as the image that is converted.

Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

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


class PictureError(Exception):
    """A file holds no picture that can be read; the message says why."""


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a picture file as an image: upright as its EXIF orientation says, the first frame of an animation.

    Args:
        path: a file in any format that Pillow reads.
        size: height and width to resize to (bicubic, antialiased), in pixels; None keeps the picture's own.

    Returns:
        uint8 ``[3, H, W]`` for colour (palette, CMYK and the like become RGB), uint8 ``[1, H, W]`` for grey and
        black-and-white, and float32 ``[1, H, W]`` with the stored values for grey of more than 8 bits. Transparency is
        dropped, as ``Image.convert("RGB")`` and so torchvision's ``ImageFolder`` do.

    Raises:
        PictureError: if the file is missing, unreadable, damaged, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    try:
        # Remarks on a file's metadata are none of the user's business, but a suspiciously large picture is refused.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path) as file:
                picture = PIL.ImageOps.exif_transpose(file)
                picture = in_plain_mode(picture)
                if size is not None:
                    height, width = size
                    picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise PictureError(f"too large: more than {PIL.Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except PIL.UnidentifiedImageError as error:
        raise PictureError("not a picture that Pillow can read") from error
    except _DAMAGE as error:
        raise PictureError(_reason(error)) from error
    return as_image_tensor(picture)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"damaged ({type(error).__name__}: {error})"
