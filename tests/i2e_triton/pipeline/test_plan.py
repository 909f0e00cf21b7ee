from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2e_triton.pipeline.plan import ConversionConfig, Shard, plan_shards


@given(st.dictionaries(st.sampled_from(["train", "validation"]), st.integers(0, 60), min_size=1), st.integers(1, 20))
def test_each_row_is_in_exactly_one_shard(rows: dict[str, int], rows_per_shard: int) -> None:
    shards = plan_shards(rows, rows_per_shard)
    for split, total in rows.items():
        of_split = [shard for shard in shards if shard.split == split]
        assert [row for shard in of_split for row in range(shard.start, shard.stop)] == list(range(total))
        assert [shard.index for shard in of_split] == list(range(len(of_split)))
        assert {shard.of for shard in of_split} == {len(of_split)}
        assert all(shard.stop - shard.start == rows_per_shard for shard in of_split[:-1])


@pytest.mark.parametrize(("index", "name"), [(0, "train-00000-of-00013"), (12, "train-00012-of-00013")])
def test_shard_names_follow_the_hub(index: int, name: str) -> None:
    assert Shard("train", index, 13, 0, 1).name == name


def test_config_as_json_survives_json() -> None:
    config = ConversionConfig(0.07, size=(128, 96), order=3)
    assert json.loads(json.dumps(config.as_json())) == config.as_json()


@pytest.mark.parametrize(
    "config", [ConversionConfig(0.07, size=(128, 96), order=3), ConversionConfig(0.1, bits="packed")]
)
def test_config_from_json_is_the_inverse(config: ConversionConfig) -> None:
    assert ConversionConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_official_bits_are_stored_as_version_0_1_stored_them() -> None:
    assert ConversionConfig(0.07).as_json()["bits"] == "published"
    assert ConversionConfig(0.07, bits="published") == ConversionConfig(0.07, bits="official")
    assert ConversionConfig(0.07, bits="packed").as_json()["bits"] == "packed"
