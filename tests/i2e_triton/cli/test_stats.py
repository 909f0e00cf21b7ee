"""``i2e stats``: the table and the files, of data sets that were just made."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor

from i2e_triton.analysis import image_entropies
from i2e_triton.cli import dataset, stats
from i2e_triton.sources import prepare
from tests.i2e_triton.cli.conftest import Finished
from tests.i2e_triton.datasets.builders import photograph_events, random_events, write_npz, write_official
from tests.i2e_triton.pipeline.builders import png, some_images

Run = Callable[..., Finished]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``i2e stats`` with these arguments, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def _run(*arguments: object) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            stats.app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(int(end.value.code or 0), captured.out, captured.err)

    return _run


@pytest.fixture
def pictures(tmp_path: Path, generator: torch.Generator) -> list[Path]:
    """An image folder of one split, with two classes."""
    paths = []
    for row, image in enumerate(some_images(5, generator)):
        paths.append(tmp_path / "pictures" / "train" / ("cat", "dog")[row % 2] / f"{row}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(png(image))
    return paths


def converted(source: Path, out: Path) -> Path:
    """Convert images at 9 x 8 pixels with ``i2e dataset``."""
    options = ["--size", "9", "8", "--ratio", "0.1", "--workers", "0"]
    with pytest.raises(SystemExit) as end:
        dataset.app([str(source), "-o", str(out), *options])
    assert not end.value.code
    return out


def test_the_table_has_the_rates_of_the_events(run: Run, tmp_path: Path) -> None:
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
    # Classes by number, the highest first.
    rates = dense.mean((1, 2, 3, 4))
    first = result.out.split("std over images")[2].split()[1]
    assert first == str(int(rates.argmax()))


def cells(output: str, name: str) -> list[str]:
    """The cells of a table's row behind its name."""
    (line,) = (line for line in output.splitlines() if re.match(rf" *{re.escape(name)}  ", line))
    return line.strip().removeprefix(name).split()


def test_many_classes_are_shown_by_their_ends(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    result = run(write_official(tmp_path / "train.parquet", random_events(1000, generator)))
    assert result.status == 0, result.err
    assert "… 990 more" in result.out
    assert len(result.out.splitlines()) < 60


def test_files_hold_what_was_measured(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
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
        with PIL.Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200


def test_one_class_has_no_plot_of_classes(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    for row, events in enumerate(random_events(3, generator)):
        write_npz(tmp_path / "events" / "only" / f"{row}.npz", events)
    result = run(tmp_path / "events", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    assert not (tmp_path / "out" / "classes.png").exists()
    assert (tmp_path / "out" / "timesteps.png").exists()


def test_a_converted_set_is_compared_with_its_source(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    out = converted(tmp_path / "pictures", tmp_path / "events")
    result = run(out, "--source", tmp_path / "pictures", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    *table, paths = result.out.splitlines()
    assert max(map(len, table)) <= 80
    assert paths == f"plots and statistics.json in {tmp_path / 'out'}"
    figures = json.loads((tmp_path / "out" / "statistics.json").read_bytes())
    expected = entropies([path.read_bytes() for path in pictures])
    for column, name in enumerate(("value_channel_pixel", "grey_pixel")):
        found = figures["entropy_bits"][name]
        assert found["mean"] == pytest.approx(float(expected[:, column].mean()), abs=1e-12)
        assert found["std"] == pytest.approx(float(expected[:, column].std()), abs=1e-12)
    assert figures["entropy_bits"]["images_sampled"] == 5
    sizes = figures["bytes_per_image"]
    stored = sum(path.stat().st_size for path in out.glob("*.parquet"))
    original = sum(path.stat().st_size for path in pictures)
    assert (sizes["files"], sizes["source images"]) == (stored / 5, original / 5)
    assert cells(result.out, "files") == [f"{stored / 5:,.0f}", f"{stored / original:.2f}"]
    kept = figures["entropy_bits"]["pixel"]["mean"] / float(expected[:, 0].mean())
    assert cells(result.out, "kept of V: both") == [f"{kept:.1%}"]
    named = {found["name"]: found["images"] for found in figures["by_class"]}
    assert named == {"cat": 3, "dog": 2}


def entropies(files: list[bytes]) -> Tensor:
    return torch.tensor([image_entropies(prepare(file, (9, 8))) for file in files], dtype=torch.float64)


def test_a_manifest_tells_the_bytes_of_its_only_split(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    result = run(converted(tmp_path / "pictures", tmp_path / "events"))
    original = sum(path.stat().st_size for path in pictures)
    assert cells(result.out, "source images") == [f"{original / 5:,.0f}", "1.00"]


def test_a_manifest_of_something_else_is_left_alone(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    write_official(tmp_path / "train-00000-of-00001.parquet", random_events(2, generator))
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    result = run(tmp_path)
    assert result.status == 0, result.err
    assert not re.search(r"^ *files ", result.out, re.MULTILINE)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"timesteps": 10**15, "format": "parquet", "resize": "bicubic"}},
        {"settings": []},
        {"source": {"bytes": "many"}},
        {"shards": [{"bytes": -1}]},
        {"rows": {"train": None}},
    ],
)
def test_a_damaged_manifest_is_named(run: Run, pictures: list[Path], tmp_path: Path, change: dict[str, Any]) -> None:
    path = converted(tmp_path / "pictures", tmp_path / "events") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    result = run(path.parent)
    assert result.status == 1
    assert result.err.startswith(f"stopped: {path} is damaged (")


def test_names_that_no_terminal_shows(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    """An escape sequence, a dollar sign, and a name that is no text."""
    for name in ("a\033[2Jb", "$\\frac", os.fsdecode(b"caf\xe9")):
        write_npz(tmp_path / "events" / name / "0.npz", random_events(1, generator)[0])
    result = run(tmp_path / "events", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    for name in ("a\N{REPLACEMENT CHARACTER}[2Jb", "$\\frac", "caf\N{REPLACEMENT CHARACTER}"):
        assert cells(result.out, name)[0] == "1"
    assert (tmp_path / "out" / "classes.png").exists()


def test_what_cannot_be_written_is_printed_all_the_same(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    file = write_official(tmp_path / "train.parquet", random_events(2, generator))
    result = run(file, "-o", file)
    assert result.status == 2
    assert "is a file" in re.sub(r"[\s│]+", " ", result.err)
    result = run(file, "-o", file / "out")
    assert result.status == 1
    assert result.err.startswith("stopped: ")
    assert cells(result.out, "packed") == ["126"]


def test_the_kind_of_a_source_that_looks_like_another(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    out = converted(tmp_path / "pictures", tmp_path / "events")
    (tmp_path / "pictures" / "MNIST" / "raw").mkdir(parents=True)
    result = run(out, "--source", tmp_path / "pictures")
    assert (result.status, "mnist in" in result.err) == (1, True)
    result = run(out, "--source", tmp_path / "pictures", "--kind", "folder")
    assert result.status == 0, result.err
    assert "V of a pixel (5 images)" in result.out
    assert "got 'zip'" in run(out, "--kind", "zip").err


def test_what_cannot_be_read_is_named(run: Run, generator: torch.Generator, tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.status == 1
    assert "nowhere: no such file or folder" in result.err
    for split in ("train", "validation"):
        write_official(tmp_path / f"{split}-00000-of-00001.parquet", random_events(2, generator))
    result = run(tmp_path)
    assert result.status == 1
    assert "pass split, one of train, validation" in result.err
    assert run(tmp_path, "--split", "validation").status == 0


def test_a_source_must_have_the_split(
    run: Run, generator: torch.Generator, pictures: list[Path], tmp_path: Path
) -> None:
    events = write_official(tmp_path / "events" / "other-00000-of-00001.parquet", random_events(2, generator))
    other = tmp_path / "pictures" / "val" / "cat" / "0.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(pictures[0].read_bytes())
    result = run(events.parent, "--split", "other", "--source", tmp_path / "pictures")
    assert result.status == 2
    assert "has no split 'other' but train, validation" in re.sub(r"[\s│]+", " ", result.err)
    assert run(events, "--sample", "0").status == 2
