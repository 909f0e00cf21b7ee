"""``i2e stats``: the printed tables and the written files."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor

from i2e_triton.analysis import image_entropies
from i2e_triton.sources import prepare
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.datasets.builders import photograph_events, random_events, write_npz, write_official
from tests.i2e_triton.pipeline.builders import png, some_images


@pytest.fixture
def run(i2e: I2E) -> I2E:
    """Run ``i2e stats`` with these arguments."""
    return partial(i2e, "stats")


@pytest.fixture
def images(tmp_path: Path, generator: torch.Generator) -> list[Path]:
    """The files of an image folder with one split and two classes."""
    paths = []
    for row, image in enumerate(some_images(5, generator)):
        paths.append(tmp_path / "images" / "train" / ("cat", "dog")[row % 2] / f"{row}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(png(image))
    return paths


@pytest.fixture
def converted(i2e: I2E, images: list[Path], tmp_path: Path) -> Path:
    """The image folder converted at 9 x 8 pixels with ``i2e dataset``."""
    out = tmp_path / "events"
    finished = i2e("dataset", tmp_path / "images", "-o", out, "--size", 9, 8, "--ratio", 0.1, "--workers", 0)
    assert finished.status == 0, finished.err
    return out


def test_table_contains_the_event_rates(run: I2E, tmp_path: Path) -> None:
    events = photograph_events()
    result = run(write_official(tmp_path / "train.parquet", events))
    assert result.status == 0, result.err
    assert max(map(len, result.out.splitlines())) <= 80
    assert "4 images, 32 x 32, 8 timesteps" in result.out
    dense = events.double()
    for t in range(8):
        on, off = (f"{rate:.2%}" for rate in dense[:, t].mean((0, 2, 3)).tolist())
        both, std = dense[:, t].mean(), dense[:, t].mean((1, 2, 3)).std()
        assert cells(result.out, f"t={t}") == [on, off, f"{both:.2%}", f"{std:.2%}"]
    assert cells(result.out, "all")[2:] == [f"{dense.mean():.2%}", f"{dense.mean((1, 2, 3, 4)).std():.2%}"]
    assert cells(result.out, "dense float32") == [f"{8 * 2 * 32 * 32 * 4:,}"]
    assert cells(result.out, "packed") == [f"{2 * 32 * 32:,}"]
    # Classes are listed by number, sorted by their rate.
    rates = dense.mean((1, 2, 3, 4))
    first = result.out.split("std over images")[2].split()[1]
    assert first == str(int(rates.argmax()))


def cells(output: str, name: str) -> list[str]:
    """Return the cells of a row after its name."""
    (line,) = (line for line in output.splitlines() if re.match(rf" *{re.escape(name)}  ", line))
    return line.strip().removeprefix(name).split()


def test_first_and_last_of_many_classes_are_shown(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    result = run(write_official(tmp_path / "train.parquet", random_events(1000, generator)))
    assert result.status == 0, result.err
    assert "… 990 more" in result.out
    assert len(result.out.splitlines()) < 60


def test_files_contain_the_statistics(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    events = random_events(6, generator)
    file = write_official(tmp_path / "train.parquet", events)
    result = run(file, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "classes.png",
        "map.png",
        "statistics.json",
        "timesteps.png",
    ]
    figures = json.loads((tmp_path / "out" / "statistics.json").read_bytes())
    assert figures["location"] == str(file)
    assert figures["events"] == events.sum((0, 3, 4)).tolist()
    assert figures["event_rate"]["mean"] == pytest.approx(float(events.double().mean()), abs=1e-12)
    for name in ("classes", "map", "timesteps"):
        with PIL.Image.open(tmp_path / "out" / f"{name}.png") as plot:
            assert plot.format == "PNG"
            assert min(plot.size) > 200


def test_data_set_of_one_class_has_no_class_plot(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    for row, events in enumerate(random_events(3, generator)):
        write_npz(tmp_path / "events" / "only" / f"{row}.npz", events)
    result = run(tmp_path / "events", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    assert not (tmp_path / "out" / "classes.png").exists()
    assert (tmp_path / "out" / "timesteps.png").exists()


def test_converted_data_set_is_compared_with_its_source(
    run: I2E, converted: Path, images: list[Path], tmp_path: Path
) -> None:
    result = run(converted, "--source", tmp_path / "images", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    *table, paths = result.out.splitlines()
    assert max(map(len, table)) <= 80
    assert paths == f"plots and statistics.json in {tmp_path / 'out'}"
    figures = json.loads((tmp_path / "out" / "statistics.json").read_bytes())
    expected = entropies([path.read_bytes() for path in images])
    for column, name in enumerate(("value_channel_pixel", "grey_pixel")):
        found = figures["entropy_bits"][name]
        assert found["mean"] == pytest.approx(float(expected[:, column].mean()), abs=1e-12)
        assert found["std"] == pytest.approx(float(expected[:, column].std()), abs=1e-12)
    assert figures["entropy_bits"]["images_sampled"] == 5
    sizes = figures["bytes_per_image"]
    stored = sum(path.stat().st_size for path in converted.glob("*.parquet"))
    original = sum(path.stat().st_size for path in images)
    assert (sizes["files"], sizes["source images"]) == (stored / 5, original / 5)
    assert cells(result.out, "files") == [f"{stored / 5:,.0f}", f"{stored / original:.2f}"]
    relative = figures["entropy_bits"]["pixel"]["mean"] / float(expected[:, 0].mean())
    assert cells(result.out, "all events relative to V") == [f"{relative:.1%}"]
    named = {found["name"]: found["images"] for found in figures["by_class"]}
    assert named == {"cat": 3, "dog": 2}


def entropies(files: list[bytes]) -> Tensor:
    return torch.tensor([image_entropies(prepare(file, (9, 8))) for file in files], dtype=torch.float64)


def test_source_size_of_the_only_split_is_read_from_the_manifest(run: I2E, converted: Path, images: list[Path]) -> None:
    result = run(converted)
    original = sum(path.stat().st_size for path in images)
    assert cells(result.out, "source images") == [f"{original / 5:,.0f}", "1.00"]


def test_manifest_of_another_program_is_ignored(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    write_official(tmp_path / "train-00000-of-00001.parquet", random_events(2, generator))
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    result = run(tmp_path)
    assert result.status == 0, result.err
    assert not re.search(r"^ *files ", result.out, re.MULTILINE)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"timesteps": 10**15, "format": "parquet", "resize": "bicubic"}},
        {"shards": [{"bytes": -1}]},
    ],
)
def test_damaged_manifest_is_an_error(run: I2E, converted: Path, change: dict[str, Any]) -> None:
    path = converted / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    result = run(path.parent)
    assert result.status == 1
    assert result.err.startswith(f"stopped: {path} is damaged (")


def test_unprintable_class_names_are_replaced(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    """The names contain an escape sequence, a dollar sign, and a byte that is not valid UTF-8."""
    for name in ("a\033[2Jb", "$\\frac", os.fsdecode(b"caf\xe9")):
        write_npz(tmp_path / "events" / name / "0.npz", random_events(1, generator)[0])
    result = run(tmp_path / "events", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    for name in ("a\N{REPLACEMENT CHARACTER}[2Jb", "$\\frac", "caf\N{REPLACEMENT CHARACTER}"):
        assert cells(result.out, name)[0] == "1"
    assert (tmp_path / "out" / "classes.png").exists()


def test_statistics_are_printed_if_files_cannot_be_written(
    run: I2E, generator: torch.Generator, tmp_path: Path
) -> None:
    file = write_official(tmp_path / "train.parquet", random_events(2, generator))
    result = run(file, "-o", file)
    assert result.status == 2
    assert "is a file" in re.sub(r"[\s│]+", " ", result.err)
    result = run(file, "-o", file / "out")
    assert result.status == 1
    assert result.err.startswith("stopped: ")
    assert cells(result.out, "packed") == ["126"]


def test_kind_overrides_the_detected_kind(run: I2E, converted: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "MNIST" / "raw").mkdir(parents=True)
    result = run(converted, "--source", tmp_path / "images")
    assert (result.status, "mnist in" in result.err) == (1, True)
    result = run(converted, "--source", tmp_path / "images", "--kind", "folder")
    assert result.status == 0, result.err
    assert "V of a pixel (5 images)" in result.out
    assert "got 'zip'" in run(converted, "--kind", "zip").err


def test_missing_location_and_ambiguous_split_are_errors(run: I2E, generator: torch.Generator, tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.status == 1
    assert "nowhere: no such file or folder" in result.err
    for split in ("train", "validation"):
        write_official(tmp_path / f"{split}-00000-of-00001.parquet", random_events(2, generator))
    result = run(tmp_path)
    assert result.status == 1
    assert "pass split, one of train, validation" in result.err
    assert run(tmp_path, "--split", "validation").status == 0


def test_source_without_the_split_is_an_error(
    run: I2E, generator: torch.Generator, images: list[Path], tmp_path: Path
) -> None:
    events = write_official(tmp_path / "events" / "other-00000-of-00001.parquet", random_events(2, generator))
    other = tmp_path / "images" / "val" / "cat" / "0.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(images[0].read_bytes())
    result = run(events.parent, "--split", "other", "--source", tmp_path / "images")
    assert result.status == 2
    assert "has the splits train, validation, but not 'other'" in re.sub(r"[\s│]+", " ", result.err)
    assert run(events, "--sample", "0").status == 2
