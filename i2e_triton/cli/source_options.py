"""Options of the commands that read a sample of a data set of images, checked before any work."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from i2e_triton.cli.options import wrong
from i2e_triton.sources import KINDS

Kind = Annotated[
    Optional[str],  # noqa: UP045  # typer reads this at run time
    typer.Option(metavar="KIND", help=f"What SOURCE is: {', '.join(KINDS)}. Guessed from what lies there."),
]


def checked_kind(kind: str | None) -> str | None:
    """Check ``--kind``."""
    if kind not in (None, *KINDS):
        raise wrong("--kind", f"must be one of {', '.join(KINDS)}; got {kind!r}")
    return kind


def checked_sample(images: int) -> int:
    """Check ``--sample``."""
    if images < 1:
        raise wrong("--sample", f"must be at least 1, got {images}")
    return images
