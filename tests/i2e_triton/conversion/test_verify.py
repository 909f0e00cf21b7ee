from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from i2e_triton.conversion.manifest import MANIFEST, Manifest, ManifestError, read_manifest
from i2e_triton.conversion.plan import Settings
from i2e_triton.conversion.verify import verify_dataset
from tests.i2e_triton.conversion.made_up import MemorySource, png, some_images
from tests.i2e_triton.conversion.test_dataset import SETTINGS, run


@pytest.fixture
def converted(tmp_path: Path, generator: torch.Generator) -> Callable[[Settings], Path]:
    def convert(settings: Settings) -> Path:
        run(MemorySource([png(image) for image in some_images(10, generator)]), tmp_path, settings)
        return tmp_path

    return convert


def problems(out: Path) -> tuple[str, ...]:
    return verify_dataset(out, lambda _: None).problems


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
    seen: list[int] = []
    verified = verify_dataset(converted(settings), lambda record: seen.append(record.rows))
    assert (verified.shards, verified.rows, verified.problems) == (3, 10, ())
    assert seen == [4, 4, 2]


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


def test_counts_that_do_not_fit_the_records_are_found(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    rewrite(out, lambda m: replace(m, shards=(replace(m.shards[0], rows=5), *m.shards[1:])))
    (problem,) = problems(out)
    assert problem.startswith("train-00000-of-00003: holds (4, ")


def test_a_folder_without_a_complete_manifest_is_refused(converted: Callable[[Settings], Path]) -> None:
    out = converted(SETTINGS)
    rewrite(out, lambda m: replace(m, complete=False))
    with pytest.raises(ManifestError, match="not complete; run it again"):
        problems(out)
    (out / MANIFEST).unlink()
    with pytest.raises(ManifestError, match="has no manifest"):
        problems(out)
