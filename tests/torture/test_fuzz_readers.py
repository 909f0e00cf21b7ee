"""A short run of the fuzzer of all readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.torture.fuzz_readers import Reader, fuzz, mutated, try_file


def test_mutated_files_are_accepted_or_refused_with_a_documented_error(tmp_path: Path) -> None:
    results = fuzz(int(np.random.default_rng().integers(2**31)), 6, tmp_path)
    assert len(results) == 11
    for name, counts in results.items():
        assert counts["failures"] == [], name
        assert counts["tried"] == counts["accepted"] + counts["refused"] >= 5, name
    assert sum(counts["refused"] for counts in results.values()) > 50
    assert sum(counts["accepted"] for counts in results.values()) > 10


def test_error_that_is_not_documented_is_a_failure(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        raise KeyError("not documented")

    result = try_file(Reader("", [], read, (ValueError,)), b"", tmp_path / "a")
    assert "KeyError: 'not documented'" in result


def test_mutations_depend_on_the_seed_only() -> None:
    files = [bytes(range(256)) * 4, b"other" * 100]
    for seed in range(20):
        first, second = (mutated(files[0], files, np.random.default_rng(seed)) for _ in range(2))
        assert first == second
