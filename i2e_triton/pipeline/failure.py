"""Errors of other processes, on their way to the one that raises them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why something could not be read or written elsewhere.

    It travels as data: an exception that leaves its process by itself takes the whole traceback along in its message,
    and not every one can be pickled.
    """

    kind: str  #: OSError or ValueError
    message: str

    @staticmethod
    def of(error: OSError | ValueError) -> Failure:
        """Note an error."""
        return Failure("OSError" if isinstance(error, OSError) else "ValueError", str(error))

    def error(self) -> OSError | ValueError:
        """Return it as it is raised: with its message, which names the file."""
        return OSError(self.message) if self.kind == "OSError" else ValueError(self.message)
