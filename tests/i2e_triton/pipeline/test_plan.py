from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.pipeline.plan import Settings, Shard, plan_shards


@given(st.dictionaries(st.sampled_from(["train", "validation"]), st.integers(0, 60), min_size=1), st.integers(1, 20))
def test_each_row_is_in_one_shard(rows: dict[str, int], rows_per_shard: int) -> None:
    shards = plan_shards(rows, rows_per_shard)
    for split, total in rows.items():
        of_split = [shard for shard in shards if shard.split == split]
        assert [row for shard in of_split for row in range(shard.start, shard.stop)] == list(range(total))
        assert [shard.index for shard in of_split] == list(range(len(of_split)))
        assert {shard.of for shard in of_split} == {len(of_split)}
        assert all(shard.stop - shard.start == rows_per_shard for shard in of_split[:-1])


@given(st.integers(0, 50), st.integers(0, 30), st.integers(1, 20))
def test_pieces_are_the_rows_of_a_shard_and_only_the_last_ends_it(start: int, rows: int, most: int) -> None:
    shard = Shard("train", 0, 1, start, start + rows)
    pieces = list(shard.pieces(most))
    assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(start, start + rows))
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.stop - piece.start <= most for piece in pieces)


@pytest.mark.parametrize(("index", "name"), [(0, "train-00000-of-00013"), (12, "train-00012-of-00013")])
def test_names_are_those_of_the_hub(index: int, name: str) -> None:
    assert Shard("train", index, 13, 0, 1).name == name


def test_settings_are_what_json_gives_back() -> None:
    settings = Settings(0.07, size=(128, 96), order=3)
    assert json.loads(json.dumps(settings.as_json())) == settings.as_json()
