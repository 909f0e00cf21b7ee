"""What is wrong with a record."""

from __future__ import annotations


class RecordError(ValueError):
    """A record or file does not hold the events that it should; the message says what is wrong with it."""
