"""``i2e convert``: invalid options, and the terminal output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import i2e_triton
from i2e_triton.cli import options
from i2e_triton.io.pictures import read_picture
from tests.i2e_triton.cli.conftest import I2E, files_in, plain
from tests.samples import photograph_path

pytestmark = pytest.mark.usefixtures("in_tmp_path")

INVALID = [
    (("--ratio", -0.5), "--ratio", "must be in [0, 1], got -0.5"),
    (("--ratio", "nan"), "--ratio", "must be in [0, 1], got nan"),
    (("--ratio", "inf"), "--ratio", "must be in [0, 1], got inf"),
    (("--ratio", 12), "--ratio", "did you mean 0.12?"),
    (("--ratio", "much"), "--ratio", ""),
    (("--scale", 0), "--scale", "must be 1 to 64, got 0"),
    (("--fps", 51), "--fps", "must be above 0 and at most 50, got 51"),
    (("--timesteps", 9), "--timesteps", "must be 1 to 8, got 9"),
    (("--timesteps", 0), "--timesteps", "must be 1 to 8, got 0"),
    (("--timesteps", 2.5), "--timesteps", ""),
    (("--order", "best"), "--order", "gamma-beta-alpha, or 0 to 5; got 'best'"),
    (("--order", 6), "--order", "gamma-beta-alpha, or 0 to 5; got 6"),
    (("--size", 0, 32), "--size", "at least 1 pixel, got 0 32"),
    (("--size", 32, -1), "--size", "at least 1 pixel, got 32 -1"),
    (("--size", 32), "--size", ""),
    (("--size", 100_000, 100_000), "--size", "at most 89,478,485 pixels, got 100000 x 100000 = 10,000,000,000"),
    (
        ("--format", "gif,jpg"),
        "--format",
        "must be one of gif, png, npz, npy, csv, h5, aedat4, evt2, dat, nmnist; got 'jpg'",
    ),
    (("--format", "nmnist", "--timestep-us", 2_000_000), "--timestep-us", "nmnist stores times below 8,388,608 us"),
    (("--format", ""), "--format", "must be one of gif, png, npz, npy, csv, h5, aedat4, evt2, dat, nmnist; got ''"),
    (("--timestep-us", 0), "--timestep-us", "must be at least 1, got 0"),
    (("--timestep-us", -5), "--timestep-us", "must be at least 1, got -5"),
    (("--timestep-us", 2**60), "--timestep-us", "8 timesteps of 1152921504606846976 microseconds do not fit in 64"),
    (("--timestep-us", 0.5), "--timestep-us", ""),
    (("--device", "tpu"), "--device", "must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    (("--device", "meta"), "--device", "must be auto, cpu, cuda or cuda:N, got 'meta'"),
    (("--device", "cuda"), "--device", "'cuda' cannot be used: PyTorch finds no CUDA device; or use --device cpu"),
    (("--resize", "shrink", "--size", 4, 4), "--resize", "must be one of fit, crop, stretch; got 'shrink'"),
    (("--resize", "fit"), "--resize", "fit needs a size"),
    (("--interpolation", "nearest"), "--interpolation", "must be one of bicubic, bilinear; got 'nearest'"),
    (("--sizes", 1, 2), "--sizes", ""),
]


@pytest.mark.parametrize(("options", "name", "message"), INVALID, ids=[" ".join(map(str, o)) for o, *_ in INVALID])
def test_invalid_options_are_rejected_before_any_work(
    options: tuple[object, ...],
    name: str,
    message: str,
    i2e: I2E,
    write_image: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    path = write_image("a.png")
    finished = i2e("convert", path, "-o", "out", *options)
    assert (finished.status, finished.out) == (2, "")
    assert name in plain(finished.err)
    assert message in plain(finished.err)
    assert files_in(".") == ["a.png"]


def test_missing_devices_are_rejected(
    i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image("a.png")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    finished = i2e("convert", path, "-o", "out", "--device", "cuda:2")
    assert finished.status == 2
    assert "must be cuda:0 to cuda:1, because PyTorch finds 2 CUDA device(s); got 'cuda:2'" in plain(finished.err)

    def fail() -> None:
        raise ValueError("Triton is too old")

    monkeypatch.setattr(options, "load_kernels", fail)
    finished = i2e("convert", path, "-o", "out", "--device", "cuda:1")
    assert finished.status == 2
    assert "'cuda:1' cannot be used: Triton is too old; or use --device cpu" in plain(finished.err)
    assert options.check_device("auto") == torch.device("cpu")
    monkeypatch.setattr(options, "load_kernels", lambda: None)
    assert options.check_device("auto") == torch.device("cuda")
    assert files_in(".") == ["a.png"]


@pytest.mark.parametrize("arguments", [(), ("a.png",), ("-o", "out")])
def test_missing_arguments_are_rejected(
    arguments: tuple[str, ...], i2e: I2E, write_image: Callable[[str], Path]
) -> None:
    write_image("a.png")
    assert i2e("convert", *arguments).status == 2
    assert files_in(".") == ["a.png"]


@pytest.mark.parametrize(
    ("out", "status", "message"),
    [("file", 2, "'file' is a file"), ("file/out", 1, "cannot write file/out/a: Not a directory")],
)
def test_output_folder_that_is_a_file_is_rejected(
    out: str, status: int, message: str, i2e: I2E, write_image: Callable[[str], Path]
) -> None:
    path = write_image("a.png")
    Path("file").write_bytes(b"a file")
    finished = i2e("convert", path, "-o", out)
    assert finished.status == status
    assert message in plain(finished.err)
    assert Path("file").read_bytes() == b"a file"


def test_images_are_never_overwritten(i2e: I2E, write_image: Callable[[str], Path]) -> None:
    path = write_image("photos/a.png")
    before = path.read_bytes()
    finished = i2e("convert", path, "-o", "photos")
    assert finished.status == 2
    assert "the events of photos/a.png would overwrite the image photos/a.png" in plain(finished.err)
    Path("link").symlink_to("photos")
    assert i2e("convert", path, "-o", "link").status == 2
    assert path.read_bytes() == before
    assert files_in("photos") == ["a.png"]
    assert i2e("convert", path, "-o", "photos", "--format", "gif").status == 0
    assert files_in("photos") == ["a.gif", "a.png"]


def test_folder_is_not_converted_into_itself(i2e: I2E, write_image: Callable[[str], Path]) -> None:
    write_image("photos/a.png")
    finished = i2e("convert", "photos", "-o", "photos/../photos")
    assert finished.status == 1
    assert finished.err.splitlines()[0].startswith("skipped photos: this is the output folder; choose another --out")
    assert files_in("photos") == ["a.png"]
    Path("photos").rename("in")
    for status in (0, 1):  # in the second run the pattern matches OUT as well
        assert i2e("convert", "*", "-o", "out", "--format", "png").status == status
        assert files_in(".") == ["in/a.png", "out/a.png"]


@pytest.mark.parametrize("columns", [80, 120])
def test_table_of_one_image_lists_the_timesteps(columns: int, i2e: I2E, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(photograph_path("rocket"), "rocket.jpg")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = i2e("convert", "rocket.jpg", "-o", "out", "--ratio", 0.1, "--size", 77, 91).out
    image = read_picture(Path("rocket.jpg"), (77, 91))
    rates = i2e_triton.convert(image, 0.1).double().mean((2, 3))
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "rocket.jpg: 77 x 91 pixels, ratio 0.1"
    vectors = ["e [9,4]", "f [4,3]", "g [3,8]", "h [8,1]", "a [5,6]", "b [5,2]", "c [5,3]", "d [5,1]"]
    rows = [re.split(r"\s{2,}", line) for line in lines[3:12]]
    for t, (vector, (on, off)) in enumerate(zip(vectors, rates.tolist())):
        assert rows[t] == [str(t), vector, f"{on:.2%}", f"{off:.2%}", f"{(on + off) / 2:.2%}"]
    on, off = rates.mean(0).tolist()
    assert rows[8] == ["mean", f"{on:.2%}", f"{off:.2%}", f"{float(rates.mean()):.2%}"]
    assert lines[12:] == ["written:", "out/rocket.gif", "out/rocket.png", "out/rocket.npz"]
    assert max(map(len, out.splitlines())) <= columns


def test_paths_are_printed_without_line_breaks(i2e: I2E, write_image: Callable[[str], Path]) -> None:
    write_image("photos/a.png")
    long = Path("a folder with a long name of several words", "a second folder with a long name", "a third folder")
    finished = i2e("convert", "photos/a.png", "photos/missing.png", "-o", long, "--format", "npz")
    assert f"  {long}/a.npz" in finished.out.splitlines()
    assert i2e("convert", long / "missing.png", "-o", "out").err.splitlines()[0] == (
        f"skipped {long}/missing.png: no such file or folder"
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_table_of_several_images_has_one_line_each(
    columns: int, i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    long_name = "a long name of a photograph with several words and a date, longer than the column 20240131"
    paths = [write_image(f"photos/{name}.png") for name in (long_name, "z", "b/[red]c")]
    monkeypatch.setenv("COLUMNS", str(columns))
    out = i2e("convert", "photos", "-o", "out", "--format", "npz").out
    assert max(map(len, out.splitlines())) <= columns
    rates = [i2e_triton.convert(read_picture(path), 0.07).double().mean((0, 2, 3)) for path in paths]
    rows = [line.split() for line in out.splitlines() if " 7 x 11 " in line]
    assert len(rows) == 3
    for row, (on, off) in zip(rows, torch.stack(rates).tolist()):
        assert row[-6:] == ["7", "x", "11", f"{on:.2%}", f"{off:.2%}", f"{(on + off) / 2:.2%}"]
    assert [rows[0][0], rows[1][0], rows[2][0]] == ["a", "z", "b/[red]c"]
    assert all(word in out for word in long_name.split())
    on, off = torch.stack(rates).mean(0).tolist()
    (mean,) = (line for line in out.splitlines() if "mean of 3" in line)
    assert mean.split()[3:6] == [f"{on:.2%}", f"{off:.2%}", f"{(on + off) / 2:.2%}"]
    assert out.splitlines()[0].startswith("ratio 0.07 (the paper's), 8 timesteps")
    assert out.splitlines()[-1] == "written to out: .npz of each image"


def test_unprintable_file_names_are_replaced(write_image: Callable[[str], Path]) -> None:
    """Run in a subprocess whose output encoding lacks these letters."""
    write_image("photos/ünï.png")
    write_image("photos/line\nbreak.png")
    Path(b"photos/bad\xff.png".decode(errors="surrogateescape")).write_bytes(b"no image")
    finished = subprocess.run(
        [sys.executable, "-m", "i2e_triton", "convert", "photos", "-o", "out", "--format", "npz"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
    )
    assert finished.returncode == 0
    assert b"?n?" in finished.stdout
    assert b"line?break" in finished.stdout
    assert finished.stderr.splitlines() == [
        b"skipped photos/bad?.png: not an image of a supported format",
        b"1 of 3 skipped",
    ]


def test_progress_is_shown_on_a_terminal_only(
    i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image("photos/a.png")
    write_image("photos/b.png")
    assert i2e("convert", "photos", "-o", "out", "--format", "npz").err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then treats any output as a terminal
    monkeypatch.setenv("TERM", "xterm")
    assert "converting" in i2e("convert", "photos", "-o", "out", "--format", "npz").err


def test_version_is_printed(i2e: I2E) -> None:
    finished = i2e("--version")
    assert (finished.status, finished.out) == (0, f"i2e-triton {i2e_triton.__version__}\n")
