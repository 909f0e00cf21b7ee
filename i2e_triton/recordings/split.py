"""A fixed split of recordings for data sets that have none of their own, such as CIFAR10-DVS."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath


def hashed_split(names: Iterable[str], test_fraction: float = 0.1) -> tuple[list[str], list[str]]:
    """Split names into training and test, the same on every machine and in every order of the names.

    The names of a class are sorted by their SHA-256 without the suffix, and the first ``round(test_fraction * N)`` of
    its N names are the test. For CIFAR10-DVS, 0.1 gives 900 and 100 recordings of each class.

    Args:
        names: relative paths ``class/name`` of recordings.
        test_fraction: fraction of each class that is the test, in [0, 1].

    Returns:
        The training names and the test names, each in the order of ``names``.

    Raises:
        ValueError: if ``test_fraction`` is not in [0, 1].
    """
    if not 0 <= test_fraction <= 1:
        raise ValueError(f"test_fraction must be in [0, 1], got {test_fraction}")
    names = list(names)
    classes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        classes[PurePath(name).parent.as_posix()].append(name)
    test: set[str] = set()
    for members in classes.values():
        test.update(sorted(members, key=_digest)[: round(test_fraction * len(members))])
    return [name for name in names if name not in test], [name for name in names if name in test]


def _digest(name: str) -> str:
    """Return a hash of the class and the name of a recording, without folders above and without the suffix."""
    path = PurePath(name)
    return hashlib.sha256(f"{path.parent.name}/{path.stem}".encode()).hexdigest()
