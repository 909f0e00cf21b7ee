"""The error that all readers of events raise."""

from __future__ import annotations


class RecordError(ValueError):
    """A record or file is damaged or holds something else than events. The message says what is wrong."""
