"""``i2e convert``: the files that it writes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faery
import numpy as np
import PIL.Image
import pytest
import tonic.io
import torch
from torch import Tensor

import i2e_triton
from i2e_triton import canonical_shifts
from i2e_triton.cli import convert_image
from i2e_triton.formats import EVENT_DTYPE, from_event_list, load_event_list
from i2e_triton.io.pictures import read_picture
from tests.i2e_triton.cli.conftest import I2E, files_in, plain
from tests.samples import assert_same_events, noise, photograph, photograph_path, resized_photograph

pytestmark = pytest.mark.usefixtures("in_tmp_path")
SMALL = ("--size", 24, 32)


def saved_events(path: str | Path) -> Tensor:
    loaded = np.load(path, allow_pickle=False)
    return torch.from_numpy(loaded if str(path).endswith("npy") else loaded["arr_0"])


def frames_of(path: Path) -> Tensor:
    """Read the events ``[T, 2, H, W]`` back from the colors of an animation."""
    with PIL.Image.open(path) as gif:
        frames = []
        for t in range(gif.n_frames):
            gif.seek(t)
            red, _, blue = torch.from_numpy(np.array(gif.convert("RGB"))).int().unbind(-1)
            frames.append(torch.stack([red > blue, red < blue]))
    return torch.stack(frames)


def test_photograph_is_written_as_gif_png_and_npz(i2e: I2E) -> None:
    finished = i2e("convert", photograph_path("coffee"), "-o", "out")
    assert finished.status == 0
    assert files_in("out") == ["coffee.gif", "coffee.npz", "coffee.png"]
    expected = i2e_triton.convert(photograph("coffee"), 0.12, dtype=torch.bool)
    assert_same_events(saved_events("out/coffee.npz"), expected)
    assert np.load("out/coffee.npz").files == ["arr_0"]
    assert_same_events(frames_of(Path("out/coffee.gif")), expected)
    with PIL.Image.open("out/coffee.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 2 * 400  # two rows of tiles


def test_npy_equals_npz(i2e: I2E) -> None:
    assert i2e("convert", photograph_path("rocket"), "-o", "out", *SMALL, "--format", "npy,npz").status == 0
    assert files_in("out") == ["rocket.npy", "rocket.npz"]
    assert saved_events("out/rocket.npy").shape == (8, 2, 24, 32)
    assert_same_events(saved_events("out/rocket.npy"), saved_events("out/rocket.npz"))


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize(("options", "timestep_us"), [((), 1000), (("--timestep-us", 250), 250)])
def test_event_lists_contain_the_events(suffix: str, options: tuple[object, ...], timestep_us: int, i2e: I2E) -> None:
    arguments = (photograph_path("rocket"), "-o", "out", *SMALL, "--timesteps", 5, "--format", f"{suffix},npz")
    assert i2e("convert", *arguments, *options).status == 0
    assert files_in("out") == sorted([f"rocket.{suffix}", "rocket.npz"])
    events = saved_events("out/rocket.npz")
    event_list = load_event_list(f"out/rocket.{suffix}")
    assert int(event_list["t"].max()) == 4 * timestep_us
    assert_same_events(from_event_list(event_list, 5, (24, 32), timestep_us), events)


def test_files_of_event_cameras_contain_the_events(i2e: I2E) -> None:
    arguments = (photograph_path("rocket"), "-o", "out", *SMALL, "--format", "aedat4,evt2,dat,nmnist,npy")
    finished = i2e("convert", *arguments, "--timestep-us", 250)
    assert files_in("out") == ["rocket.aedat4", "rocket.bin", "rocket.dat", "rocket.npy", "rocket.raw"]
    assert "rocket.raw" in finished.out
    events = saved_events("out/rocket.npy")
    found = {
        suffix: list(faery.events_stream_from_file(f"out/rocket{suffix}")) for suffix in (".aedat4", ".raw", ".dat")
    }
    found[".bin"] = [tonic.io.read_mnist_file("out/rocket.bin", EVENT_DTYPE)]
    for packets in found.values():
        read = np.concatenate(packets)
        event_list = np.empty(len(read), EVENT_DTYPE)
        for name in "xytp":
            event_list[name] = read[name]
        assert_same_events(from_event_list(event_list, 8, (24, 32), 250), events)


def test_options_are_passed_to_the_conversion(i2e: I2E) -> None:
    options = ("--size", 40, 40, "--ratio", 0.3, "--order", "αβγ", "--timesteps", 3, "--format", " NPZ")
    assert i2e("convert", photograph_path("chelsea"), "-o", "out", *options).status == 0
    shifts = canonical_shifts("alpha-beta-gamma", 3)
    expected = i2e_triton.convert(resized_photograph("chelsea", 40), 0.3, shifts=shifts, dtype=torch.bool)
    assert 0 < int(expected.sum()) < expected.numel() / 2
    assert_same_events(saved_events("out/chelsea.npz"), expected)


@pytest.mark.parametrize(("size", "ratio"), [((128, 128), 0.07), ((224, 224), 0.12), ((300, 60), 0.07)])
def test_default_ratio_is_that_of_the_paper_for_the_size(size: tuple[int, int], ratio: float, i2e: I2E) -> None:
    finished = i2e("convert", photograph_path("rocket"), "-o", "out", "--size", *size, "--format", "npy")
    assert f"{size[0]} x {size[1]} pixels, ratio {ratio} (the paper's)" in finished.out
    image = read_picture(photograph_path("rocket"), size)
    assert_same_events(saved_events("out/rocket.npy"), i2e_triton.convert(image, ratio, dtype=torch.bool))


def test_gif_is_enlarged_timed_and_shows_the_image(i2e: I2E) -> None:
    options = (*SMALL, "--scale", 3, "--fps", 4, "--beside", "--format", "gif")
    assert i2e("convert", photograph_path("rocket"), "-o", "out", *options).status == 0
    with PIL.Image.open("out/rocket.gif") as gif:
        assert gif.size == (3 * (32 + 4 + 32), 3 * 24)
        assert gif.info["duration"] == 250


def test_enlarged_gif_that_is_too_large_is_skipped_with_advice(i2e: I2E) -> None:
    PIL.Image.new("L", (40000, 1)).save("wide.png")
    finished = i2e("convert", "wide.png", "-o", "out", "--format", "gif", "--scale", 2)
    assert finished.status == 1
    assert "got 2 x 80000; pass a smaller --scale, or leave gif out of --format" in finished.err
    assert files_in("out") == []


@pytest.mark.parametrize("option", ["--order", "--shuffle"])
@pytest.mark.parametrize(("order", "name"), [("0", "alpha-beta-gamma"), ("5", "gamma-beta-alpha")])
def test_order_accepts_the_official_number(
    option: str, order: str, name: str, i2e: I2E, write_image: Callable[[str], Path]
) -> None:
    path = write_image("a.png")
    assert i2e("convert", path, "-o", "out", option, order, "--format", "npy").status == 0
    expected = i2e_triton.convert(read_picture(path), 0.07, shifts=canonical_shifts(name), dtype=torch.bool)
    assert_same_events(saved_events("out/a.npy"), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (3, 5), (5, 3)])
def test_tiny_images_are_converted(size: tuple[int, int], i2e: I2E, generator: torch.Generator) -> None:
    image = noise((3, *size), torch.uint8, generator)
    PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save("tiny.png")
    assert i2e("convert", "tiny.png", "-o", "out", "--scale", 1).status == 0
    expected = i2e_triton.convert(image, 0.07, dtype=torch.bool)
    assert_same_events(saved_events("out/tiny.npz"), expected)
    assert_same_events(frames_of(Path("out/tiny.gif")), expected)


def test_folders_are_mirrored_without_overwriting_results(i2e: I2E, write_image: Callable[[str], Path]) -> None:
    paths = [write_image(f"photos/{name}") for name in ("1.png", "a/1.png", "a/1.bmp", "b/1.png")]
    finished = i2e("convert", "photos", "-o", "new/out", "--format", "npz")
    assert finished.status == 0
    names = ["1", "a/1.png", "a/1.bmp", "b/1"]
    assert files_in("new/out") == sorted(f"{name}.npz" for name in names)
    for path, name in zip(paths, names):
        expected = i2e_triton.convert(read_picture(path), 0.07, dtype=torch.bool)
        assert_same_events(saved_events(f"new/out/{name}.npz"), expected)


def test_unreadable_files_are_reported_skipped_and_counted(
    i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 500)
    write_image("photos/first.png")
    write_image("photos/last.png")
    Path("photos/garbage.png").write_bytes(b"no image")
    Path("photos/half.png").write_bytes(write_image("photos/half.png").read_bytes()[:-60])
    PIL.Image.new("L", (600, 1)).save("photos/large.png")
    PIL.Image.new("L", (6000, 1)).save("photos/larger.png")
    finished = i2e("convert", "photos", "missing.jpg", "nothing/*.png", "-o", "out", "--format", "npz")
    assert finished.status == 1
    assert files_in("out") == ["first.npz", "last.npz"]
    for name in ("first", "last"):
        expected = i2e_triton.convert(read_picture(Path(f"photos/{name}.png")), 0.07, dtype=torch.bool)
        assert_same_events(saved_events(f"out/{name}.npz"), expected)
    lines = finished.err.splitlines()
    assert lines[:2] == [
        "skipped missing.jpg: no such file or folder",
        "skipped nothing/*.png: no such file or folder",
    ]
    assert "skipped photos/garbage.png: not an image of a supported format" in lines
    assert any(line.startswith("skipped photos/half.png: ") and "truncated" in line for line in lines)
    assert "skipped photos/large.png: too large: more than 500 pixels" in lines
    assert "skipped photos/larger.png: too large: more than 500 pixels" in lines
    assert lines[-1] == "6 of 8 skipped"
    assert len(lines) == 7
    assert "mean of 2" in finished.out


def test_only_unreadable_arguments_give_status_1(i2e: I2E) -> None:
    finished = i2e("convert", "missing.jpg", "-o", "out")
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.splitlines() == ["skipped missing.jpg: no such file or folder", "1 of 1 skipped"]
    assert not Path("out").exists()


def test_full_disk_is_reported_and_leaves_no_partial_file(
    i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image("photos/a.png")
    write_image("photos/b.png")
    save = np.savez_compressed
    calls: list[int] = []

    def fill_the_disk(file: Any, events: np.ndarray) -> None:
        calls.append(1)
        if len(calls) == 1:
            file.write(b"half")
            file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, events)

    monkeypatch.setattr(np, "savez_compressed", fill_the_disk)
    finished = i2e("convert", "photos", "-o", "out", "--format", "npz,gif")
    assert finished.status == 1
    assert finished.err.splitlines()[0] == "skipped photos/a.png: cannot write out/a: No space left on device"
    assert files_in("out") == ["b.gif", "b.npz"]


@pytest.mark.parametrize(
    ("format", "width", "limit"),
    [
        ("gif", 65536, "65535 x 65535"),
        ("csv", 32769, "32768 x 32768"),
        ("h5", 32769, "32768 x 32768"),
        ("nmnist", 257, "240 x 256"),
    ],
)
def test_image_too_large_for_a_format_is_skipped_with_advice(
    format: str, width: int, limit: str, i2e: I2E, write_image: Callable[[str], Path]
) -> None:
    write_image("photos/a.png")
    PIL.Image.new("L", (width, 1)).save("photos/wide.png")
    finished = i2e("convert", "photos", "-o", "out", "--format", f"npz,{format}")
    assert finished.status == 0
    assert files_in("out") == sorted([f"a{convert_image.suffix(format)}", "a.npz"])
    assert f"{limit} pixels, got 1 x {width}; leave {format} out of --format" in finished.err
    assert i2e("convert", "photos", "-o", "out", "--format", "npz").status == 0
    assert saved_events("out/wide.npz").shape == (8, 2, 1, width)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_events_on_a_gpu_equal_those_on_the_cpu(i2e: I2E) -> None:
    for device in ("cpu", "cuda"):
        options = ("-o", device, "--format", "npz", "--device", device)
        assert i2e("convert", photograph_path("astronaut"), *options).status == 0
    assert_same_events(saved_events("cuda/astronaut.npz"), saved_events("cpu/astronaut.npz"))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ((), "bicubic"),
        (("--resize", "fit"), "fit bicubic"),
        (("--resize", "crop", "--interpolation", "bilinear"), "crop bilinear"),
        (("--interpolation", "bilinear"), "bilinear"),
    ],
)
def test_images_are_resized_by_the_rule(
    options: tuple[str, ...], rule: str, i2e: I2E, write_image: Callable[[str], Path]
) -> None:
    path = write_image("a.png")
    arguments = ("--size", 9, 5, "--ratio", 0.1, "--format", "npz")
    assert i2e("convert", path, "-o", "out", *arguments, *options).status == 0
    expected = i2e_triton.convert(read_picture(path, (9, 5), rule), 0.1, dtype=torch.bool)
    assert_same_events(saved_events("out/a.npz"), expected)


@pytest.mark.parametrize("name", ["read_picture", "convert"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_image_that_does_not_fit_in_memory_is_skipped(
    name: str, error: Exception, i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, errors, original = [write_image("a.png"), write_image("b.png")], [error], getattr(convert_image, name)

    def fail_once(*arguments: Any, **options: Any) -> Tensor:
        if errors:
            raise errors.pop()
        return original(*arguments, **options)

    monkeypatch.setattr(convert_image, name, fail_once)
    finished = i2e("convert", *images, "-o", "out", "--format", "npz")
    assert finished.status == 1
    assert "a.png: not enough memory on cpu; pass a smaller --size" in plain(finished.err)
    assert files_in("out") == ["b.npz"]


def test_error_of_a_kernel_is_not_reported_as_lack_of_memory(
    i2e: I2E, write_image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(convert_image, "convert", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        i2e("convert", write_image("a.png"), "-o", "out", "--format", "npz")


@pytest.mark.parametrize(
    ("arguments", "status"), [(("photos",), 0), (("photos", "photos/bad.png"), 1), (("photos/bad.png",), 1)]
)
def test_unreadable_image_gives_status_1_only_if_it_is_named(
    i2e: I2E, write_image: Callable[[str], Path], arguments: tuple[str, ...], status: int
) -> None:
    write_image("photos/good.png")
    Path("photos/bad.png").write_bytes(b"no image")
    Path("photos/a.heic").touch()
    Path("photos/notes.txt").touch()
    finished = i2e("convert", *arguments, "-o", "out", "--format", "npy")
    assert finished.status == status
    assert "skipped photos/bad.png: " in finished.err
    folder = "photos" in arguments
    assert ("skipped files that are not images: 1 .heic (pip install pillow-heif), 1 .txt" in finished.err) == folder
