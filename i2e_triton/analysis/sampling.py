"""Images from all over a source: a sample of it, evenly spaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from i2e_triton.sources import PreparedImages, Source, prepare_batch

#: Images prepared at a time.
_BATCH_ROWS = 64


def sample_rows(rows: int, count: int) -> list[int]:
    """Spread ``count`` row numbers evenly over so many rows; all of them where there are no more."""
    count = min(count, rows)
    return [(2 * place + 1) * rows // (2 * count) for place in range(count)]


def sample_images(
    source: Source, count: int, size: tuple[int, int] | None, rule: str, rows_done: Callable[[int], None]
) -> Iterator[PreparedImages]:
    """Read and prepare a sample of a source's images, in batches.

    Args:
        source: the images.
        count: how many, at least 1.
        size: height and width in pixels; None keeps each image's own.
        rule: how they are resized, one of :data:`i2e_triton.sources.RESIZE_RULES`.
        rows_done: told of the rows of each batch.

    Raises:
        SourceError: if the source is damaged.
        OSError: if it cannot be read.
    """
    rows = sample_rows(len(source), count)
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        images = (row.image for number in batch for row in source.read(number, number + 1))
        yield prepare_batch(images, size, rule)
        rows_done(len(batch))
