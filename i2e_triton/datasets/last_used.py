"""A small cache for one process."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LastUsed(Generic[Key, Value]):
    """Keeps the values used last, as many as their total cost allows, and one in any case.

    Starts empty in another process, forked or sent there: open files and what was read from them are not shared.

    Args:
        limit: most that all values may cost together.
        cost: of a value; each costs 1 where not given.
    """

    def __init__(self, limit: int, cost: Callable[[Value], int] | None = None) -> None:
        self._limit = limit
        self._cost = cost
        self._forget()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made anew where it is not kept."""
        if self._process != os.getpid():
            self._forget()
        with suppress(KeyError):  # not kept, or another thread has just dropped it
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self._total += self._cost_of(value)
        while self._total > self._limit and len(self._values) > 1:
            _, dropped = self._values.popitem(last=False)
            self._total -= self._cost_of(dropped)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"_limit": self._limit, "_cost": self._cost}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _cost_of(self, value: Value) -> int:
        return 1 if self._cost is None else self._cost(value)

    def _forget(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._total = 0
        self._process = os.getpid()
