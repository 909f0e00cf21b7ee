from __future__ import annotations

import hashlib
import random

import pytest

from i2e_triton.recordings import hashed_split

#: The names of CIFAR10-DVS.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NAMES = [f"{name}/cifar10_{name}_{number}.aedat4" for name in CLASSES for number in range(1000)]


def test_the_split_of_cifar10_dvs_is_fixed() -> None:
    train, test = hashed_split(NAMES)
    assert (len(train), len(test)) == (9000, 1000)
    assert [sum(name.startswith(f"{group}/") for name in test) for group in CLASSES] == [100] * 10
    assert sorted(train + test) == sorted(NAMES)
    assert (
        hashlib.sha256("\n".join(test).encode()).hexdigest()
        == "0bdaed781e6e128d43f4e33a722b95a77314a48102b2ec39fa92819b96e18d96"
    )


def test_the_split_depends_only_on_class_and_name() -> None:
    _, test = hashed_split(NAMES)
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert set(hashed_split(shuffled)[1]) == set(test)
    assert hashed_split(shuffled)[1] == [name for name in shuffled if name in set(test)]
    elsewhere = [f"data/{name}".replace("aedat4", "mat") for name in NAMES]
    assert hashed_split(elsewhere)[1] == [f"data/{name}".replace("aedat4", "mat") for name in test]


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.25, 2), (1, 10)])
def test_fractions_are_of_each_class(fraction: float, count: int) -> None:
    names = [f"{group}/{number}.raw" for group in "ab" for number in range(10)]
    _, test = hashed_split(names, fraction)
    assert [sum(name.startswith(group) for name in test) for group in "ab"] == [count, count]


def test_wrong_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"test_fraction must be in \[0, 1\], got 12"):
        hashed_split(NAMES, 12)
