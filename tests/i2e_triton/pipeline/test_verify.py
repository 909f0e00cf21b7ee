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

from i2e_triton.pipeline.manifest import MANIFEST_NAME, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.pipeline.shards import digest_labels
from i2e_triton.pipeline.verify import Verification, damaged_shards, verify_dataset
from tests.i2e_triton.pipeline.builders import CONFIG, DAMAGED, MemorySource, png, run, some_images

Converter = Callable[[ConversionConfig], Path]


@pytest.fixture
def converted(tmp_path: Path, generator: torch.Generator) -> Converter:
    def convert(config: ConversionConfig) -> Path:
        run(MemorySource([png(image) for image in some_images(10, generator)]), tmp_path, config)
        return tmp_path

    return convert


def problems(out: Path) -> tuple[str, ...]:
    return verify_dataset(out, lambda *_: None).problems


def rewrite(out: Path, change: Callable[[Manifest], Manifest]) -> None:
    manifest = read_manifest(out)
    assert manifest is not None
    change(manifest).write(out)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, bits="packed", timesteps=5),
        replace(CONFIG, format="tar"),
        replace(CONFIG, format="tar", bits="packed"),
        replace(CONFIG, format="npz"),
    ],
)
def test_converted_data_set_has_no_problems(converted: Converter, config: ConversionConfig) -> None:
    progress: list[tuple[int, int]] = []
    verified = verify_dataset(converted(config), lambda *counts: progress.append(counts))
    assert (verified.shards, verified.rows, verified.problems) == (3, 10, ())
    assert progress == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_data_set_without_rows_has_no_problems(tmp_path: Path, format: str) -> None:
    run(MemorySource([DAMAGED] * 5), tmp_path, replace(CONFIG, format=format))
    assert verify_dataset(tmp_path, lambda *_: None) == Verification(2, 0, ())


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_flipped_bit_is_found(converted: Converter, format: str) -> None:
    out = converted(replace(CONFIG, format=format))
    victim = sorted(path for path in out.rglob(f"*.{format}"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    (problem,) = problems(out)
    assert "differ from those that were written" in problem


def test_missing_and_unknown_files_are_found(converted: Converter) -> None:
    out = converted(CONFIG)
    (out / "train-00001-of-00003.parquet").rename(out / "unknown.parquet")
    unknown, missing = problems(out)
    assert unknown == "unknown.parquet: not in the manifest"
    assert missing.startswith("train-00001-of-00003:")
    assert "No such file" in missing


def test_hidden_files_are_ignored(converted: Converter) -> None:
    out = converted(CONFIG)
    (out / ".DS_Store").write_bytes(b"")
    (out / ".cache").mkdir()
    (out / ".cache" / "train-00000-of-00001.parquet").write_bytes(b"")
    assert problems(out) == ()


def test_wrong_counts_are_found(converted: Converter) -> None:
    out = converted(CONFIG)
    rewrite(out, lambda m: replace(m, shards=(replace(m.shards[0], pixels=1), *m.shards[1:])))
    (problem,) = problems(out)
    assert problem.startswith("train-00000-of-00003: contains (4, ")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"data": [1, 2, 3, 4], "label": [0] * 4}, "the columns must be data: binary"),
        ({"other": [b""] * 4, "label": [0] * 4}, "the columns must be data: binary"),
        ({"data": [b"1", None, b"3", b"4"], "label": [0] * 4}, "row 0: not written by np.save"),
        ({"data": [None, None, b"3", b"4"], "label": [0] * 4}, "row 0: data is null"),
    ],
)
def test_invalid_shard_with_correct_digest_is_found(
    converted: Converter, table: dict[str, list[object]], message: str
) -> None:
    out = converted(CONFIG)
    path = out / "train-00000-of-00003.parquet"
    pq.write_table(pa.table(table), path)
    content = path.read_bytes()
    written: dict[str, Any] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(out, lambda m: replace(m, shards=(replace(m.shards[0], **written), *m.shards[1:])))
    (problem,) = problems(out)
    assert problem.startswith(f"train-00000-of-00003: {path}: ")
    assert message in problem


@pytest.mark.parametrize(("format", "where"), [("parquet", "row 0"), ("tar", "sample 0")])
def test_records_with_other_timesteps_are_found(converted: Converter, format: str, where: str) -> None:
    out = converted(replace(CONFIG, format=format, timesteps=5))
    rewrite(out, keep_four_timesteps)
    found = problems(out)
    assert len(found) == 3
    assert all(f"{where}: the record has 5 timesteps instead of 4" in problem for problem in found)


def keep_four_timesteps(manifest: Manifest) -> Manifest:
    shards = tuple(replace(record, events=record.events[:4]) for record in manifest.shards)
    return replace(manifest, settings={**manifest.settings, "timesteps": 4}, shards=shards)


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_wrong_labels_are_found(converted: Converter, format: str) -> None:
    out = converted(replace(CONFIG, format=format))
    other = digest_labels([1, 0, 2, 1])  # the rows have the labels 1, 2, 0, 1
    rewrite(out, lambda m: replace(m, shards=(m.shards[0], replace(m.shards[1], labels_sha256=other), m.shards[2])))
    assert problems(out) == ("train-00001-of-00003: EventDataset finds other labels than those that were written",)


def test_labels_of_manifests_of_earlier_versions_are_not_compared(converted: Converter) -> None:
    out = converted(CONFIG)
    rewrite(out, lambda m: replace(m, shards=tuple(replace(record, labels_sha256=None) for record in m.shards)))
    assert problems(out) == ()


def test_wrong_class_names_are_found(converted: Converter) -> None:
    out = converted(CONFIG)
    rewrite(out, lambda m: replace(m, classes=("cat", "owl", "dog")))
    assert problems(out) == ("train: EventDataset finds other class names than the manifest contains",)


def test_npz_files_outside_the_class_folders_are_found(converted: Converter) -> None:
    """Files that readers ignore or misread are found, although the manifest describes them correctly."""
    out = converted(replace(CONFIG, format="npz"))
    (out / "train" / "1").rename(out / "train" / ".1")
    rewrite(out, lambda m: replace(m, shards=tuple(move_folder(record, "1", ".1") for record in m.shards)))
    assert problems(out) == ("train: EventDataset finds 7 rows, but the manifest says 10",)
    (out / "train" / ".1").rename(out / "train" / "other")
    rewrite(out, lambda m: replace(m, shards=tuple(move_folder(record, ".1", "other") for record in m.shards)))
    assert problems(out) == ("train: folder 'other' is not a class of manifest.json; remove it",)


def move_folder(record: ShardRecord, old: str, new: str) -> ShardRecord:
    return replace(record, paths=tuple(path.replace(f"/{old}/", f"/{new}/") for path in record.paths))


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_damaged_shards_are_listed(converted: Converter, format: str) -> None:
    out = converted(replace(CONFIG, format=format))
    manifest = read_manifest(out)
    assert manifest is not None
    first, second, third = manifest.shards
    assert damaged_shards(out, manifest) == []
    (out / first.paths[-1]).unlink()
    content = bytearray((out / third.paths[0]).read_bytes())
    content[-1] ^= 1
    (out / third.paths[0]).write_bytes(content)
    assert damaged_shards(out, manifest) == [first, third]
    assert damaged_shards(out, replace(manifest, shards=(replace(second, pixels=1),))) == [replace(second, pixels=1)]


def test_folder_without_complete_manifest_is_refused(converted: Converter) -> None:
    out = converted(CONFIG)
    rewrite(out, lambda m: replace(m, complete=False))
    with pytest.raises(ManifestError, match="not complete; rerun the same command"):
        problems(out)
    (out / MANIFEST_NAME).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        problems(out)
