"""The cache: bounded, and empty in another process."""

from __future__ import annotations

import os
import pickle

from i2e_triton.datasets.last_used import LastUsed


def kept(cache: LastUsed[str, int]) -> list[str]:
    """Keys that are not made anew, those used longest ago first."""
    return list(cache._values)


def test_values_used_last_are_kept() -> None:
    cache: LastUsed[str, int] = LastUsed(2)
    assert [cache.get(key, lambda: len(cache._values)) for key in "abac"] == [0, 1, 0, 2]
    assert kept(cache) == ["a", "c"]
    assert cache.get("a", lambda: 9) == 0
    assert cache.get("b", lambda: 9) == 9


def test_the_cost_is_bounded_but_for_one_value() -> None:
    cache: LastUsed[str, int] = LastUsed(10, cost=abs)
    for key, cost in (("a", 4), ("b", 6), ("c", 1), ("d", 30), ("e", 8), ("f", 2)):
        cache.get(key, lambda cost=cost: cost)  # type: ignore[misc]
        assert sum(cache._values.values()) <= 10 or len(cache._values) == 1
    assert kept(cache) == ["e", "f"]


def test_a_failure_is_not_kept() -> None:
    cache: LastUsed[str, int] = LastUsed(2)
    for _ in range(2):
        try:
            cache.get("a", lambda: 1 // 0)
        except ZeroDivisionError:
            continue
        raise AssertionError("the second try did not fail")
    assert cache.get("a", lambda: 5) == 5


def test_another_process_starts_empty() -> None:
    cache: LastUsed[str, int] = LastUsed(2, cost=abs)
    cache.get("a", lambda: 1)
    sent = pickle.loads(pickle.dumps(cache))
    assert sent.get("a", lambda: 2) == 2
    child = os.fork()
    if child == 0:
        os._exit(0 if cache.get("a", lambda: 3) == 3 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get("a", lambda: 4) == 1
