"""Small images for the tests of sources, and the assertions that every source must pass."""

from __future__ import annotations

import io
import pickle

import PIL.Image
import torch

from i2e_triton.sources import ImageRow, Source
from tests.samples import noise


def noise_image(generator: torch.Generator, height: int = 5, width: int = 7) -> PIL.Image.Image:
    """Return RGB noise."""
    return PIL.Image.fromarray(noise((height, width, 3), torch.uint8, generator).numpy())


def encoded(image: PIL.Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def png(generator: torch.Generator) -> bytes:
    """Return RGB noise as a PNG file."""
    return encoded(noise_image(generator))


def assert_holds(source: Source, rows: list[ImageRow]) -> None:
    """Assert that a source and its pickled copy return the rows, from any start."""
    assert len(source) == len(rows)
    assert len({row.key for row in rows}) == len(rows)
    for copy in (source, pickle.loads(pickle.dumps(source))):
        for start in range(len(rows) - 1, -1, -1):
            assert list(copy.read(start, min(start + 3, len(rows)))) == rows[start : start + 3]
        assert list(copy.read(0, len(rows))) == rows
        assert list(copy.read(len(rows), len(rows))) == []
        assert copy.classes == source.classes
        assert copy.fingerprint() == source.fingerprint()
        assert copy.nbytes() == source.nbytes()
