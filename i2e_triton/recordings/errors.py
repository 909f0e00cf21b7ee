"""The error of the readers of recordings."""

from __future__ import annotations


class RecordingError(ValueError):
    """A file is empty, truncated, damaged or not a recording. The message names the file and the position."""
