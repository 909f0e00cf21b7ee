from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from i2e_triton.pipeline.manifest import MANIFEST_NAME, Manifest, ManifestError, read_manifest
from i2e_triton.pipeline.plan import ConversionConfig
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


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_converted_data_set_has_no_problems(converted: Converter, format: str) -> None:
    progress: list[tuple[int, int]] = []
    verified = verify_dataset(converted(replace(CONFIG, format=format)), lambda *counts: progress.append(counts))
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


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_damaged_shards_are_listed(converted: Converter, format: str) -> None:
    out = converted(replace(CONFIG, format=format))
    manifest = read_manifest(out)
    assert manifest is not None
    first, _, third = manifest.shards
    assert damaged_shards(out, manifest) == []
    (out / first.paths[-1]).unlink()
    content = bytearray((out / third.paths[0]).read_bytes())
    content[-1] ^= 1
    (out / third.paths[0]).write_bytes(content)
    assert damaged_shards(out, manifest) == [first, third]


def test_folder_without_complete_manifest_is_refused(converted: Converter) -> None:
    out = converted(CONFIG)
    rewrite(out, lambda m: replace(m, complete=False))
    with pytest.raises(ManifestError, match="not complete; rerun the same command"):
        problems(out)
    (out / MANIFEST_NAME).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        problems(out)
