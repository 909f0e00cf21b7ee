from __future__ import annotations

import io
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import IPython.display
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton import convert, visualize
from i2e_triton.visualize.animation import check_gif_size, save_gif
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph

RED, BLUE, WHITE = (0xD7, 0x19, 0x1C), (0x21, 0x66, 0xAC), (255, 255, 255)


def gif_of(events: Tensor, **options: Any) -> bytes:
    """Return a GIF, by default without enlarging."""
    buffer = io.BytesIO()
    save_gif(buffer, events, **{"scale": 1, **options})
    return buffer.getvalue()


def frames_of(gif: bytes) -> list[np.ndarray]:
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        frames = []
        for t in range(opened.n_frames):
            opened.seek(t)
            frames.append(np.array(opened.convert("RGB")))
        return frames


def durations_of(gif: bytes) -> list[int]:
    """Return the milliseconds of each frame."""
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        durations = []
        for t in range(opened.n_frames):
            opened.seek(t)
            durations.append(opened.info["duration"])
        return durations


def events_of(frames: list[np.ndarray]) -> Tensor:
    """Return the events that the colors represent; check that there are no other colors."""
    red, blue, white = ((np.stack(frames) == color).all(-1) for color in (RED, BLUE, WHITE))
    assert (red | blue | white).all()
    return torch.from_numpy(np.stack([red, blue], axis=1))


@st.composite
def exclusive_events(draw: st.DrawFn) -> Tensor:
    """Draw events ``[T, 2, H, W]``. No pixel is both ON and OFF; often all timesteps are equal."""
    seed = draw(st.integers(0, 2**32))
    timesteps, height, width = draw(st.tuples(st.integers(1, 8), st.integers(1, 80), st.integers(1, 80)))
    kinds = draw(st.sampled_from([1, 2, 3]))
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(kinds, (timesteps, height, width), generator=generator)
    if draw(st.booleans()):
        kind[1:] = kind[0].clone()
    return torch.stack([kind == 1, kind == 2], dim=1)


@settings(deadline=None)
@given(events=exclusive_events())
def test_frames_contain_the_events_of_the_timesteps(events: Tensor) -> None:
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_frames_of_a_photograph_contain_its_events(name: str) -> None:
    events = convert(photograph(name), dtype=torch.bool)
    assert_same_events(events_of(frames_of(gif_of(events))), events)


@pytest.mark.parametrize("timesteps", [1, 8])
def test_gif_repeats_forever_with_120_ms_per_frame(timesteps: int) -> None:
    flat = torch.zeros(timesteps, 2, 20, 30, dtype=torch.bool)
    gif = gif_of(flat)
    with PIL.Image.open(io.BytesIO(gif)) as opened:
        assert opened.size == (30, 20)
        assert opened.n_frames == timesteps
        assert opened.info["loop"] == 0
    assert durations_of(gif) == [120] * timesteps


@pytest.mark.parametrize("shape", [(1, 65536), (65536, 1)])
def test_largest_gif_is_written_and_larger_ones_are_rejected(shape: tuple[int, int]) -> None:
    height, width = shape
    check_gif_size(min(height, 65535), min(width, 65535))
    with pytest.raises(ValueError, match=f"at most 65535 x 65535 pixels, got {height} x {width}"):
        check_gif_size(height, width)
    buffer = io.BytesIO()
    with pytest.raises(ValueError, match="at most 65535"):
        save_gif(buffer, torch.zeros(2, 2, height, width, dtype=torch.bool))
    assert buffer.getvalue() == b""
    widest = torch.zeros(2, 2, min(height, 65535), min(width, 65535), dtype=torch.bool)
    widest[1, 0, -1, -1] = True
    assert_same_events(events_of(frames_of(gif_of(widest))), widest)


def test_flat_image_has_purple_pixels_in_every_frame() -> None:
    events = torch.ones(4, 2, 6, 6, dtype=torch.bool)
    for frame in frames_of(gif_of(events)):
        assert (frame == (0x7B, 0x32, 0x94)).all()


def test_batch_is_drawn_as_a_grid(generator: torch.Generator) -> None:
    events = convert(noise((4, 3, 9, 9), torch.uint8, generator), 0.6, dtype=torch.bool)
    drawn = events_of(frames_of(gif_of(events)))
    assert drawn.shape == (8, 2, 20, 20)
    for index, (top, left) in enumerate([(0, 0), (0, 11), (11, 0), (11, 11)]):
        assert_same_events(drawn[:, :, top : top + 9, left : left + 9], events[:, index])


@pytest.mark.parametrize(("size", "scale"), [((20, 30), 9), ((256, 10), 1), ((300, 300), 1), ((1, 1), 256)])
def test_small_events_are_enlarged_by_default(size: tuple[int, int], scale: int) -> None:
    buffer = io.BytesIO()
    save_gif(buffer, torch.zeros(2, 2, *size, dtype=torch.bool))
    with PIL.Image.open(buffer) as opened:
        assert opened.size == (scale * size[1], scale * size[0])


@pytest.mark.parametrize(("fps", "milliseconds"), [(50, 20), (8, 120), (4, 250), (0.5, 2000)])
def test_fps_is_the_rate_of_the_timesteps(fps: float, milliseconds: int) -> None:
    assert durations_of(gif_of(torch.zeros(3, 2, 5, 5, dtype=torch.bool), fps=fps)) == [milliseconds] * 3


def test_image_is_shown_beside_its_events() -> None:
    image = photograph("chelsea")
    events = convert(image, dtype=torch.bool)
    height, width = image.shape[1:]
    original = image.permute(1, 2, 0).numpy().astype(int)
    for frame, timestep in zip(frames_of(gif_of(events, beside=image)), events):
        assert frame.shape == (height, width + 4 + width, 3)
        assert np.abs(frame[:, :width].astype(int) - original).mean() < 6  # the palette has 248 colors for the image
        assert (frame[:, width : width + 4] == 255).all()
        assert_same_events(events_of([frame[:, width + 4 :]])[0], timestep)


def test_images_beside_a_batch_are_resized_to_their_events(generator: torch.Generator) -> None:
    images = noise((4, 1, 18, 18), torch.float32, generator)
    events = convert(noise((4, 3, 9, 9), torch.uint8, generator), dtype=torch.bool)
    (frame, *_) = frames_of(gif_of(events, beside=images))
    assert frame.shape == (20, 20 + 4 + 20, 3)
    assert (frame[9:11, :20] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"scale": 1.5}, "got 1.5"),
        ({"fps": 0}, "fps must be above 0 and at most 50, got 0"),
        ({"fps": 51}, "got 51"),
        ({"beside": torch.zeros(2, 3, 4, 4)}, r"beside must be 1 image\(s\).*got shape \[2, 3, 4, 4\]"),
        ({"beside": torch.zeros(4, 4, 4)}, r"got shape \[4, 4, 4\]"),
    ],
)
def test_invalid_arguments_are_refused_before_a_file_is_written(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        visualize.save_gif(tmp_path / "a.gif", torch.zeros(8, 2, 4, 4), **arguments)
    assert not list(tmp_path.iterdir())


def test_saved_gif_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.gif"
    for size in (4, 5):
        visualize.save_gif(path, torch.zeros(8, 2, size, size), scale=1)
        with PIL.Image.open(path) as opened:
            assert opened.size == (size, size)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("size", [(20, 30), (21, 31)])
def test_mp4_shows_every_timestep(size: tuple[int, int], tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    events = torch.zeros(8, 2, *size, dtype=torch.bool)
    events[::2, 0] = True
    events[1::2, 1] = True
    visualize.save_mp4(tmp_path / "a.mp4", events, scale=2, fps=10, repeat=2)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.average_rate == 10
    assert len(frames) == 16
    height, width = 2 * size[0], 2 * size[1]
    for t, frame in enumerate(frames):
        assert frame.shape == (height, width, 3)
        difference = np.abs(frame.mean((0, 1)) - (RED if t % 2 == 0 else BLUE))
        assert difference.max() < 12, (t, frame.mean((0, 1)))


def test_without_pyav_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"^save_mp4 needs the package av: pip .*\[video\]'$"):
        visualize.save_mp4(tmp_path / "a.mp4", torch.zeros(8, 2, 4, 4))


def test_show_opens_a_file_in_the_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    path = visualize.show(torch.zeros(8, 2, 4, 4))
    assert path == tmp_path / "events.gif"
    assert opened == [path.as_uri()]
    with PIL.Image.open(path) as gif:
        assert gif.n_frames == 8


def test_show_displays_an_animation_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        pass

    shown: list[IPython.display.Image] = []
    monkeypatch.setattr(IPython, "get_ipython", ZMQInteractiveShell)
    monkeypatch.setattr(IPython.display, "display", shown.append)
    assert visualize.show(torch.zeros(8, 2, 4, 4)) is None
    (image,) = shown
    assert image.format == "gif"
    assert image.data.startswith(b"GIF89a")
