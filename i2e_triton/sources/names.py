"""Names by the million, in a few bytes each."""

from __future__ import annotations

import os
from array import array


class Names:
    """A list of file names in one block of memory; as Python strings they would take four times as much."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q")

    def append(self, name: str) -> None:
        """Add a name at the end."""
        self._text += os.fsencode(name)
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(bytes(self._text[start : self._ends[index]]))
