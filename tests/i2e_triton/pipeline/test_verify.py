from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton.pipeline.manifest import MANIFEST, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.pipeline.plan import Settings
from i2e_triton.pipeline.verify import Verified, verify_dataset
from tests.i2e_triton.pipeline.made_up import DAMAGED, MemorySource, png, some_images
from tests.i2e_triton.pipeline.test_dataset import SETTINGS, run


@pytest.fixture
def converted(tmp_path: Path, generator: torch.Generator) -> Callable[[Settings], Path]:
    def convert(settings: Settings) -> Path:
        run(MemorySource([png(image) for image in some_images(10, generator)]), tmp_path, settings)
        return tmp_path

    return convert


def problems(out: Path) -> tuple[str, ...]:
    return verify_dataset(out, lambda *_: None).problems


def rewrite(out: Path, change: Callable[[Manifest], Manifest]) -> None:
    manifest = read_manifest(out)
    assert manifest is not None
    change(manifest).write(out)


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, bits="packed", timesteps=5),
        replace(SETTINGS, format="tar"),
        replace(SETTINGS, format="tar", bits="packed"),
        replace(SETTINGS, format="npz"),
    ],
)
def test_what_was_converted_verifies(converted: Callable[[Settings], Path], settings: Settings) -> None:
    seen: list[tuple[int, int]] = []
    verified = verify_dataset(converted(settings), lambda *place: seen.append(place))
    assert (verified.shards, verified.rows, verified.problems) == (3, 10, ())
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_a_set_without_a_row_verifies(tmp_path: Path, format: str) -> None:
    run(MemorySource([DAMAGED] * 5), tmp_path, replace(SETTINGS, format=format))
    assert verify_dataset(tmp_path, lambda *_: None) == Verified(2, 0, ())


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_a_flipped_bit_is_found(converted: Callable[[Settings], Path], format: str) -> None:
    out = converted(replace(SETTINGS, format=format))
    victim = sorted(path for path in out.rglob(f"*.{format}"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    (problem,) = problems(out)
    assert "not those that were written" in problem


def test_a_missing_and_an_unknown_file_are_found(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    (out / "train-00001-of-00003.parquet").rename(out / "stranger.parquet")
    unknown, missing = problems(out)
    assert unknown == "stranger.parquet: not in the manifest"
    assert missing.startswith("train-00001-of-00003:")
    assert "No such file" in missing


def test_hidden_files_are_passed_over(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    (out / ".DS_Store").write_bytes(b"")
    (out / ".cache").mkdir()
    (out / ".cache" / "train-00000-of-00001.parquet").write_bytes(b"")
    assert problems(out) == ()


def test_counts_that_do_not_fit_the_records_are_found(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    rewrite(out, lambda m: replace(m, shards=(replace(m.shards[0], pixels=1), *m.shards[1:])))
    (problem,) = problems(out)
    assert problem.startswith("train-00000-of-00003: holds (4, ")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"data": [1, 2, 3, 4], "label": [0] * 4}, "needs columns data: binary"),
        ({"other": [b""] * 4, "label": [0] * 4}, "needs columns data: binary"),
        ({"data": [b"1", None, b"3", b"4"], "label": [0] * 4}, "row 0: not what np.save writes"),
        ({"data": [None, None, b"3", b"4"], "label": [0] * 4}, "row 0: data is null"),
    ],
)
def test_a_shard_that_was_never_one_is_found(
    converted: Callable[[Settings], Path], table: dict[str, list[object]], said: str
) -> None:
    """Its checksum is right: whoever made the folder meant it so."""
    out = converted(SETTINGS)
    path = out / "train-00000-of-00003.parquet"
    pq.write_table(pa.table(table), path)
    content = path.read_bytes()
    written: dict[str, Any] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(out, lambda m: replace(m, shards=(replace(m.shards[0], **written), *m.shards[1:])))
    (problem,) = problems(out)
    assert problem.startswith(f"train-00000-of-00003: {path}: ")
    assert said in problem


@pytest.mark.parametrize(("format", "where"), [("parquet", "row 0"), ("tar", "sample 0")])
def test_records_of_other_timesteps_are_found(converted: Callable[[Settings], Path], format: str, where: str) -> None:
    out = converted(replace(SETTINGS, format=format, timesteps=5))
    rewrite(out, lambda m: replace(m, settings={**m.settings, "timesteps": 4}, shards=tuple(map(four, m.shards))))
    found = problems(out)
    assert len(found) == 3
    assert all(f"{where}: has 5 timesteps instead of 4" in problem for problem in found)


def four(record: ShardRecord) -> ShardRecord:
    return replace(record, events=record.events[:4])


def test_a_folder_without_a_complete_manifest_is_refused(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    rewrite(out, lambda m: replace(m, complete=False))
    with pytest.raises(ManifestError, match="not complete; run it again"):
        problems(out)
    (out / MANIFEST).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        problems(out)
